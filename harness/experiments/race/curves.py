"""The cells of the race study as its replay needs them: every run's answers along its training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path

import numpy as np

from advisor.advice.belief import Array
from advisor.advice.learnt_belief import Racer, known_of
from harness.experiments.calibration.gains import POINTS
from harness.experiments.calibration.grid import Cell, rates_by_word, read_grid
from harness.experiments.calibration.ledger import CellLine, RunLine, read, unpack
from harness.experiments.race.curve_plan import ARMS, HIGH
from harness.records.arm import BASE, NLL
from harness.study.fit_arm import SHARES

RACERS: tuple[Racer, ...] = (
    *((name, "high" if place == HIGH else "low") for name, place in ARMS),
    (NLL, "tenth"),
)
"""Every arm of the study, in the order of its runs."""
STAGES = (*SHARES, 1.0)
"""Shares of the steps at which a run has answers."""
FILES = ("calibration/fresh.csv", "calibration/grid.csv", "race/more.csv")


@dataclass(frozen=True, kw_only=True)
class CurveCell:
    """A cell at one temperature whose runs have all been made."""

    cell: Cell
    """Which one."""
    fresh: bool
    """Whether its pretraining run was not in the grid."""
    known: Array
    """[features] what is known before any training: a one, logits of base accuracy and of mean p."""
    development: Mapping[tuple[int, int], Array]
    """Arm and stage -> [documents] whether each was answered rightly."""
    test: Array
    """[arms] points on the test problems."""

    @property
    def group(self) -> tuple[str, int]:
        """Skill and pretraining text: cells that share either are left out together."""
        return self.cell.skill, self.cell.seed


def curve_cells(
    results: Path, temperature: float, *, folder: str = "race", files: Sequence[str] = FILES
) -> list[CurveCell]:
    """The cells of which every run was made.

    Args:
        results: folder of the studies.
        temperature: of the answers; 0 is greedy.
        folder: of the ledgers.
        files: that list the cells.
    """
    measured, runs = read(results / folder)
    table = runs_by_cell(runs)
    found = []
    for name in files:
        for cell in read_grid(results / name):
            made = _made(cell, table[cell.name])
            if made is not None:
                base, racers = made
                fresh = name == FILES[0]
                found.append(
                    _curve_cell(cell, fresh, measured[cell.name], base, racers, temperature)
                )
    return found


def runs_by_cell(runs: Iterable[RunLine]) -> dict[str, list[RunLine]]:
    """Whole runs of the first seed, by the name of their cell; none where a cell has none."""
    table: dict[str, list[RunLine]] = defaultdict(list)
    for run in runs:
        if run.seed == 0 and run.share == 1:
            table[run.cell].append(run)
    return table


def runs_by_arm(cell: Cell, runs: Iterable[RunLine]) -> Iterator[tuple[int, RunLine]]:
    """The runs of a cell that are of a racing arm, each with the arm's number, in the order of the arms."""
    rates, some = rates_by_word(cell.size), list(runs)
    for arm, (objective, word) in enumerate(RACERS):
        for run in some:
            if run.objective == objective and isclose(run.learning_rate or 0.0, rates[word]):
                yield arm, run


def base_of(runs: Iterable[RunLine]) -> RunLine | None:
    """The run of the untouched model."""
    return next((run for run in runs if run.objective == BASE), None)


def _made(cell: Cell, runs: Sequence[RunLine]) -> tuple[RunLine, list[RunLine]] | None:
    """The base and every arm's run in order; None where one is missing."""
    base = base_of(runs)
    racers: dict[int, RunLine] = {}
    for arm, run in runs_by_arm(cell, runs):
        if run.curve:
            racers.setdefault(arm, run)
    return None if base is None or len(racers) < len(RACERS) else (base, [*racers.values()])


def _curve_cell(
    cell: Cell,
    fresh: bool,
    line: CellLine,
    base: RunLine,
    racers: Sequence[RunLine],
    temperature: float,
) -> CurveCell:
    right = base.right("development", temperature)
    key = f"development@{temperature:g}"
    development = {
        (arm, stage): _stage(run, f"{share:g}", key)
        for arm, run in enumerate(racers)
        for stage, share in enumerate(STAGES)
    }
    return CurveCell(
        cell=cell,
        fresh=fresh,
        known=known_of(float(right.mean()), line.prior["mean_p"]),
        development=development,
        test=np.array([POINTS * run.right("test", temperature).mean() for run in racers]),
    )


def _stage(run: RunLine, share: str, key: str) -> Array:
    found = unpack(run.answers[key] if share == "1" else run.curve[share][key])
    return found.astype(np.float64)
