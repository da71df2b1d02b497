"""What the ledger says of each cell: scores, what plans lose, what was forecast, and what was forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from advisor.advice.learning_rates import learning_rate
from harness.experiments.calibration.ledger import CellLine, RunLine, read
from harness.experiments.calibration.run import Wanted
from harness.experiments.real.cells import RealCell
from harness.experiments.real.guards import QUESTIONS
from harness.experiments.real.real_plan import (
    ARMS,
    CELLS,
    HIGHER,
    LONGER,
    LONGER_ARMS,
    NOTES,
    PARAMETERS,
)
from harness.experiments.replay.cells import RunKey, Scores
from harness.experiments.staged.plan import read_plan
from harness.records.arm import BASE, NLL
from harness.statistics.paired import Difference, paired_difference

POINTS = 100.0
APART = 10.0
"""Points between the best and the worst run of a cell from which on it can tell plans apart."""
DRAWS = 2000
"""Of the bootstrap over cells."""
Place = tuple[str, float]
"""Objective and learning rate."""


@dataclass(frozen=True, kw_only=True)
class FoundCell:
    """A cell and its runs."""

    cell: RealCell
    """Which one."""
    planned: tuple[Wanted, ...]
    """Its runs in the plan, adapters too."""
    measured: CellLine | None
    """None: nothing of it has been done."""
    runs: Mapping[Place, RunLine]
    """Whole fine-tunes of the plan without a note, first seed."""
    base: RunLine | None
    """The untouched model."""
    adapters: tuple[RunLine, ...]
    """Runs with a note."""
    higher: RunLine | None
    """That of `real_plan.HIGHER`."""
    longer: Mapping[RunKey, RunLine]
    """Those of `real_plan.LONGER_ARMS`, trained four times as long."""
    again: Mapping[Place, RunLine]
    """Second seeds of `runs`."""
    done: int
    """Runs of the plan that have been made."""

    @property
    def whole(self) -> bool:
        """Whether the base and every run without a note has been made."""
        wanted = sum(not run.note for run in self.planned)
        return self.base is not None and len(self.runs) + 1 == wanted

    def points(self, place: Place, heat: float, part: str = "test") -> float:
        """What a run scores."""
        return POINTS * float(self.runs[place].right(part, heat).mean())

    @property
    def nll(self) -> Place:
        """NLL at its highest rate."""
        return max((place for place in self.runs if place[0] == NLL), key=lambda place: place[1])

    def scores(self, heat: float) -> Scores:
        """Of every run of a whole cell."""
        return scores_of({arm: self.runs[place_of(arm)] for arm in ARMS}, heat)

    def scores_with_higher(self, heat: float) -> Scores:
        """The same, and of `higher`, which has been made."""
        assert self.higher is not None
        runs = {arm: self.runs[place_of(arm)] for arm in ARMS}
        return scores_of({**runs, HIGHER: self.higher}, heat)

    def spread(self, heat: float) -> float:
        """Points between the best and the worst run."""
        found = [self.points(place, heat) for place in self.runs]
        return max(found) - min(found)

    def regret(self, places: Sequence[Place], heat: float) -> float:
        """Points lost by keeping, of some runs, the best on the development problems.

        Against the best run of the cell on the test problems, which luck has part in: a regret is a little
        too large rather than too small.
        """
        kept = max(places, key=lambda place: self.points(place, heat, "development"))
        return max(self.points(place, heat) for place in self.runs) - self.points(kept, heat)

    def less_nll(self, place: Place, heat: float) -> Difference:
        """A run less NLL at the high rate, paired by test problem."""
        one, other = (self.runs[at].right("test", heat)[None] for at in (place, self.nll))
        return paired_difference(one.astype(float), other.astype(float))

    def plan(self, heat: float, *, runs: int | None = None) -> tuple[Place, ...]:
        """The runs that the frozen plan would have made, the first so many of it, at most."""
        assert self.measured is not None
        made: list[Place] = []
        for step in self.measured.forecast[f"{heat:g}"]["plan"][:runs]:
            best = max((self.points(at, heat, "development") for at in made), default=0.0)
            if step["below"] is None or best < step["below"]:
                made.append((step["objective"], step["learning_rate"]))
        return tuple(made)


def scores_of(runs: Mapping[RunKey, RunLine], heat: float) -> Scores:
    """What some runs of a cell score."""
    development, test = (
        {arm: POINTS * float(run.right(part, heat).mean()) for arm, run in runs.items()}
        for part in ("development", "test")
    )
    return Scores(development=development, test=test)


def place_of(run: RunKey, note: str = "") -> Place:
    """Where a run stands among those of a cell; the ledger has a note after the objective."""
    return f"{run[0]}, {note}" if note else run[0], learning_rate(PARAMETERS, run[1], "full")


def found_cells(results: Path) -> list[FoundCell]:
    """Every planned cell, in the order of the plan.

    Args:
        results: folder with `real/`.
    """
    folder = results / "real"
    planned = read_plan(folder / "plan.csv", CELLS, NOTES)
    measured, runs = read(folder)
    by_key = {run.key: run for run in runs}
    found = []
    for cell in dict.fromkeys(cell for cell, _ in planned):
        mine = [run for of, run in planned if of == cell]
        lines = [
            (run, by_key[key])
            for run in mine
            if (key := (cell.name, run.arm, run.learning_rate, run.seed, run.share)) in by_key
        ]
        found.append(
            FoundCell(
                cell=cell,
                planned=tuple(mine),
                measured=measured.get(cell.name),
                runs={
                    (run.objective, run.learning_rate): line
                    for run, line in lines
                    if run.learning_rate is not None and not run.note
                },
                base=next((line for run, line in lines if run.objective == BASE), None),
                adapters=tuple(line for run, line in lines if run.note),
                done=len(lines),
                higher=by_key.get((cell.name, *place_of(HIGHER), 0, 1.0)),
                longer={
                    (name, word): by_key[key]
                    for name, word in LONGER_ARMS
                    if (key := (cell.name, *place_of((name, word), LONGER), 0, 1.0)) in by_key
                },
                again={
                    place: by_key[key]
                    for place in map(place_of, ARMS)
                    if (key := (cell.name, *place, 1, 1.0)) in by_key
                },
            )
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A fine-tune against the untouched model."""

    cell: str
    """Name of its cell."""
    kl: float
    """Divergence on the new task, nats a token."""
    lost: float
    """Points on the guards, mean over both; above zero where something is forgotten."""
    text: float | None
    """Rise of the NLL of general text, nats a token; None where it was not taken."""


def moved(cells: Sequence[FoundCell]) -> Iterator[Moved]:
    """Every run with its cell's base, adapters too."""
    for one in cells:
        if one.base is None:
            continue
        for run in (*one.runs.values(), *one.adapters):
            texts = [line.forgetting.get("text_nll") for line in (run, one.base)]
            yield Moved(
                cell=one.cell.name,
                kl=run.forgetting["kl"],
                lost=guard_points(one.base) - guard_points(run),
                text=None if texts[0] is None or texts[1] is None else texts[0] - texts[1],
            )


def guard_points(run: RunLine) -> float:
    """Points on the guards, the mean of both."""
    return POINTS * float(np.mean([run.right(guard, 0).mean() for guard in QUESTIONS]))


def spearman(
    found: Sequence[Moved], of: str, *, seed: int = 0
) -> tuple[float, float, float] | None:
    """Rank correlation of the divergence with `lost` or `text`, and its 95 % interval over cells.

    The interval resamples cells, whose runs resemble each other; None where there are fewer than three cells
    or nothing varies.
    """
    kept = [one for one in found if getattr(one, of) is not None]
    cells = sorted({one.cell for one in kept})
    if len(cells) < 3:
        return None
    whole = _ranked(kept, of)
    rng = np.random.default_rng(seed)
    by_cell = {cell: [one for one in kept if one.cell == cell] for cell in cells}
    draws = [
        _ranked([one for cell in rng.choice(cells, len(cells)) for one in by_cell[cell]], of)
        for _ in range(DRAWS)
    ]
    known = [draw for draw in draws if draw is not None]
    if whole is None or not known:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return whole, float(low), float(high)


def _ranked(found: Sequence[Moved], of: str) -> float | None:
    pairs = np.array([(x.kl, getattr(x, of)) for x in found])
    rho = float(rank_correlations(pairs[None])[0])
    return None if np.isnan(rho) else rho


def rank_correlations(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """[draws] Spearman's of [draws, cells, 2]; NaN where one of both is the same everywhere."""
    ranks = rankdata(pairs, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        product = (ranks[..., 0] * ranks[..., 1]).sum(axis=1)
        return np.asarray(product / np.sqrt((ranks**2).sum(axis=1).prod(axis=1)))


def forecast_of(cell: FoundCell, objective: str, heat: float) -> Mapping[str, Any] | None:
    """What was forecast of an objective's gain over NLL before the cell was begun; None where nothing was."""
    if cell.measured is None:
        return None
    ranked = cell.measured.forecast[f"{heat:g}"]["ranking"]
    return next((arm for arm in ranked if arm["objective"] == objective), None)
