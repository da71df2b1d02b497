"""What newer objectives gained over what they were made from, paired over cells: greedy, pass@1, pass@16."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from harness.experiments.added.added_plan import (
    ARMS,
    CASCADE,
    DPO,
    FROZEN,
    HIGH,
    LOW,
    MASS,
    RATE,
    SDFT,
    SIMPO,
    TAIL,
    TARGETS,
    TENTH,
)
from harness.experiments.added.many_answers import ANSWERS, many_answers
from harness.experiments.calibration.ledger import RunLine, read
from harness.records.arm import BASE, NLL
from harness.statistics.pass_at_k import pass_at_k

Arm = tuple[str, str]
"""Objective, and which rate; none of the base."""
Array = NDArray[np.float64]
Table = tuple[Sequence[str], Sequence[Sequence[str]]]
POINTS = 100.0
PAIRS: tuple[tuple[Arm, Arm], ...] = (
    *(((frozen, LOW), (rule, LOW)) for rule, frozen in FROZEN.items()),
    *(((rule, LOW), (NLL, LOW)) for rule in FROZEN),
    *(((frozen, LOW), (NLL, LOW)) for frozen in FROZEN.values()),
    ((MASS, LOW), (NLL, LOW)),
    ((TAIL, LOW), (NLL, LOW)),
    ((TAIL, HIGH), (NLL, HIGH)),
)
"""What is compared with what."""
UNTRAINED: Arm = (BASE, "")
TARGET_PAIRS: tuple[tuple[Arm, Arm], ...] = (
    *(((CASCADE, rate), (NLL, rate)) for rate in (LOW, HIGH)),
    *(((SDFT, rate), (NLL, rate)) for rate in (LOW, HIGH)),
    ((SDFT, LOW), UNTRAINED),
    ((DPO, LOW), UNTRAINED),
    *(((SIMPO, rate), (DPO, rate)) for rate in (LOW, TENTH)),
    *(((SIMPO, rate), UNTRAINED) for rate in (LOW, TENTH)),
    *((pairs, (NLL, LOW)) for pairs in ((DPO, TENTH), (SIMPO, TENTH))),
)
"""Likewise of the arms with targets of their own."""
SCORES: Mapping[str, Callable[[RunLine], float]] = {
    "greedy": lambda run: float(run.right("test", 0).mean()),
    "pass@1": lambda run: float(pass_at_k(many_answers(run), 1).mean()),
    f"pass@{ANSWERS}": lambda run: float(pass_at_k(many_answers(run), ANSWERS).mean()),
}
"""Of the test problems; all sampled answers count for pass@1."""
HEAD = ("arm", "less", "rate", "cells", *SCORES)


def gains(scored: Sequence[Mapping[Arm, RunLine]], pair: tuple[Arm, Arm], score: str) -> Array:
    """[cells] points by which the first arm of a pair is above the second."""
    of = SCORES[score]
    first, second = pair
    return POINTS * np.array([of(runs[first]) - of(runs[second]) for runs in scored])


def whole_cells(results: Path, arms: Sequence[Arm]) -> list[dict[Arm, RunLine]]:
    """The runs of every cell that has all of some arms, by arm.

    Args:
        results: folder with `added/`.
        arms: needed.
    """
    cells: dict[str, dict[Arm, RunLine]] = {}
    called = {rate: name for name, rate in RATE.items()}
    for run in read(results / "added")[1]:
        rate = "" if run.learning_rate is None else called[run.learning_rate]
        cells.setdefault(run.cell, {})[run.objective, rate] = run
    return [runs for runs in cells.values() if runs.keys() >= set(arms)]


def added_table(results: Path) -> Table:
    """Head and rows: a comparison a row, a mean over cells with its 95 % interval a cell.

    Args:
        results: folder with `added/`.
    """
    return _table(whole_cells(results, ARMS), PAIRS)


def targets_table(results: Path) -> Table:
    """As `added_table`, of the arms with targets of their own."""
    return _table(whole_cells(results, (*ARMS, *TARGETS)), TARGET_PAIRS)


def _table(scored: Sequence[Mapping[Arm, RunLine]], pairs: Sequence[tuple[Arm, Arm]]) -> Table:
    rows = [
        (
            f"`{first[0]}`",
            f"`{second[0]}`",
            first[1],
            str(len(scored)),
            *(_mean(gains(scored, (first, second), score)) for score in SCORES),
        )
        for first, second in pairs
    ]
    return HEAD, rows


def _mean(values: Array) -> str:
    """The mean with its 95 % interval, by Student's t over cells."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.1f} ({values.mean() - half:+.1f} to {values.mean() + half:+.1f})"
