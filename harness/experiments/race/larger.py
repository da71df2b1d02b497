"""Cells of a third size, for what size does: skills and demonstrations that both other sizes have.

`python -m harness.experiments.race plan` writes the list to `results/sizes/`, committed before the first run.
Every cell has the arms of the race study, with curves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.experiments.calibration.grid import LARGER_CHECKPOINTS, Cell
from harness.experiments.calibration.run import Wanted
from harness.experiments.race.curve_plan import runs_of

SMALL, MIDDLE, LARGE = "m64", "m128", "m256"
"""Sizes, ascending."""
CELLS = 24
Demonstrations = tuple[str, str, float, int]
"""What a model of any size can be trained on: skill, noise, its rate, number of rows."""


def demonstrations(cell: Cell) -> Demonstrations:
    """Those of a cell."""
    return cell.skill, cell.noise, cell.rate, cell.rows


def larger_cells(known: Iterable[Cell]) -> list[Cell]:
    """Those of the third size: at the pretraining step of the smallest, earlier steps and few rows first."""
    by_size: dict[str, dict[Demonstrations, Cell]] = defaultdict(dict)
    for cell in known:
        by_size[cell.size].setdefault(demonstrations(cell), cell)
    [seed] = LARGER_CHECKPOINTS[LARGE]
    shared = [
        replace(cell, size=LARGE, seed=seed)
        for what, cell in by_size[SMALL].items()
        if what in by_size[MIDDLE]
    ]
    return sorted(shared[:CELLS], key=lambda cell: (cell.step, cell.rows))


def larger_plan(cells: Sequence[Cell]) -> list[tuple[Cell, Wanted]]:
    """The runs, cell by cell."""
    return [(cell, run) for cell in cells for run in runs_of(cell)]
