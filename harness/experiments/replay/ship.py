"""From the records to `advisor/advice/replayed.json`: the plans on offer and what each lost on every cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from advisor.advice.replayed import Decoding, PlannedRun, Replay, ReplayedCell
from harness.experiments.calibration.findings import described
from harness.experiments.calibration.ledger import fingerprint
from harness.experiments.replay.cells import RATE_WORDS, Replayed, RunKey, calibrated, later
from harness.experiments.replay.policies import Plan, lost
from harness.records.arm import NLL

STUDIES = ("calibration", "calibration/fresh", "staged", "race")
"""Folders of ledgers; models were pretrained anew for the last two, so that their cells are others."""
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
"""Those that the study of races has as well; what is promised rests on the cells of both."""
_TWO: tuple[RunKey, ...] = ((MIDDLE, "high"), (CADFT, "low"))
PLANS: dict[str, Plan] = {
    "one": Plan(runs=_TWO[:1]),
    "two": Plan(runs=_TWO),
    "three": Plan(runs=_TWO, more=((NLL, "high"),)),
    "six": Plan(
        runs=(*_TWO, (NLL, "high"), (SMOOTH, "high"), (NLL, "low"), (THRESHOLD, "low")),
    ),
}
"""On offer, the cheapest first; each is the one before it and more."""
AS_WELL = 2.0
"""Points by which a decoding may be worse and count as doing as well."""


def replay(results: Path) -> Replay:
    """What is shipped; `results` holds `calibration/`, `staged/` and `race/`."""
    found = {how: later(results, COMMON, heat) for how, heat in HEATS.items()}
    sizes = [cell.parameters for cell in found["greedy"]]
    alone = {how: alone_of(cells) for how, cells in found.items()}
    return Replay(
        records=records_of(results),
        plans={name: _planned(plan) for name, plan in PLANS.items()},
        cells=tuple(_cell(cell, how) for how, cells in found.items() for cell in cells),
        cooler=cooler(*(calibrated(results, OLD, heat) for heat in HEATS.values())),
        sizes=(min(sizes), max(sizes)),
        alone={
            how: PlannedRun(objective=name, rate=rate) for how, ((name, rate), _) in alone.items()
        },
        alone_regret={how: round(regret, 2) for how, (_, regret) in alone.items()},
        arms=len(COMMON),
    )


def _planned(plan: Plan) -> tuple[PlannedRun, ...]:
    return (
        *(PlannedRun(objective=name, rate=rate) for name, rate in plan.runs),
        *(PlannedRun(objective=name, rate=rate, below=plan.below) for name, rate in plan.more),
    )


def _cell(cell: Replayed, how: Decoding) -> ReplayedCell:
    best = cell.best()
    made = {name: plan.kept(cell) for name, plan in PLANS.items()}
    return ReplayedCell(
        name=described(cell.cell),
        decoding=how,
        regrets={name: round(best - cell.test[kept], 2) for name, (kept, _) in made.items()},
        runs={name: runs for name, (_, runs) in made.items()},
    )


def alone_of(cells: Sequence[Replayed]) -> tuple[RunKey, float]:
    """The run that loses least by itself, and what it loses."""
    losses = {run: lost(cells, Plan(runs=(run,)).kept).mean for run in COMMON}
    best = min(losses, key=lambda run: losses[run])
    return best, losses[best]


def cooler(sampled: Sequence[Replayed], greedy: Sequence[Replayed]) -> float:
    """Share of the cells in which NLL decoded greedily is within 2 points of the best sampled objective."""
    plain = Plan(runs=((NLL, "high"), (NLL, "low")))
    pairs = {cell.cell.name: cell for cell in greedy}
    wins = [
        pairs[cell.cell.name].test[plain.kept(pairs[cell.cell.name])[0]] >= cell.best() - AS_WELL
        for cell in sampled
        if cell.cell.name in pairs
    ]
    return round(float(np.mean(wins)), 3)


def records_of(results: Path) -> str:
    """SHA-256 of everything that is read."""
    return fingerprint(results / name for name in STUDIES)
