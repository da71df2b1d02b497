"""What size does: the same skills and demonstrations at three sizes, and beliefs judged on one left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from advisor.advice.belief import Array
from advisor.advice.mixture import Mixture
from harness.experiments.race.all_scores import all_scores
from harness.experiments.race.curves import RACERS, STAGES, CurveCell, curve_cells
from harness.experiments.race.fit_belief import Scored, fit_belief
from harness.experiments.race.larger import LARGE, MIDDLE, SMALL, demonstrations
from harness.experiments.race.race_policies import PLAN, Spent, engine, oracle, plan, score, spent
from harness.experiments.race.replay_race import DEFAULT
from harness.experiments.race.ship_belief import after, holds
from harness.experiments.replay.ship import HEATS
from harness.records.arm import NLL

SIZES = (SMALL, MIDDLE, LARGE)
CELLS = "sizes/cells.csv"
RESAMPLED = 10_000
"""Resamples of demonstrations for an interval."""


def sizes(results: Path) -> dict[str, Any]:
    """Gains of every arm by size, how they go together, and what is lost on a size that was left out."""
    found: dict[str, Any] = {}
    for how, heat in HEATS.items():
        cells = [
            *curve_cells(results, heat),
            *curve_cells(results, heat, folder="sizes", files=(CELLS,)),
        ]
        gains = {size: gains_of([c for c in cells if c.cell.size == size]) for size in SIZES}
        shared = set.intersection(*(set(one) for one in gains.values()))
        scores = [
            *all_scores(results, heat),
            *all_scores(results, heat, folders=("sizes",), files=(CELLS,)),
        ]
        found[how] = {
            "demonstrations": len(shared),
            "gains": [
                {"arm": name, "rate": word, **_gain(gains, shared, arm)}
                for arm, (name, word) in enumerate(RACERS)
                if name != NLL
            ],
            "together": [
                _together(gains, shared, one, other)
                for one, other in ((SMALL, MIDDLE), (MIDDLE, LARGE), (SMALL, LARGE))
            ],
            "left_out": [_left_out(cells, scores, size) for size in SIZES],
        }
    return found


def gains_of(cells: Sequence[CurveCell]) -> dict[tuple[Any, ...], Array]:
    """Demonstrations -> [arms] points over NLL at the rate that its development problems prefer.

    Cells of the same demonstrations, at other checkpoints and pretraining texts, are averaged.
    """
    plain = [arm for arm, (name, _) in enumerate(RACERS) if name == NLL]
    found: dict[tuple[Any, ...], list[Array]] = defaultdict(list)
    for cell in cells:
        best = max((score(cell, arm, len(STAGES) - 1), -arm) for arm in plain)[1]
        found[demonstrations(cell.cell)].append(cell.test - cell.test[-best])
    return {what: np.mean(some, axis=0) for what, some in found.items()}


Gains = Mapping[str, Mapping[tuple[Any, ...], Array]]


def _gain(gains: Gains, shared: set[tuple[Any, ...]], arm: int) -> dict[str, Any]:
    """By size, the mean over demonstrations with its 95 % interval, and the share above zero."""
    found = {}
    for size in SIZES:
        some = np.array([gains[size][what][arm] for what in sorted(shared)])
        low, high = _interval(some, np.mean)
        found[size] = {
            "mean": round(float(some.mean()), 1),
            "interval": [round(low, 1), round(high, 1)],
            "above": round(float((some > 0).mean()), 3),
        }
    return found


def _interval(values: Array, statistic: Any) -> tuple[float, float]:
    """95 % percentile bootstrap over the first axis."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(RESAMPLED, len(values)))
    low, high = np.nanquantile([statistic(values[rows]) for rows in drawn], (0.025, 0.975))
    return float(low), float(high)


def _together(gains: Gains, shared: set[tuple[Any, ...]], one: str, other: str) -> dict[str, Any]:
    """How gains of arms that are not NLL go together at two sizes, over demonstrations and arms."""
    arms = [arm for arm, (name, _) in enumerate(RACERS) if name != NLL]
    pairs = np.array(
        [[gains[one][what][arms], gains[other][what][arms]] for what in sorted(shared)]
    )
    large = (np.abs(pairs) > 5).all(axis=1)
    agree = np.sign(pairs[:, 0]) == np.sign(pairs[:, 1])

    def rank(some: Array) -> float:
        return float(spearmanr(some[:, 0].ravel(), some[:, 1].ravel()).statistic)

    low, high = _interval(pairs, rank)
    return {
        "sizes": [one, other],
        "spearman": round(rank(pairs), 2),
        "interval": [round(low, 2), round(high, 2)],
        "same_sign": round(float(agree[large].mean()), 2) if large.any() else None,
        "compared": int(large.sum()),
    }


def _left_out(cells: Sequence[CurveCell], scores: Sequence[Scored], size: str) -> dict[str, Any]:
    """What is believed of cells of a size from those of the others that do not share the skill."""
    mine = [cell for cell in cells if cell.cell.size == size]
    skills = {cell.cell.skill for cell in mine}
    learnt = {
        skill: fit_belief([s for s in scores if s.size != size and s.skill != skill])
        for skill in skills
    }

    def believed(cell: CurveCell) -> Mixture:
        return learnt[cell.cell.skill].doubted(cell.known, len(STAGES))

    held = [
        float(np.mean([holds(after(believed(cell), cell, stages), cell) for cell in mine]))
        for stages in range(len(STAGES))
    ]
    ways = {
        "race": engine(believed, DEFAULT),
        "three": plan(PLAN[:2], PLAN[2:]),
        "nll": plan([(NLL, "high")]),
        "oracle": oracle,
    }
    return {
        "size": size,
        "cells": len(mine),
        "coverage": [round(share, 3) for share in held],
        **{name: _brief(spent(mine, way)) for name, way in ways.items()},
    }


def _brief(found: Spent) -> dict[str, float]:
    return {
        "cost": round(found.cost, 2),
        "regret": round(found.mean, 2),
        "standard_error": round(found.standard_error, 2),
    }
