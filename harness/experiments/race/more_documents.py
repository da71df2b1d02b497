"""What more development documents would save: the same whole runs, decided on fewer and on more.

Half of the test problems are added, and the other half judges; so over many random halves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advisor.advice.belief import Array
from harness.experiments.calibration.gains import POINTS
from harness.experiments.calibration.grid import read_grid
from harness.experiments.calibration.ledger import read
from harness.experiments.race.curves import FILES, RACERS, runs_by_arm, runs_by_cell
from harness.experiments.replay.ship import HEATS, PLANS

HALVES = 20
"""Random halves of a cell's test problems."""
CHOICES: dict[str, Sequence[int]] = {
    "`--plan three`, all three": [
        RACERS.index(run) for run in (*PLANS["three"].runs, *PLANS["three"].more)
    ],
    "all eight": range(len(RACERS)),
}
"""Which runs are decided between."""


def more_documents(results: Path) -> list[dict[str, Any]]:
    """A row for each choice and way of decoding: mean regret in points, decided on fewer and on more.

    Args:
        results: folder of the studies.
    """
    table = runs_by_cell(read(results / "race")[1])
    cells = [cell for name in FILES for cell in read_grid(results / name)]
    rows = []
    for how, heat in HEATS.items():
        answers = []
        for cell in cells:
            runs = dict(runs_by_arm(cell, table[cell.name]))
            if len(runs) == len(RACERS):
                made = [runs[arm] for arm in range(len(RACERS))]
                answers.append(
                    [np.stack([run.right(part, heat).astype(np.float64) for run in made])
                     for part in ("development", "test")]
                )  # fmt: skip
        for choice, arms in CHOICES.items():
            found = np.array([regrets(development, test, arms) for development, test in answers])
            fewer, more = found.mean(axis=0)
            documents = [
                answers[0][0].shape[1],
                answers[0][0].shape[1] + answers[0][1].shape[1] // 2,
            ]
            rows.append(
                {"decoding": how, "choice": choice, "cells": len(answers), "documents": documents,
                 "regret": [round(float(fewer), 2), round(float(more), 2)]}
            )  # fmt: skip
    return rows


def regrets(development: Array, test: Array, arms: Sequence[int]) -> tuple[float, float]:
    """Points lost on half of the test problems, decided without and with the other half.

    Args:
        development: [arms, documents] whether each was answered rightly.
        test: likewise.
        arms: that may be kept.
    """
    rates: dict[str, list[int]] = defaultdict(list)
    for arm, (name, _) in enumerate(RACERS):
        rates[name].append(arm)
    lost = []
    for half in range(HALVES):
        order = np.random.default_rng(half).permutation(test.shape[1])
        seen, judged = np.array_split(test[:, order], 2, axis=1)
        points = POINTS * judged.mean(axis=1)
        best = max(points[_kept(development, own)] for own in rates.values())
        both = np.concatenate([development, seen], axis=1)
        lost.append([best - points[_kept(scores, arms)] for scores in (development, both)])
    fewer, more = np.mean(lost, axis=0)
    return float(fewer), float(more)


def _kept(scores: Array, arms: Sequence[int]) -> int:
    return max(arms, key=lambda arm: float(scores[arm].mean()))
