"""Which runs get a curve, in the order in which they are made, and on which cells.

`python -m harness.experiments.race plan` writes both lists; they were committed before the first run. Cells
of which no staged run was made come first, so that the study adds cells as well as curves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain, zip_longest
from random import Random

from harness.experiments.calibration.grid import CHECKPOINTS, RATES, SOME, TASKED, Cell
from harness.experiments.calibration.run import Wanted
from harness.ladder.skills import SYSTEMATIC
from harness.records.arm import BASE, NLL

LOW, HIGH = 0, 1
ARMS = (
    (NLL, HIGH),
    (NLL, LOW),
    ("neg_p", LOW),
    ("cadft(1)", LOW),
    ("threshold(0.2)", LOW),
    ("p_pow(0.5)", HIGH),
    ("p_anneal(0, 1, 0, 1)", HIGH),
)
"""Objectives with the place of their rate; NLL also runs at a tenth of the high one."""
HARD = (("systematic", 0.3), ("systematic", 0.6), ("notation", 1.0), ("filler", 1.0))
"""Noise and rate of the demonstrations that cost most where they are guessed."""
MORE = 20
"""Cells of them."""


def more_cells(known: Collection[Cell], seed: int = 0) -> list[Cell]:
    """Cells of hard demonstrations that are not in the grid, on its checkpoints in rotation."""
    rng = Random(f"race {seed}")
    places = [
        (size, pretrained, step)
        for size, seeds in CHECKPOINTS.items()
        for pretrained, steps in seeds.items()
        for step in steps
    ]
    rng.shuffle(places)
    cells: list[Cell] = []
    while len(cells) < MORE:
        size, pretrained, step = places[len(cells) % len(places)]
        noise, rate = HARD[len(cells) % len(HARD)]
        skills = [s for s in TASKED if noise != "systematic" or s in SYSTEMATIC]
        cell = Cell(
            size=size, seed=pretrained, step=step, skill=rng.choice(skills), noise=noise, rate=rate,
            rows=SOME,
        )  # fmt: skip
        if cell not in known and cell not in cells:
            cells.append(cell)
    return cells


def curve_plan(
    grid: Sequence[Cell], more: Sequence[Cell], staged: Collection[str]
) -> list[tuple[Cell, Wanted]]:
    """The runs: two cells without a staged run, a hard one, and so on; then the cells that have staged runs.

    Args:
        grid: cells of the calibration, fresh ones first.
        more: hard ones.
        staged: names of the cells with staged runs.
    """
    new = [cell for cell in grid if cell.name not in staged]
    old = [cell for cell in grid if cell.name in staged]
    turns = zip_longest(new[::2], new[1::2], more)
    cells = [cell for cell in chain.from_iterable(turns) if cell is not None]
    return [(cell, run) for cell in (*cells, *old) for run in runs_of(cell)]


def runs_of(cell: Cell) -> Iterable[Wanted]:
    """The base and every arm."""
    rates = RATES[cell.size]
    yield Wanted(objective=BASE, learning_rate=None, seed=0)
    for name, place in ARMS:
        yield Wanted(objective=name, learning_rate=rates[place], seed=0)
    yield Wanted(objective=NLL, learning_rate=round(rates[HIGH] / 10, 8), seed=0)
