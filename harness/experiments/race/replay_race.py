"""What every way of spending comes to on the recorded cells: `results/race/replay.json`.

A belief about a cell is learnt from cells that share neither skill nor pretraining text with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from advisor.advice.belief import Belief
from advisor.advice.learnt_belief import Learnt
from advisor.advice.mixture import Mixture
from harness.experiments.race.all_scores import all_scores
from harness.experiments.race.curves import RACERS, STAGES, CurveCell, curve_cells
from harness.experiments.race.race_policies import (
    Policy,
    Spent,
    by_prior,
    engine,
    halving,
    left_out,
    oracle,
    policy_of,
    spent,
)
from harness.experiments.race.ship_belief import coverage, factor_of
from harness.experiments.replay.ship import HEATS, PLANS, records_of

POINT_COSTS = (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
"""What a point is worth in full runs."""
DEFAULT = 1.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way of spending."""

    policy: str
    """In words."""
    cost: float
    """Full runs, on average."""
    regret: float
    """Points, on average."""
    standard_error: float
    """Of the regret."""
    over_5: float
    """Share of the cells that lose more than five points."""
    worst: float
    """Points."""
    promised: float | None
    """Points that it expected to lose when it stopped; None where it expects nothing."""
    fresh_cost: float | None
    """On the fresh cells alone; None without any."""
    fresh_regret: float | None
    """Likewise."""


def replay(results: Path) -> dict[str, Any]:
    """Everything that the page shows.

    Args:
        results: folder of the studies.
    """
    found: dict[str, Any] = {"records": records_of(results)}
    for how, heat in HEATS.items():
        cells, scores = curve_cells(results, heat), all_scores(results, heat)
        learnt = left_out(cells, scores)
        factor = factor_of(cells, learnt)
        found[how] = {
            "cells": len(cells),
            "fresh": sum(cell.fresh for cell in cells),
            "learnt_from": len(scores),
            "widened": factor,
            "coverage": [round(coverage(cells, learnt, factor, s), 3) for s in range(len(STAGES))],
            "rows": [asdict(row) for row in rows(cells, learnt, factor)],
        }
    return found


def rows(
    cells: Sequence[CurveCell], learnt: Mapping[tuple[str, int], Learnt], factor: float
) -> list[Row]:
    """Every policy on the same cells."""
    return [_row(name, cells, policy) for name, policy in policies(learnt, factor).items()]


def policies(learnt: Mapping[tuple[str, int], Learnt], factor: float) -> dict[str, Policy]:
    """By what they are called."""

    def own(cell: CurveCell, turned: bool) -> Learnt:
        one = replace(learnt[cell.group], widened=factor)
        return flipped(one) if turned else one

    def doubted(cell: CurveCell, turned: bool = False) -> Mixture:
        return own(cell, turned).doubted(cell.known, len(STAGES))

    def believed(cell: CurveCell, turned: bool = False) -> Belief:
        return own(cell, turned).belief(cell.known, len(STAGES))

    def undecided(cell: CurveCell) -> Belief:
        return own(cell, False).undecided(len(STAGES)).belief(cell.known, len(STAGES))

    found: dict[str, Policy] = {
        "the best by the prior alone": by_prior(believed),
        **{f"`--plan {name}`": policy_of(plan) for name, plan in PLANS.items()},
        "all eight to their ends": halving((0, 0, 0, 1)),
        "all to 1/8, the best to its end": halving((1, 0, 0, 0)),
        "all to 1/4, the best to its end": halving((0, 1, 0, 0)),
        "all to 1/2, the best to its end": halving((0, 0, 1, 0)),
        "all to 1/8, the best two to their ends": halving((2, 0, 0, 1)),
        "halving: 8, 4, 2, 1": halving((4, 2, 1, 0)),
        "the best in hindsight": oracle,
    }
    for point_cost in POINT_COSTS:
        found[f"the race, a point worth {point_cost:g} runs"] = engine(doubted, point_cost)
    turned = partial(doubted, turned=True)
    found |= {
        "the race with its prior turned about": engine(turned, DEFAULT),
        "the race that never doubts its prior": engine(believed, DEFAULT),
        "the same with its prior turned about": engine(partial(believed, turned=True), DEFAULT),
        "the race that prefers no arm before scores": engine(undecided, DEFAULT),
    }
    return found


def flipped(learnt: Learnt) -> Learnt:
    """The same belief with every difference between the arms' means turned about: a prior that is wrong."""
    table = learnt.coefficients.reshape(-1, len(RACERS), len(STAGES))
    mean = table.mean(axis=1, keepdims=True)
    return replace(learnt, coefficients=(2 * mean - table).reshape(learnt.coefficients.shape))


def _row(name: str, cells: Sequence[CurveCell], policy: Policy) -> Row:
    found = spent(cells, policy)
    fresh = [cell for cell in cells if cell.fresh]
    apart: Spent | None = spent(fresh, policy) if fresh else None
    return Row(
        policy=name,
        cost=round(found.cost, 2),
        regret=round(found.mean, 2),
        standard_error=round(found.standard_error, 2),
        over_5=round(found.over, 4),
        worst=round(max(found.regrets), 1),
        promised=round(float(np.mean(found.promised)), 2) if found.promised else None,
        fresh_cost=None if apart is None else round(apart.cost, 2),
        fresh_regret=None if apart is None else round(apart.mean, 2),
    )
