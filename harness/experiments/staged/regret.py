"""What each way to choose a run loses: points below the best run of the cell, at one temperature.

A plan trains some runs and keeps the one that is best on the development problems; a single run keeps itself.
Its regret is taken on the test problems, against the best of the five runs whose objective stays (below 0
where a run beats them all) and against the best of all. NLL, which has two rates, counts with the one that
it would keep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.experiments.calibration.findings import kind_of, mean
from harness.experiments.calibration.grid import RATES, Cell
from harness.experiments.calibration.judge import Interval
from harness.experiments.calibration.ledger import RunLine
from harness.experiments.replay.policies import share_over
from harness.experiments.staged.plan import ADDED, EACH, HIGH, LOW, OLD, STAGED, VARIANTS
from harness.records.arm import NLL

POINTS = 100.0
RunKey = tuple[str, int]
"""What the ledger calls an arm, and the place of its rate."""
KEY: tuple[RunKey, ...] = (*OLD, *STAGED, *ADDED)
"""Runs of most cells."""
FIRST: tuple[RunKey, ...] = (
    *OLD,
    *STAGED,
    *VARIANTS,
    (f"nll>neg_p(at=0.5), {EACH}", HIGH),
)
"""Runs of the first cells."""
PLANS: dict[str, tuple[RunKey, ...]] = {
    "`nll` high, `cadft(1)` low": ((NLL, HIGH), ("cadft(1)", LOW)),
    "`nll` high, `nll>neg_p(at=0.5)` high": ((NLL, HIGH), ("nll>neg_p(at=0.5)", HIGH)),
    "`nll` high, `p_anneal` low": ((NLL, HIGH), ("p_anneal(0, 1, 0, 1)", LOW)),
    "`p_anneal` high, `cadft(1)` low": (("p_anneal(0, 1, 0, 1)", HIGH), ("cadft(1)", LOW)),
    "`p_anneal` high and low": (("p_anneal(0, 1, 0, 1)", HIGH), ("p_anneal(0, 1, 0, 1)", LOW)),
    "`p_pow(0.5)` high, `cadft(1)` low": (("p_pow(0.5)", HIGH), ("cadft(1)", LOW)),
    "the five without change": OLD,
    "all": KEY,
}
"""Several runs, of which the development problems choose."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A cell whose runs have all been made, at one temperature, one seed."""

    cell: Cell
    """Which one."""
    development: Mapping[RunKey, float]
    """Points on the development problems."""
    test: Mapping[RunKey, float]
    """Points on the test problems."""

    @property
    def kind(self) -> str:
        """What its demonstrations are."""
        return kind_of(self.cell)

    def chosen(self, runs: Iterable[RunKey]) -> float:
        """Test points of the run that is best on the development problems, the first of equals."""
        return self.test[max(runs, key=lambda run: self.development[run])]

    def best(self, runs: Sequence[RunKey]) -> float:
        """Test points of the best of some runs, NLL at the rate that it would keep."""
        nll = [run for run in runs if run[0] == NLL]
        rest = [self.test[run] for run in runs if run[0] != NLL]
        return max([*rest, self.chosen(nll)])


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a way to choose loses over some cells."""

    old: Interval
    """Mean regret against the best of the five runs whose objective stays, points."""
    all: Interval
    """Mean regret against the best of all runs."""
    often: float
    """Share of the cells in which `all` is above five."""
    often_old: float
    """Likewise of `old`."""
    worst: float
    """Largest regret against all."""


def scored(
    cells: Iterable[Cell],
    runs: Iterable[RunLine],
    wanted: Sequence[RunKey],
    temperature: float,
    seed: int = 0,
) -> list[Scored]:
    """The cells in which every wanted run was made with a seed, in their order."""
    table: dict[str, dict[tuple[str, float | None], RunLine]] = defaultdict(dict)
    for run in runs:
        if run.seed == seed and run.share == 1:
            table[run.cell][run.objective, run.learning_rate] = run
    found = []
    for cell in cells:
        lines = {key: table[cell.name].get((key[0], RATES[cell.size][key[1]])) for key in wanted}
        known = {key: line for key, line in lines.items() if line is not None}
        if len(known) == len(wanted):
            found.append(
                Scored(
                    cell=cell,
                    development=_points(known, "development", temperature),
                    test=_points(known, "test", temperature),
                )
            )
    return found


def _points(runs: Mapping[RunKey, RunLine], part: str, temperature: float) -> dict[RunKey, float]:
    return {key: POINTS * float(run.right(part, temperature).mean()) for key, run in runs.items()}


def loss(found: Sequence[Scored], runs: Sequence[RunKey]) -> Loss:
    """What is lost by training these runs and keeping the best on the development problems."""
    kept = np.array([case.chosen(runs) for case in found])
    old = np.array([case.best(OLD) for case in found]) - kept
    every = np.array([case.best(tuple(case.test)) for case in found]) - kept
    return Loss(
        old=mean(old.tolist()),
        all=mean(every.tolist()),
        often=share_over(every.tolist()),
        often_old=share_over(old.tolist()),
        worst=float(every.max()),
    )
