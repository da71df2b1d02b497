"""Which runs judge the objectives that came after the grid, in the order in which they are made.

`python -m harness.experiments.added plan` writes the list, which was committed before the first run. The
cells are all those of the smallest model, fresh ones first and then the grid in its own random order, so that
a study that is stopped is a sample of the whole. A rule and the same rule on a frozen prior have one rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.experiments.calibration.grid import RATES, Cell
from harness.experiments.calibration.run import Wanted
from harness.records.arm import BASE, NLL

SMALLEST = "m64"
LOW, HIGH, TENTH = "low", "high", "low / 10"
"""The two rates of a cell's size, and a tenth of the low one."""
RATE = {LOW: RATES[SMALLEST][0], HIGH: RATES[SMALLEST][1], TENTH: RATES[SMALLEST][0] / 10}
FROZEN = {
    "neg_p": "neg_p(prior=frozen)",
    "cadft(1)": "cadft(1, prior=frozen)",
    "threshold(0.2)": "threshold(0.2, prior=frozen)",
}
"""A rule -> the same rule with the weights of the model before training."""
MASS, TAIL = "prift_mass", "tailsft"
ARMS = (
    (NLL, HIGH),
    (NLL, LOW),
    *((rule, LOW) for pair in FROZEN.items() for rule in pair),
    (MASS, LOW),
    (TAIL, HIGH),
    (TAIL, LOW),
)
"""Objectives with their rate."""
CASCADE, DPO, SIMPO, SDFT = "nll@cascade(4)", "dpo", "simpo", "sdft"
TARGETS = (
    (CASCADE, HIGH),
    (CASCADE, LOW),
    (DPO, LOW),
    (DPO, TENTH),
    (SIMPO, LOW),
    (SIMPO, TENTH),
    (SDFT, HIGH),
    (SDFT, LOW),
)
"""Likewise those with targets of their own; authors of losses on pairs train them at lower rates than NLL."""


def added_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Those of the smallest model, in the order given."""
    return [cell for cell in cells if cell.size == SMALLEST]


def added_plan(cells: Sequence[Cell]) -> list[tuple[Cell, Wanted]]:
    """The base and every arm on every cell, cell by cell."""
    base = Wanted(objective=BASE, learning_rate=None, seed=0)
    return [(cell, run) for cell in cells for run in (base, *_runs(ARMS))]


def targets_plan(cells: Sequence[Cell]) -> list[tuple[Cell, Wanted]]:
    """Every arm with targets of its own on every cell; what it is compared with is in the other plan."""
    return [(cell, run) for cell in cells for run in _runs(TARGETS)]


def _runs(arms: Sequence[tuple[str, str]]) -> list[Wanted]:
    return [Wanted(objective=name, learning_rate=RATE[rate], seed=0) for name, rate in arms]
