"""The table of the cells of a real model: every run's test points, and its difference from NLL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.experiments.calibration.ledger import RunLine, read
from harness.experiments.staged.made_rows import CELLS
from harness.experiments.staged.regret import POINTS
from harness.records.arm import BASE, NLL
from harness.statistics.paired import paired_difference

Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Head and rows of a table."""
HEATS = {"sampled": 1.0, "greedy": 0.0}
Seeds = Mapping[int, RunLine]
"""Seed -> run."""


def real_table(results: Path) -> Rows:
    """Every run of every cell that has run.

    Args:
        results: folder with `staged/real/`.
    """
    _, runs = read(results / "staged" / "real")
    table: dict[tuple[str, str], dict[int, RunLine]] = defaultdict(dict)
    for run in runs:
        table[run.cell, run.objective][run.seed] = run
    head = ["cell", "run", "seeds"]
    for how in HEATS:
        head += [how, "less nll, 95 %"]
    rows = []
    for cell in CELLS:
        names = [name for place, name in table if place == cell.name]
        for name in sorted(names, key=lambda name: (name != BASE, name != NLL, name)):
            found, nll = table[cell.name, name], table.get((cell.name, NLL), {})
            row = [f"`{cell.name}`", f"`{name}`", str(len(found))]
            for heat in HEATS.values():
                row += [_points(found, heat), _less(found, nll, heat) if name != NLL else ""]
            rows.append(row)
    return head, rows


def _right(runs: Seeds, seeds: Sequence[int], heat: float) -> NDArray[np.float64]:
    """[seeds, documents] 1 where the test problem was answered rightly."""
    return np.array([runs[seed].right("test", heat) for seed in seeds], dtype=float)


def _points(runs: Seeds, heat: float) -> str:
    """The mean over seeds, and the lowest and the highest where there are several."""
    each = POINTS * _right(runs, sorted(runs), heat).mean(axis=1)
    spread = f" [{each.min():.1f} to {each.max():.1f}]" if len(each) > 1 else ""
    return f"{each.mean():.1f}{spread}"


def _less(runs: Seeds, nll: Seeds, heat: float) -> str:
    """The paired difference from NLL over the seeds that both have."""
    seeds = sorted(runs.keys() & nll.keys())
    if not seeds:
        return ""
    found = paired_difference(_right(runs, seeds, heat), _right(nll, seeds, heat))
    low, high = (POINTS * end for end in found.interval)
    return f"{POINTS * found.estimate:+.1f} ({low:+.1f} to {high:+.1f})"
