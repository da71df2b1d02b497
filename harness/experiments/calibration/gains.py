"""From the ledger to what the fit learns from: each arm's gain over NLL on each cell, greedy and sampled.

Every arm keeps the learning rate that is best on the development problems at the temperature in question;
what is compared are the test problems, which share none with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.experiments.calibration.ledger import RunLine
from harness.records.arm import BASE, NLL
from harness.statistics.paired import paired_difference

POINTS = 100.0
TENTH = "nll, lr/10"
"""NLL at a tenth of the grid's rates: the control for a smaller step."""
Runs = Mapping[float | None, Sequence[RunLine]]
"""Runs of an arm on a cell, by learning rate, a run a seed."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One arm against NLL on one cell at one temperature, points."""

    cell: str
    """Name of the cell."""
    temperature: float
    """0 is greedy."""
    objective: str
    """Label of the arm, `TENTH` or "base"."""
    learning_rate: float | None
    """That was chosen."""
    score: float
    """Test accuracy."""
    gain: float
    """Less NLL's."""
    error: float
    """Standard error of the gain."""
    seeds: int
    """Runs of the arm."""


def gains(runs: Iterable[RunLine], temperature: float) -> list[Gain]:
    """Every arm of every cell whose NLL has run, at one temperature."""
    table: dict[str, dict[str, dict[float | None, list[RunLine]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for run in (run for run in runs if run.share == 1):
        table[run.cell][run.objective][run.learning_rate].append(run)
    found = []
    for cell, arms in table.items():
        found += _of_cell(cell, _with_control(arms), temperature)
    return found


def _with_control(arms: Mapping[str, Runs]) -> dict[str, Runs]:
    """The arms, NLL's rates below the grid being an arm of their own."""
    grid = {rate for name, runs in arms.items() if name not in (NLL, BASE) for rate in runs}
    nll = arms.get(NLL, {})
    return {
        **{name: runs for name, runs in arms.items() if name != NLL},
        NLL: {rate: runs for rate, runs in nll.items() if rate in grid},
        TENTH: {rate: runs for rate, runs in nll.items() if rate not in grid},
    }


def _of_cell(cell: str, arms: Mapping[str, Runs], temperature: float) -> list[Gain]:
    if not arms[NLL]:
        return []
    _, reference = _best(arms[NLL], temperature)
    found = []
    for name, runs in arms.items():
        if not runs:
            continue
        rate, right = _best(runs, temperature)
        seeds = min(len(right), len(reference))
        same = name == NLL
        difference = paired_difference(right[:seeds], reference[:seeds])
        found.append(
            Gain(
                cell=cell,
                temperature=temperature,
                objective=name,
                learning_rate=rate,
                score=POINTS * float(right.mean()),
                gain=0.0 if same else POINTS * difference.estimate,
                error=0.0 if same else POINTS * difference.standard_error,
                seeds=seeds,
            )
        )
    return found


def _best(runs: Runs, temperature: float) -> tuple[float | None, NDArray[np.float64]]:
    """The rate that is best on the development problems, and [seeds, documents] of its test problems.

    Rates with fewer seeds than the others are judged by what they have; the chosen one's seeds all count.
    """
    rate = max(runs, key=lambda r: np.mean([x.right("development", temperature) for x in runs[r]]))
    ordered = sorted(runs[rate], key=lambda run: run.seed)
    return rate, np.array([run.right("test", temperature) for run in ordered], dtype=float)
