"""Which starts the study has, how far each is continued, and in which order.

`python -m harness.experiments.afterwards plan` writes the list, which was committed before the first run.
First two skills of models of 0.15M parameters from five starts with three seeds, each continued with GRPO;
then cells of the calibration on which plain fine-tuning and TailSFT are sampled, and nothing is continued.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from advisor.errors import InputError
from harness.experiments.calibration.grid import RATES, SOME, TASKED, Cell
from harness.records.arm import BASE, NLL

LOW, HIGH = 0, 1
TAIL = "tailsft(0.5, 1, 0)"
STARTS = ((NLL, HIGH), ("neg_p", LOW), ("cadft(1)", LOW), (TAIL, HIGH))
"""Objectives with the place of their rate in the grid's two; the untouched model is a start, too."""
CONTINUED = (
    Cell(size="m64", seed=0, step=2000, skill="lin", noise="mix", rate=0.4, rows=SOME),
    Cell(size="m64", seed=0, step=4000, skill="add", noise="mix", rate=0.4, rows=SOME),
)
"""Skills whose models answer rightly now and then: pass@16 is far above pass@1."""
SEEDS = (0, 1, 2)
STEPS = 40
"""Optimiser steps of GRPO, of 64 answers each."""
COVERED = 16
"""Cells on which coverage lost and gained is taken."""
SIZE = "m64"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A fine-tune, or the untouched model, and how far it is continued."""

    cell: str
    """Name of the cell."""
    objective: str
    """Label in the table of objectives, or "base"."""
    learning_rate: float | None
    """None for the base."""
    seed: int
    """Of the fine-tune and of GRPO."""
    steps: int
    """Of GRPO; 0: it is sampled alone."""


def make_plan(grid: Sequence[Cell]) -> list[Start]:
    """Every start in its order.

    Args:
        grid: cells of the calibration, of which the first known skills of the small size are taken.
    """
    return [*_continued(), *_covered(grid)]


def covered_cells(grid: Sequence[Cell]) -> list[Cell]:
    """The cells on which nothing is continued."""
    fit = [cell for cell in grid if cell.size == SIZE and cell.skill in TASKED]
    return fit[:COVERED]


def _continued() -> Iterable[Start]:
    for seed in SEEDS:
        for cell in CONTINUED:
            for objective, place in ((BASE, None), *STARTS):
                yield _start(cell, objective, place, seed, STEPS)


def _covered(grid: Sequence[Cell]) -> Iterable[Start]:
    for cell in covered_cells(grid):
        for objective, place in ((BASE, None), (NLL, HIGH), (TAIL, HIGH)):
            yield _start(cell, objective, place, 0, 0)


def _start(cell: Cell, objective: str, place: int | None, seed: int, steps: int) -> Start:
    rate = None if place is None else RATES[cell.size][place]
    return Start(cell=cell.name, objective=objective, learning_rate=rate, seed=seed, steps=steps)


def write_plan(starts: Iterable[Start], path: Path) -> None:
    """Write starts as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Start)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(start) for start in starts)


def read_plan(path: Path) -> list[Start]:
    """Read what `write_plan` wrote.

    Raises:
        InputError: no such plan, or another one's columns.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_read(row) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a plan ({error}): write one with `plan`") from error


def _read(row: dict[str, str]) -> Start:
    rate = float(row["learning_rate"]) if row["learning_rate"] else None
    return Start(
        cell=row["cell"], objective=row["objective"], learning_rate=rate, seed=int(row["seed"]),
        steps=int(row["steps"]),
    )  # fmt: skip
