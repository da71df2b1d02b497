"""How much cells of the ladder should count beside real ones where a plan is chosen for a real cell.

A plan of so many runs is the one that loses least, sampled and greedily together, over a weighted mean of
both kinds of cells; it is judged on the cells of a skill that none of those real cells has. There is one real
model: this says how far its own cells carry over to one another, not to another model.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.experiments.real.found import FoundCell
from harness.experiments.real.real_plan import ARMS
from harness.experiments.replay.cells import RunKey, Scores, later
from harness.experiments.replay.policies import Plan, lost

AMONG: tuple[RunKey, ...] = tuple((name, word) for name, word in ARMS if word != "tenth")
"""Runs that a plan may have: those that real cells and cells of the ladder share."""
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the real cells; the ladder's have the rest."""
HEATS = (1.0, 0.0)
"""Sampled and greedy."""
Losses = NDArray[np.float64]
"""[heats, cells, plans] points that a plan loses."""


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """What plans lose on real cells where those counted so much in the choice."""

    weight: float
    """Of the real cells."""
    plan: tuple[RunKey, ...]
    """Chosen most often."""
    sampled: float
    """Points lost, the mean over the cells, each with the plan that was chosen without its skill."""
    greedy: float
    """Likewise."""


def weighed(cells: Sequence[FoundCell], results: Path, size: int) -> list[Weighed]:
    """Every weight; none where the real cells have fewer than two skills, or the ladder's are not there.

    Args:
        cells: whole real cells.
        results: folder with the records of the ladder.
        size: runs of a plan.
    """
    skills = sorted({one.cell.skill for one in cells})
    if len(skills) < 2 or not (results / "calibration" / "grid.csv").exists():
        return []
    plans = list(itertools.combinations(AMONG, size))
    ladder = np.array([
        [lost(later(results, AMONG, heat), Plan(runs=plan).kept).mean for plan in plans] for heat in HEATS
    ])  # fmt: skip
    real: Losses = np.array([[_losses(one.scores(heat), plans) for one in cells] for heat in HEATS])
    return [
        _judged(weight, plans, ladder, real, [one.cell.skill for one in cells])
        for weight in WEIGHTS
    ]


def _losses(cell: Scores, plans: Sequence[tuple[RunKey, ...]]) -> list[float]:
    return [cell.regret(cell.kept(plan)) for plan in plans]


def _judged(
    weight: float,
    plans: Sequence[tuple[RunKey, ...]],
    ladder: Losses,
    real: Losses,
    skills: Sequence[str],
) -> Weighed:
    chosen = []
    for skill in skills:
        others = np.array([other != skill for other in skills])
        means = (1 - weight) * ladder + weight * real[:, others].mean(axis=1)
        chosen.append(int(np.argmin(means.sum(axis=0))))
    lose = real[:, np.arange(len(skills)), chosen].mean(axis=1)
    most = Counter(chosen).most_common(1)[0][0]
    return Weighed(weight=weight, plan=plans[most], sampled=float(lose[0]), greedy=float(lose[1]))
