"""What size does: the same skills and demonstrations at three sizes, and beliefs judged on one left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from advisor.advice.belief import Array
from advisor.advice.mixture import Mixture
from harness.experiments.calibration.gains import POINTS
from harness.experiments.calibration.grid import Cell, read_grid
from harness.experiments.calibration.ledger import RunLine, fingerprint, read
from harness.experiments.race.all_scores import all_scores
from harness.experiments.race.curves import (
    FILES,
    RACERS,
    STAGES,
    CurveCell,
    curve_cells,
    runs_by_arm,
    runs_by_cell,
)
from harness.experiments.race.fit_belief import Scored, fit_belief
from harness.experiments.race.larger import LARGE, MIDDLE, SMALL, Demonstrations, demonstrations
from harness.experiments.race.race_policies import Spent, engine, policy_of, spent
from harness.experiments.race.replay_race import DEFAULT
from harness.experiments.race.ship_belief import holds, scored
from harness.experiments.replay.policies import Plan
from harness.experiments.replay.ship import HEATS, PLANS, STUDIES
from harness.records.arm import NLL

SIZES = (SMALL, MIDDLE, LARGE)
CELLS = "sizes/cells.csv"
FOLDERS = (*STUDIES, "sizes")
PLAIN = [arm for arm, (name, _) in enumerate(RACERS) if name == NLL]
HIGH = RACERS.index((NLL, "high"))
RESAMPLED = 10_000
"""Resamples of demonstrations for an interval."""


@dataclass(frozen=True, kw_only=True)
class WholeRuns:
    """What the whole runs of a cell scored in one study; NaN of an arm that it did not make."""

    cell: Cell
    """Which one."""
    developed: Array
    """[arms] points on the development problems."""
    test: Array
    """[arms] points on the test problems."""


Gains = Mapping[str, Mapping[Demonstrations, Array]]
"""Size -> demonstrations -> [arms] points over NLL."""


def sizes(results: Path) -> dict[str, Any]:
    """Gains of every arm by size, how they go together, and what is lost on a size that was left out."""
    found: dict[str, Any] = {"records": records_of_sizes(results)}
    for how, heat in HEATS.items():
        runs = whole_runs(results, heat)
        gains = {size: gains_of([r for r in runs if r.cell.size == size]) for size in SIZES}
        shared = sorted(set.intersection(*(set(one) for one in gains.values())))
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
            "left_out": _left_out(results, heat),
        }
    return found


def records_of_sizes(results: Path) -> str:
    """SHA-256 of every ledger that is read."""
    return fingerprint(results / name for name in FOLDERS)


def whole_runs(results: Path, temperature: float) -> list[WholeRuns]:
    """Every cell of every study, once a study."""
    cells = {cell.name: cell for name in (*FILES, CELLS) for cell in read_grid(results / name)}
    found = []
    for folder in FOLDERS:
        runs = runs_by_cell(read(results / folder)[1])
        found += [_whole(cells[name], some, temperature) for name, some in runs.items()]
    return found


def _whole(cell: Cell, runs: Sequence[RunLine], temperature: float) -> WholeRuns:
    points = np.full((2, len(RACERS)), np.nan)
    for arm, run in runs_by_arm(cell, runs):
        for row, part in enumerate(("development", "test")):
            points[row, arm] = POINTS * run.right(part, temperature).mean()
    return WholeRuns(cell=cell, developed=points[0], test=points[1])


def gains_of(runs: Sequence[WholeRuns]) -> dict[Demonstrations, Array]:
    """Points over NLL at the rate that its development problems prefer, by demonstrations.

    Cells of the same demonstrations, at other checkpoints and pretraining texts, are averaged; an arm that
    none of them has stays NaN. A cell without NLL at the high rate is left out.
    """
    found: dict[Demonstrations, list[Array]] = defaultdict(list)
    for one in runs:
        plain = [arm for arm in PLAIN if not np.isnan(one.developed[arm])]
        if HIGH in plain:
            best = max(plain, key=one.developed.__getitem__)
            found[demonstrations(one.cell)].append(one.test - one.test[best])
    return {what: _mean(np.stack(some)) for what, some in found.items()}


def _mean(table: Array) -> Array:
    """Over the first axis, of what is there."""
    there = ~np.isnan(table)
    total = np.where(there, table, 0).sum(axis=0)
    found: Array = np.where(there.any(axis=0), total / np.maximum(there.sum(axis=0), 1), np.nan)
    return found


def _gain(gains: Gains, shared: Sequence[Demonstrations], arm: int) -> dict[str, Any]:
    """By size, the mean over the demonstrations that have the arm at every size, and the share above zero."""
    table = np.array([[gains[size][what][arm] for size in SIZES] for what in shared])
    whole = table[~np.isnan(table).any(axis=1)]
    found: dict[str, Any] = {"demonstrations": len(whole)}
    for place, size in enumerate(SIZES):
        low, high = _interval(whole[:, place], np.mean)
        found[size] = {
            "mean": round(float(whole[:, place].mean()), 1),
            "interval": [round(low, 1), round(high, 1)],
            "above": round(float((whole[:, place] > 0).mean()), 3),
        }
    return found


def _interval(values: Array, statistic: Any) -> tuple[float, float]:
    """95 % percentile bootstrap over the first axis."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(RESAMPLED, len(values)))
    low, high = np.nanquantile([statistic(values[rows]) for rows in drawn], (0.025, 0.975))
    return float(low), float(high)


def _together(
    gains: Gains, shared: Sequence[Demonstrations], one: str, other: str
) -> dict[str, Any]:
    """How gains of arms that are not NLL go together at two sizes, over demonstrations and arms."""
    arms = [arm for arm in range(len(RACERS)) if arm not in PLAIN]
    pairs = np.array([[gains[one][what][arms], gains[other][what][arms]] for what in shared])
    large = (np.abs(pairs) > 5).all(axis=1)  # False of what is missing
    agree = np.sign(pairs[:, 0]) == np.sign(pairs[:, 1])

    def rank(some: Array) -> float:
        flat = some.transpose(1, 0, 2).reshape(2, -1)
        return float(spearmanr(*flat[:, ~np.isnan(flat).any(axis=0)]).statistic)

    low, high = _interval(pairs, rank)
    return {
        "sizes": [one, other],
        "spearman": round(rank(pairs), 2),
        "interval": [round(low, 2), round(high, 2)],
        "same_sign": round(float(agree[large].mean()), 2) if large.any() else None,
        "compared": int(large.sum()),
    }


def _left_out(results: Path, heat: float) -> list[dict[str, Any]]:
    """What is believed of cells of a size from those of the others that do not share the skill."""
    cells = [
        *curve_cells(results, heat),
        *curve_cells(results, heat, folder="sizes", files=(CELLS,)),
    ]
    scores = all_scores(results, heat, folders=FOLDERS, files=(*FILES, CELLS))
    return [
        _judged([c for c in cells if c.cell.size == size], [s for s in scores if s.size != size])
        for size in SIZES
    ]


def _judged(mine: Sequence[CurveCell], scores: Sequence[Scored]) -> dict[str, Any]:
    learnt = {
        skill: fit_belief([s for s in scores if s.skill != skill])
        for skill in {cell.cell.skill for cell in mine}
    }

    def believed(cell: CurveCell) -> Mixture:
        return learnt[cell.cell.skill].doubted(cell.known, len(STAGES))

    held = [
        float(np.mean([holds(scored(believed(cell), cell, stages), cell) for cell in mine]))
        for stages in range(len(STAGES))
    ]
    ways = {
        "race": engine(believed, DEFAULT),
        "three": policy_of(PLANS["three"]),
        "nll": policy_of(Plan(runs=((NLL, "high"),))),
    }
    return {
        "size": mine[0].cell.size,
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
