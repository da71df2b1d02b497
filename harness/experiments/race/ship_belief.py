"""From the records to `advisor/advice/learnt_belief.json`: what is believed before a race."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from advisor.advice.belief import POINTS, Belief, angle_of
from advisor.advice.learnt_belief import Learnt, LearntBeliefs
from advisor.advice.mixture import Mixture
from harness.experiments.calibration.ledger import read
from harness.experiments.race.all_scores import all_scores
from harness.experiments.race.curves import RACERS, STAGES, CurveCell, curve_cells
from harness.experiments.race.fit_belief import fit_belief
from harness.experiments.race.race_policies import left_out
from harness.experiments.replay.ship import HEATS, records_of
from harness.study.race import after

LEVEL = 0.9
"""Share of the scores of left-out cells that the intervals are to hold."""
WIDENINGS = tuple(float(factor) for factor in np.geomspace(1, 8, 19))
"""Tried in turn."""
COUNTED = 1.0
"""Points beyond an interval that count as held: what counting test documents may add."""


def learnt_beliefs(results: Path) -> LearntBeliefs:
    """What is shipped; `results` holds the ledgers of every study, and `published.csv`."""
    measured, _ = read(results / "race")
    sizes = [float(line.prior["model"]["parameters"]) for line in measured.values()]
    return LearntBeliefs(
        records=records_of(results),
        racers=RACERS,
        at=STAGES,
        cells=len(curve_cells(results, 0.0)),
        sizes=(min(sizes), max(sizes)),
        scatter=published_scatter(results / "published.csv"),
        by_decoding={how: widened(results, heat) for how, heat in HEATS.items()},
    )


def widened(results: Path, heat: float) -> Learnt:
    """What cells say of others, widened until it covers those of other skills and pretraining texts."""
    cells, scores = curve_cells(results, heat), all_scores(results, heat)
    return replace(fit_belief(scores), widened=factor_of(cells, left_out(cells, scores)))


def factor_of(cells: Sequence[CurveCell], learnt: Mapping[tuple[str, int], Learnt]) -> float:
    """The smallest factor with which intervals hold nine tenths, averaged over what may have been scored."""
    for factor in WIDENINGS:
        shares = [coverage(cells, learnt, factor, stages) for stages in range(len(STAGES))]
        if np.mean(shares) >= LEVEL:
            break
    return round(factor, 3)


def coverage(
    cells: Sequence[CurveCell],
    learnt: Mapping[tuple[str, int], Learnt],
    factor: float,
    stages: int,
) -> float:
    """Share of whole runs whose test score lies in the interval believed once arms have reached a stage."""
    held = []
    for cell in cells:
        prior = replace(learnt[cell.group], widened=factor).doubted(cell.known, len(STAGES))
        held += holds(scored(prior, cell, stages), cell)
    return float(np.mean(held))


def scored(prior: Mixture, cell: CurveCell, stages: int) -> Belief:
    """The belief once every arm has been scored at so many stages."""
    right = {place: found for place, found in cell.development.items() if place[1] < stages}
    return after(prior, right)


def holds(belief: Belief, cell: CurveCell) -> list[bool]:
    """Of every arm, whether its test score lies in the interval."""
    return [
        bool(low - COUNTED <= score <= high + COUNTED)
        for (low, high), score in zip(belief.interval(LEVEL), cell.test, strict=True)
    ]


def published_scatter(path: Path) -> float:
    """Variance of published gains of -p over NLL, angles squared."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(float(row["neg_p"]), float(row["nll"])) for row in csv.DictReader(file)]
    angles = angle_of(np.array(rows) / POINTS)
    return round(float(np.var(angles[:, 0] - angles[:, 1])), 4)
