"""The measured cells as a replay needs them: each run's points on development and test problems.

Two sets of records: those of the calibration (six objectives that stay, each at two rates, and NLL at a
tenth), and those of the studies of staged objectives and of races, whose models were pretrained anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import isclose
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advisor.advice.features import features
from advisor.advice.learning_rates import Word
from harness.experiments.calibration.findings import kind_of
from harness.experiments.calibration.gains import POINTS
from harness.experiments.calibration.grid import Cell, rates_by_word, read_grid
from harness.experiments.calibration.ledger import CellLine, RunLine, read
from harness.records.arm import BASE, NLL

RunKey = tuple[str, Word]
"""Label of an objective, and the word for its learning rate."""
RATE_WORDS: Sequence[Word] = ("high", "low")
TENTH: RunKey = (NLL, "tenth")
SETS = ("grid", "fresh")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the runs of a cell score, decoded in one way: all that a plan of them needs."""

    development: Mapping[RunKey, float]
    """Points on the development problems."""
    test: Mapping[RunKey, float]
    """Points on the test problems."""

    def kept(self, runs: Iterable[RunKey]) -> RunKey:
        """The run that is best on the development problems, the first of equals."""
        return max(runs, key=lambda run: self.development[run])

    def best(self) -> float:
        """Test points of the best run."""
        return max(self.test.values())

    def regret(self, run: RunKey) -> float:
        """Test points that keeping a run loses."""
        return self.best() - self.test[run]


@dataclass(frozen=True, kw_only=True)
class Replayed(Scores):
    """A cell at one temperature, one seed, whose runs have all been made."""

    cell: Cell
    """Which one."""
    fresh: bool
    """Whether its pretraining run was not in the grid."""
    parameters: float
    """Of the model."""
    features: Mapping[str, float]
    """As `advisor.advice.features.features` gives them."""
    accuracy: float
    """Share of the development problems that the untouched model solves."""
    right: Mapping[RunKey, NDArray[np.bool_]] = field(default_factory=dict)
    """[development and test problems] whether each was answered rightly."""
    right_of_base: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """The same of the untouched model."""
    test_of_base: float = 0.0
    """Share of the test problems that the untouched model solves."""
    race: Mapping[str, float] = field(default_factory=dict)
    """Label of an objective -> development points after an eighth of the steps; empty without a race."""

    @property
    def kind(self) -> str:
        """What its demonstrations are."""
        return kind_of(self.cell)

    @property
    def group(self) -> tuple[str, int]:
        """Skill and pretraining text: cells that share either are left out together."""
        return self.cell.skill, self.cell.seed

    def best(self) -> float:
        """Test points of the best objective, each at the rate that it would keep."""
        rates: dict[str, list[RunKey]] = defaultdict(list)
        for run in self.test:
            if run[1] in RATE_WORDS:
                rates[run[0]].append(run)
        return max(self.test[self.kept(runs)] for runs in rates.values())


def either(sampled: Iterable[Replayed], greedy: Iterable[Replayed]) -> list[Replayed]:
    """Cells whose runs may be decoded either way: a run that is decoded greedily has a label of its own."""
    cooled = {cell.cell.name: cell for cell in greedy}
    return [
        replace(
            cell,
            development={**cell.development, **_greedily(cooled[cell.cell.name].development)},
            test={**cell.test, **_greedily(cooled[cell.cell.name].test)},
        )
        for cell in sampled
        if cell.cell.name in cooled
    ]


def greedily(run: RunKey) -> RunKey:
    """The same run, decoded greedily."""
    return f"{run[0]} greedily", run[1]


def _greedily(points: Mapping[RunKey, float]) -> dict[RunKey, float]:
    return {greedily(run): score for run, score in points.items()}


def replayed(
    cells: Mapping[str, Sequence[Cell]],
    measured: Mapping[str, CellLine],
    runs: Iterable[RunLine],
    wanted: Sequence[RunKey],
    temperature: float,
) -> list[Replayed]:
    """The cells of which every wanted run was made, grid and fresh.

    Args:
        cells: those of "grid" and of "fresh".
        measured: what was measured on each before training.
        runs: of all of them.
        wanted: runs that a cell must have; what it has beyond them is dropped, but for NLL at a tenth.
        temperature: of the answers; 0 is greedy.
    """
    table: dict[str, list[RunLine]] = defaultdict(list)
    for run in runs:
        if run.seed == 0:
            table[run.cell].append(run)
    found = []
    for name, some in cells.items():
        for cell in some:
            known = _known(cell, table[cell.name], (*wanted, TENTH))
            base = next((run for run in table[cell.name] if run.objective == BASE), None)
            if base is None or cell.name not in measured or not known.keys() >= set(wanted):
                continue
            line = measured[cell.name]
            found.append(
                Replayed(
                    cell=cell,
                    fresh=name == "fresh",
                    parameters=float(line.prior["model"]["parameters"]),
                    features=features(line.prior, line.deep),
                    accuracy=float(base.right("development", temperature).mean()),
                    development={
                        k: _points(r, "development", temperature) for k, r in known.items()
                    },
                    test={k: _points(r, "test", temperature) for k, r in known.items()},
                    right={k: _right(r, temperature) for k, r in known.items()},
                    right_of_base=_right(base, temperature),
                    test_of_base=float(base.right("test", temperature).mean()),
                    race={
                        run.objective: _points(run, "development", temperature)
                        for run in table[cell.name]
                        if run.share < 1
                    },
                )
            )
    return found


def _known(cell: Cell, runs: Iterable[RunLine], wanted: Sequence[RunKey]) -> dict[RunKey, RunLine]:
    """Those of the wanted runs that a cell has."""
    rates = rates_by_word(cell.size)
    tuned = [run for run in runs if run.share == 1 and run.learning_rate is not None]
    return {
        key: run
        for run in tuned
        for key in ((run.objective, word) for word, rate in rates.items() if _same(run, rate))
        if key in wanted
    }


def _same(run: RunLine, rate: float) -> bool:
    return run.learning_rate is not None and isclose(run.learning_rate, rate)


def _points(run: RunLine, part: str, temperature: float) -> float:
    return POINTS * float(run.right(part, temperature).mean())


def _right(run: RunLine, temperature: float) -> NDArray[np.bool_]:
    return np.concatenate([run.right(part, temperature) for part in ("development", "test")])


@cache
def _ledger(folder: Path) -> tuple[dict[str, CellLine], list[RunLine]]:
    """What a folder of ledgers holds: both temperatures, and every table, read the same runs."""
    return read(folder)


def calibrated(results: Path, wanted: Sequence[RunKey], temperature: float) -> list[Replayed]:
    """Of the calibration; `results` holds `calibration/`."""
    folder = results / "calibration"
    cells = {name: read_grid(folder / f"{name}.csv") for name in SETS}
    (measured, runs), (fresh, more) = _ledger(folder), _ledger(folder / "fresh")
    return replayed(cells, {**measured, **fresh}, [*runs, *more], wanted, temperature)


def staged(results: Path, wanted: Sequence[RunKey], temperature: float) -> list[Replayed]:
    """Of the study of staged objectives; `results` holds `calibration/` (its cells) and `staged/`."""
    cells = {name: read_grid(results / "calibration" / f"{name}.csv") for name in SETS}
    measured, runs = _ledger(results / "staged")
    return replayed(cells, measured, runs, wanted, temperature)


def later(results: Path, wanted: Sequence[RunKey], temperature: float) -> list[Replayed]:
    """Of the studies of staged objectives and of races together; a cell of both counts once."""
    cells = {name: read_grid(results / "calibration" / f"{name}.csv") for name in SETS}
    cells["grid"] += read_grid(results / "race" / "more.csv")
    (measured, runs), (more, others) = _ledger(results / "staged"), _ledger(results / "race")
    return replayed(cells, {**more, **measured}, [*runs, *others], wanted, temperature)
