"""What every plan lost where everything had been tried, and so what it is expected to lose elsewhere.

`replayed.json`, which `harness.experiments.replay` writes, holds the plans and, for each measured cell and
way of decoding, the points by which each plan stays below the best run. A plan is fixed: nothing in it was
fitted to a cell. What is expected of a pair is the mean over the cells whose models are nearest in size:
neither mean p nor how accurate the untouched model is told on which of them a plan would lose
(docs/plans.md). Pure, and free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from math import log
from pathlib import Path
from statistics import fmean
from typing import Literal

from advisor.advice.learning_rates import Word
from advisor.errors import InputError
from advisor.files import cells_in_lines, publish, read_json
from advisor.values import built, dataclass_of

SCHEMA = 2
SHIPPED = Path(__file__).with_name("replayed.json")
MUCH = 5.0
"""Points whose loss is counted."""
FACTOR = 2.0
"""By which a model may be smaller or larger than those of the cells and count as of their size."""
Decoding = Literal["greedy", "sampled"]


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A fine-tune of a plan, before the size of the model is known."""

    objective: str
    """Label in the table of objectives."""
    rate: Word
    """Word for the learning rate."""
    targets: str = "demonstrations"
    """Source of the targets."""
    below: float | None = None
    """Made where the best run before it scores below this, points; None: in any case."""


@dataclass(frozen=True, kw_only=True)
class ReplayedCell:
    """A measured cell at one way of decoding."""

    name: str
    """What it is, in words."""
    models: str
    """The `Evidence.models` that it belongs to."""
    decoding: Decoding
    """How answers were had."""
    regrets: Mapping[str, float]
    """Plan -> points below the best objective on the test problems."""
    runs: Mapping[str, int]
    """Plan -> fine-tunes that it made."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What acting on a plan is expected to lose against trying everything."""

    regret: float
    """Points."""
    chance_over_5: float
    """Of losing more than five points."""
    runs: float
    """Fine-tunes, where some are made only if they are needed."""
    cells: int
    """Measured cells that this is the mean of."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Models of one kind, and cells of them on which everything was tried."""

    models: str
    """Which ones, in words."""
    sizes: tuple[float, float]
    """Parameters of the smallest and the largest."""
    arms: int
    """Runs that were tried on each cell."""
    cooler: float
    """Share of the cells in which NLL at the high rate is as good greedily as the best run sampled."""
    alone_regret: Mapping[Decoding, float]
    """Points that `Replay.alone` loses on average."""

    def distance(self, parameters: float) -> float:
        """Of a model from the nearest of these, as a logarithm of the ratio of sizes."""
        low, high = self.sizes
        return max(log(low / parameters), log(parameters / high), 0.0)


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Plans, and what they lost."""

    records: str
    """SHA-256 of the records that were replayed."""
    plans: Mapping[str, tuple[PlannedRun, ...]]
    """Name -> runs, the cheapest plan first; each is the one before it and more."""
    alone: Mapping[Decoding, PlannedRun]
    """The run that loses least by itself, every kind of model counting the same."""
    evidence: tuple[Evidence, ...]
    """By kind of model; the first has cells enough to decide by."""
    cells: tuple[ReplayedCell, ...]
    """Of every kind of model and both ways of decoding."""

    def near(self, parameters: float) -> Evidence:
        """That of the models nearest in size."""
        return min(self.evidence, key=lambda one: one.distance(parameters))

    def measured(self, parameters: float) -> bool:
        """Whether cells enough are of models of about a size: within a factor of two."""
        return self.evidence[0].distance(parameters) <= log(FACTOR)

    def expected(self, plan: str, decoding: Decoding, parameters: float) -> Expected:
        """What a plan is expected to lose with a model of a size that is decoded in one way."""
        models = self.near(parameters).models
        cells = [cell for cell in self.cells if (cell.models, cell.decoding) == (models, decoding)]
        regrets = [cell.regrets[plan] for cell in cells]
        return Expected(
            regret=fmean(regrets),
            chance_over_5=fmean(regret > MUCH for regret in regrets),
            runs=fmean(cell.runs[plan] for cell in cells),
            cells=len(cells),
        )


def write(replay: Replay, path: Path) -> None:
    """Write a replay, a line a cell.

    Raises:
        InputError: the file cannot be written.
    """
    content = cells_in_lines({"schema": SCHEMA, **asdict(replay)})
    publish(path, content, subject=str(path), remedy="give another path")


REPLAY = dataclass_of(Replay)


@cache
def shipped() -> Replay:
    """The replay that comes with the package."""
    return read(SHIPPED)


def read(path: Path) -> Replay:
    """Read a replay.

    Raises:
        InputError: the file is not one.
    """
    try:
        found = read_json(path)
        if found.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        return built(REPLAY, found, "replay")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a replay ({error}): install the package again") from error
