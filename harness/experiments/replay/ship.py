"""From the records to `advisor/advice/replayed.json`: the plans on offer and what each lost on every cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from advisor.advice.replayed import Decoding, Evidence, PlannedRun, Replay, ReplayedCell
from harness.experiments.calibration.findings import described
from harness.experiments.calibration.ledger import fingerprint
from harness.experiments.real.found import found_cells
from harness.experiments.real.real_plan import ARMS, PARAMETERS
from harness.experiments.replay.cells import (
    RATE_WORDS,
    RunKey,
    Scores,
    later,
)
from harness.experiments.replay.policies import Plan
from harness.records.arm import NLL

STUDIES = ("calibration", "calibration/fresh", "staged", "race")
"""Folders of ledgers of the ladder; models were pretrained anew for the last two: their cells are others."""
LADDER, REAL = "models under a million parameters", "SmolLM2-135M-Instruct"
"""Kinds of models, as a person is told of them."""
HEATS: dict[Decoding, float] = {"sampled": 1.0, "greedy": 0.0}
MIDDLE, SMOOTH, CADFT, THRESHOLD = (
    "p_pow(0.5)",
    "p_anneal(0, 1, 0, 1)",
    "cadft(1)",
    "threshold(0.2)",
)
SIX = (NLL, "neg_p", CADFT, THRESHOLD, "p_pow(10)", "idft(1, 0.1, 2)")
"""Objectives of the calibration."""
OLD: tuple[RunKey, ...] = tuple((name, rate) for name in SIX for rate in RATE_WORDS)
"""Its runs."""
NEWER: tuple[RunKey, ...] = (
    *((NLL, rate) for rate in RATE_WORDS),
    *((name, "low") for name in ("neg_p", CADFT, THRESHOLD)),
    *(
        (name, "high")
        for name in ("nll>neg_p(at=0.5)", "nll>cadft(1, at=0.5)", "neg_p>nll(at=0.5)")
    ),
    *((name, rate) for name in (SMOOTH, MIDDLE) for rate in RATE_WORDS),
)
"""Runs of the study of staged objectives."""
COMMON: tuple[RunKey, ...] = (
    *((NLL, rate) for rate in RATE_WORDS),
    *((name, "low") for name in ("neg_p", CADFT, THRESHOLD)),
    *((name, "high") for name in (SMOOTH, MIDDLE)),
)
"""Those that the study of races has as well; what is promised for small models rests on the cells of both."""
_TWO: tuple[RunKey, ...] = ((SMOOTH, "high"), (CADFT, "low"))
_MORE: tuple[RunKey, ...] = ((NLL, "high"), (MIDDLE, "high"), (NLL, "low"), ("neg_p", "low"))
PLANS: dict[str, Plan] = {
    "one": Plan(runs=_TWO[:1]),
    "two": Plan(runs=_TWO),
    "three": Plan(runs=_TWO, more=_MORE[:1]),
    "four": Plan(runs=_TWO, more=_MORE[:2]),
    "six": Plan(runs=_TWO, more=_MORE),
}
"""On offer, the cheapest first; each is the one before it and more."""
AS_WELL = 2.0
"""Points by which a decoding may be worse and count as doing as well."""


def replay(results: Path) -> Replay:
    """What is shipped; `results` holds `calibration/`, `staged/`, `race/` and `real/`."""
    tiny = {how: later(results, COMMON, heat) for how, heat in HEATS.items()}
    real = [one for one in found_cells(results) if one.whole]
    scores = {how: [one.scores(heat) for one in real] for how, heat in HEATS.items()}
    alone = {how: alone_of(tiny[how], scores[how]) for how in HEATS}
    sizes = [cell.parameters for cell in tiny["greedy"]]
    return Replay(
        records=records_of(results, (*STUDIES, "real")),
        plans={name: _planned(plan) for name, plan in PLANS.items()},
        alone={how: PlannedRun(objective=name, rate=rate) for how, (name, rate) in alone.items()},
        evidence=(
            Evidence(
                models=LADDER,
                sizes=(min(sizes), max(sizes)),
                arms=len(COMMON),
                cooler=cooler(tiny["sampled"], tiny["greedy"]),
                alone_regret={how: _mean(tiny[how], run) for how, run in alone.items()},
            ),
            Evidence(
                models=REAL,
                sizes=(PARAMETERS, PARAMETERS),
                arms=len(ARMS),
                cooler=cooler(scores["sampled"], scores["greedy"]),
                alone_regret={how: _mean(scores[how], run) for how, run in alone.items()},
            ),
        ),
        cells=(
            *(
                _cell(described(cell.cell), LADDER, how, cell)
                for how, cells in tiny.items()
                for cell in cells
            ),
            *(
                _cell(one.cell.name, REAL, how, cell)
                for how, cells in scores.items()
                for one, cell in zip(real, cells, strict=True)
            ),
        ),
    )


def _planned(plan: Plan) -> tuple[PlannedRun, ...]:
    return (
        *(PlannedRun(objective=name, rate=rate) for name, rate in plan.runs),
        *(PlannedRun(objective=name, rate=rate, below=plan.below) for name, rate in plan.more),
    )


def _cell(name: str, models: str, how: Decoding, cell: Scores) -> ReplayedCell:
    made = {plan: policy.kept(cell) for plan, policy in PLANS.items()}
    return ReplayedCell(
        name=name,
        models=models,
        decoding=how,
        regrets={plan: round(cell.regret(kept), 2) for plan, (kept, _) in made.items()},
        runs={plan: runs for plan, (_, runs) in made.items()},
    )


def alone_of(*kinds: Sequence[Scores]) -> RunKey:
    """The run that loses least by itself, summed over kinds of cells; of those that all of them have."""
    shared = [run for run in COMMON if all(run in cell.test for cells in kinds for cell in cells)]
    return min(shared, key=lambda run: sum(_mean(cells, run) for cells in kinds if cells))


def _mean(cells: Sequence[Scores], run: RunKey) -> float:
    """Points that a run loses by itself."""
    return round(fmean(cell.regret(run) for cell in cells), 2)


def cooler(sampled: Sequence[Scores], greedy: Sequence[Scores]) -> float:
    """Share of the cells, in the same order, in which NLL does greedily what the best run does sampled."""
    wins = [
        cold.test[NLL, "high"] >= hot.best() - AS_WELL
        for hot, cold in zip(sampled, greedy, strict=True)
    ]
    return round(float(np.mean(wins)), 3)


def records_of(results: Path, studies: Sequence[str] = STUDIES) -> str:
    """SHA-256 of everything that is read."""
    return fingerprint(results / name for name in studies)
