"""Which runs the study of staged objectives has, in the order in which they are made.

`python -m harness.experiments.staged plan` writes the lists; the first was committed before any run. The
cells are those of the calibration, with the same demonstrations, problems and rates; the fresh ones come
first, then the grid in its own random order, all arms of a cell together: a study that is stopped is a sample
of the whole.

The old arms run again, because pretraining on another machine gives another model: NLL at both rates, and
-p, CADFT and the threshold at the low one, at which they are nearly always better.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from advisor.errors import InputError
from harness.experiments.calibration.grid import RATES, Cell
from harness.experiments.calibration.run import AnyCell, Named, Wanted
from harness.records.arm import BASE, NLL

HIGH, LOW = 1, 0
"""Places in the two rates of a cell's size."""
OLD = ((NLL, HIGH), (NLL, LOW), ("neg_p", LOW), ("cadft(1)", LOW), ("threshold(0.2)", LOW))
"""Objectives that stay, with the place of their rate."""
STAGED = (
    ("nll>neg_p(at=0.5)", HIGH),
    ("nll>cadft(1, at=0.5)", HIGH),
    ("p_anneal(0, 1, 0, 1)", HIGH),
    ("neg_p>nll(at=0.5)", HIGH),
)
"""Those that change, likewise; `neg_p>nll` is the control."""
VARIANTS = (
    ("nll>neg_p(at=0.25)", HIGH),
    ("nll>neg_p(at=0.75)", HIGH),
    ("nll>neg_p(at=0.5)", LOW),
    ("nll>neg_p(at=0.25, rate=0.3)", HIGH),
    ("nll>neg_p(at=auto, rate=0.3)", HIGH),
)
"""Other times and rates of the switch; on fewer cells."""
ADDED = (("p_anneal(0, 1, 0, 1)", LOW), ("p_pow(0.5)", HIGH), ("p_pow(0.5)", LOW))
"""Added when six cells were done, on which the smooth change did better than every switch: the low rate and,
as a control, the middle of the family, which stays."""
EACH = "a cosine each"
"""Note of the runs whose learning rate begins anew at the switch; else one cosine spans the whole run."""
MORE = "4 epochs"
PLAIN = "SGD"
NOTES: dict[str, dict[str, str]] = {
    EACH: {
        "lr_scheduler_type": "cosine_with_restarts",
        "lr_scheduler_kwargs": '{"num_cycles": 2}',
    },
    MORE: {"num_train_epochs": "4"},
    PLAIN: {"optim": "sgd"},
}
"""What the ledger says of a run after its objective -> its settings of the training."""
SGD_RATE = 0.3
"""Learning rate of plain SGD."""
SHOWN = (
    "m128-0-3000-rev-mix-0.4-480",
    "m128-0-4000-chain-mix-0.8-480",
    "m128-0-4000-lin-systematic-0.6-480",
    "m128-0-2000-lin-notation-1-480",
    "m128-0-3000-nov-mix-0.4-1920",
    "m128-0-3000-sev-none-0-1920",
)
"""Cells of the traces and the rivals: known skills with noise, an error, a notation; new skills."""
COLUMNS = ("cell", "objective", "learning_rate", "seed", "note")


def runs_of(cell: Cell, arms: Sequence[tuple[str, int]], seed: int = 0) -> list[Wanted]:
    """The base and some arms on a cell."""
    runs = [Wanted(objective=BASE, learning_rate=None, seed=seed)]
    rates = RATES[cell.size]
    return runs + [Wanted(objective=name, learning_rate=rates[at], seed=seed) for name, at in arms]


def first_plan(cells: Iterable[Cell]) -> list[tuple[Cell, Wanted]]:
    """Every arm on every cell, as planned before the first run."""
    return [
        (cell, run)
        for cell in cells
        for run in (
            *runs_of(cell, (*OLD, *STAGED, *VARIANTS)),
            noted("nll>neg_p(at=0.5)", RATES[cell.size][HIGH], EACH),
        )
    ]


def second_plan(cells: Iterable[Cell]) -> list[tuple[Cell, Wanted]]:
    """What was run after the first cells: what was added, without the variants, which had lost."""
    return [(cell, run) for cell in cells for run in runs_of(cell, (*OLD, *STAGED, *ADDED))]


def noted(objective: str, rate: float, note: str, seed: int = 0) -> Wanted:
    """A run with the settings of a note."""
    return Wanted(
        objective=objective, learning_rate=rate, seed=seed, settings=NOTES[note], note=note
    )


def traced(cells: Sequence[Cell]) -> list[tuple[Cell, Wanted]]:
    """The runs whose tokens are followed."""
    arms = (
        (NLL, HIGH),
        ("neg_p", LOW),
        ("nll>neg_p(at=0.5)", HIGH),
        ("p_anneal(0, 1, 0, 1)", HIGH),
    )
    return [
        (cell, Wanted(objective=name, learning_rate=RATES[cell.size][place], seed=0))
        for cell in _shown(cells)
        for name, place in arms
    ]


def rivals(cells: Sequence[Cell]) -> list[tuple[Cell, Wanted]]:
    """What might do the same: a rate that falls at the switch, more epochs, plain SGD."""
    planned = []
    for cell in _shown(cells):
        low, high = RATES[cell.size]
        staged = "nll>neg_p(at=0.5)"
        runs = [Wanted(objective="nll>nll(at=0.5, rate=0.3)", learning_rate=high, seed=0)]
        for name, rate in (
            (NLL, high),
            (NLL, low),
            ("neg_p", low),
            ("cadft(1)", low),
            (staged, high),
        ):
            runs.append(noted(name, rate, MORE))
        runs += [noted(name, SGD_RATE, PLAIN) for name in (NLL, "neg_p", staged)]
        planned += [(cell, run) for run in runs]
    return planned


def _shown(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for name in SHOWN for cell in cells if cell.name == name]


def write_plan(planned: Iterable[tuple[Named, Wanted]], path: Path) -> None:
    """Write runs as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(
            (cell.name, run.objective, run.learning_rate, run.seed, run.note)
            for cell, run in planned
        )


def read_plan(
    path: Path, cells: Sequence[AnyCell], notes: Mapping[str, Mapping[str, str]] = NOTES
) -> list[tuple[AnyCell, Wanted]]:
    """Read what `write_plan` wrote.

    Args:
        path: of the plan.
        cells: all that may stand in it.
        notes: the settings that a note stands for.

    Raises:
        InputError: no such plan, or one of other cells.
    """
    places = {cell.name: cell for cell in cells}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [(places[row["cell"]], _wanted(row, notes)) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a plan ({error}): write one with `plan`") from error


def _wanted(row: dict[str, str], notes: Mapping[str, Mapping[str, str]]) -> Wanted:
    rate = float(row["learning_rate"]) if row["learning_rate"] else None
    run = Wanted(objective=row["objective"], learning_rate=rate, seed=int(row["seed"]))
    note = row["note"]
    return dataclasses.replace(run, settings=notes[note], note=note) if note else run
