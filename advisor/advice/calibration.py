"""What was measured and published, and what it makes one expect of another pair.

Pure, and free of torch and scikit-learn. `calibration.json`, which `harness.experiments.calibration`
writes, holds for greedy and for sampled answers

- *levels*: fits of every arm's gain on features of the prior, from the richest to mean p alone; a forecast
  uses the richest whose features are all there, far from the ladder's sizes mean p alone;
- *cells*: models with datasets whose gains are known, each with its domain: "ladder" cells, which the levels
  were fitted on, and "published" and "user" ones, which correct the forecast of what is akin to them.

The correction is a Gaussian process whose mean is the level (residual kriging; Rasmussen and Williams, 2006,
section 2.7): its covariance falls with the distance in log-odds of mean p and in log size, and with kinship.
What a fit misses on one dataset it hardly misses on another of the same mean p: on the ladder, residuals of
neighbours correlate where the skill is the same and hardly where it is not (`kinship`, measured by the fit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from advisor.advice.features import expit
from advisor.advice.forecast import (
    LARGEST,
    SAMPLED,
    Array,
    Forecast,
    Level,
    forecast_of,
    root,
)
from advisor.errors import InputError
from advisor.files import cells_in_lines, publish, read_json
from advisor.values import built, dataclass_of

Decoding = Literal["greedy", "sampled", "unknown"]
Domain = Literal["ladder", "published", "user"]

SCHEMA = 1
SHIPPED = Path(__file__).with_name("calibration.json")
LENGTH = 1.0
"""Distance over which cells inform each other: one unit of log-odds of mean p, or a decade of parameters."""
WITHIN = 0.3
"""Decades by which a model may be smaller or larger than the fitted ones and count as of their size."""
FAR = 3.0
"""Decades of parameters outside the ladder's at which a forecast has the whole published spread."""
UNSEEN = 5.0
"""Points that a measured gain is taken to be off beyond its own error: seeds that were not run."""


def decoding(temperature: float) -> Decoding:
    """Whether answers at a temperature count as sampled."""
    return "sampled" if temperature >= SAMPLED else "greedy"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A model and a dataset, and how answers are had."""

    features: Mapping[str, float]
    """As `features.features` gives them; of what was published its mean p or nothing."""
    parameters: int | float
    """Of the model."""
    decoding: Decoding
    """How answers are had."""
    kind: str = "base"
    """"base", "instruct" or "unknown"."""
    model: str = ""
    """Fingerprint, or the name that was published."""
    dataset: str = ""
    """Likewise."""

    @property
    def mean_p(self) -> float | None:
        """Of the targets."""
        return expit(self.features["mean_p"]) if "mean_p" in self.features else None

    @property
    def place(self) -> Array:
        """[2] log-odds of mean p, log10 of the size."""
        return np.array([self.features["mean_p"], math.log10(max(self.parameters, 1.0))])


@dataclass(frozen=True, kw_only=True)
class Cell(Pair):
    """A pair whose gains are known."""

    name: str
    """For people."""
    domain: Domain
    """Where it was measured."""
    gains: Mapping[str, float]
    """Label of the arm -> gain over NLL, points."""
    error: float
    """Standard error of a gain, points."""
    source: str = ""
    """Paper and table, or the study."""

    def __post_init__(self) -> None:
        """ValueError where a number is none of which a forecast can be made."""
        numbers = (*self.features.values(), *self.gains.values(), self.error)
        if not all(abs(number) <= LARGEST for number in numbers) or self.error < 0:
            raise ValueError(f"{self.name}: a number beyond {LARGEST:g}, or an error below 0")


@dataclass(frozen=True, kw_only=True)
class Kinship:
    """Correlation of what a level misses on two cells at one place."""

    dataset: float
    """Where they share the dataset (on the ladder: the skill)."""
    other: float
    """Where they do not."""

    def of(self, one: Pair, two: Pair) -> float:
        """1 for one and the same pair."""
        if one.dataset != two.dataset:
            return self.other
        return 1.0 if one.model == two.model else self.dataset


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The levels, the cells, and what is known of how far they carry."""

    records: str
    """SHA-256 of the records that the levels were fitted on."""
    sizes: tuple[float, float]
    """Parameters of the smallest and the largest fitted model."""
    spread: float
    """Standard deviation of the roots of published gains about the line on mean p, beyond its own."""
    kinship: Kinship
    """How much cells tell of each other."""
    order: Mapping[Decoding, Sequence[str]]
    """Leaning arms, the one with the largest mean gain where leaning won first."""
    levels: Mapping[Decoding, Sequence[Level]]
    """The richest first, mean p alone last."""
    cells: Sequence[Cell]
    """Of every domain."""

    def __post_init__(self) -> None:
        """ValueError where parts do not fit each other."""
        for how, levels in self.levels.items():
            if not levels or how not in self.order:
                raise ValueError(f"no levels, or no order of arms, where answers are {how}")
            arms = list(levels[0].lines)
            if not arms or any(list(level.lines) != arms for level in levels):
                raise ValueError(f"levels of different arms where answers are {how}")
            if not {"mean_p"}.issuperset(levels[-1].names):
                raise ValueError(f"the last level reads more than mean p where answers are {how}")
            if not set(arms).issuperset(self.order[how]):
                raise ValueError(f"order names arms that no level has where answers are {how}")
        if not {"greedy", "sampled"} <= self.levels.keys():
            raise ValueError("no levels for greedy answers, or none for sampled ones")
        if not 0 < self.sizes[0] <= self.sizes[1]:
            raise ValueError(f"sizes {self.sizes} are no two numbers of parameters")

    def forecast(self, pair: Pair) -> Forecast:
        """What to expect of a pair."""
        levels = self.levels[pair.decoding]
        near = self._correcting(pair)
        readable = [pair, *(cell for cell in near if cell.dataset == pair.dataset)]
        richest = levels if self.outside(pair) == 0 else levels[-1:]
        # What is akin is read as the pair is: a residual of one level corrects no other.
        level = next(one for one in richest if all(one.reads(p.features) for p in readable))
        mean, variance = level.expect(pair.features)
        scale = np.sqrt(variance + self._shift(pair))
        covariance = np.array(level.correlation) * np.outer(scale, scale)
        if near:
            mean, covariance = self.corrected(mean, scale, pair, near, (level, levels[-1]))
        return forecast_of(tuple(level.lines), mean, covariance, self.order[pair.decoding])

    def outside(self, pair: Pair) -> float:
        """Decades by which a model is smaller or larger than the fitted ones."""
        low, high = self.sizes
        size = max(pair.parameters, 1.0)
        return max(0.0, math.log10(low / size) - WITHIN, math.log10(size / high) - WITHIN)

    def nearest(self, pair: Pair, most: int = 3) -> list[Cell]:
        """The cells most like a pair: of its dataset, else by mean p and size; the nearest first."""

        def distance(cell: Cell) -> tuple[bool, float]:
            return cell.dataset != pair.dataset, float(np.linalg.norm(pair.place - cell.place))

        return sorted(self._located(pair), key=distance)[:most]

    def published(self, pair: Pair) -> list[Cell]:
        """Published comparisons of -p with NLL, on models of a pair's kind, decoded as it is or not said how.

        Those whose decoding was not published count for both.
        """
        return [
            cell
            for cell in self.cells
            if cell.domain == "published"
            and "neg_p" in cell.gains
            and cell.decoding in (pair.decoding, "unknown")
            and (cell.kind == "instruct") == (pair.kind == "instruct")
        ]

    def basis(self, pair: Pair) -> Domain:
        """Whose cells a pair is judged on: the user's of that dataset, or the fitted ones of its size."""
        for cell in self._correcting(pair):
            near = np.linalg.norm(pair.place - cell.place) <= LENGTH
            if cell.domain == "user" and cell.dataset == pair.dataset and near:
                return "user"
        return "published" if self.outside(pair) or pair.kind == "instruct" else "ladder"

    def _located(self, pair: Pair) -> list[Cell]:
        """The cells of a pair's decoding and kind that have a mean p and an arm that is forecast."""
        arms = self.levels[pair.decoding][-1].lines.keys()
        return [
            cell
            for cell in self.cells
            if cell.decoding == pair.decoding
            and (cell.kind == "instruct") == (pair.kind == "instruct")
            and "mean_p" in cell.features
            and cell.gains.keys() & arms
        ]

    def _correcting(self, pair: Pair) -> list[Cell]:
        """Those that were not fitted."""
        return [cell for cell in self._located(pair) if cell.domain != "ladder"]

    def _shift(self, pair: Pair) -> float:
        """Variance that a model outside the fitted sizes adds."""
        return (self.spread * min(1.0, self.outside(pair) / FAR)) ** 2

    def corrected(
        self, mean: Array, scale: Array, pair: Pair, near: Sequence[Cell], levels: Sequence[Level]
    ) -> tuple[Array, Array]:
        """What is expected of a pair after the measured gains of cells nearby: a Gaussian process.

        Args:
            mean: [arms] roots of the expected gains, without those cells.
            scale: [arms] standard deviations of them.
            pair: what is asked about.
            near: cells that were not fitted.
            levels: the fit that the pair is read with, and the plainest, which reads every cell.

        Returns:
            [arms] means and [arms, arms] covariance.
        """
        arms, correlation = tuple(levels[0].lines), np.array(levels[0].correlation)
        seen = [(cell, arms.index(arm)) for cell in near for arm in cell.gains if arm in arms]
        cells, which = [cell for cell, _ in seen], [i for _, i in seen]
        said = [
            next(one for one in levels if one.reads(c.features)).expect(c.features) for c in cells
        ]
        expected = np.array([m[i] for (m, _), i in zip(said, which, strict=True)])
        variance = np.array([v[i] for (_, v), i in zip(said, which, strict=True)])
        spread = np.sqrt(variance + [self._shift(cell) for cell in cells])
        gains = np.array([cell.gains[arms[i]] for cell, i in seen])
        among = correlation[np.ix_(which, which)] * np.outer(spread, spread)
        among = among * self._kernel(cells, cells) + _error(cells, gains)
        to = correlation[:, which] * np.outer(scale, spread) * self._kernel([pair], cells)
        weight = np.linalg.solve(among, to.T).T
        own = correlation * np.outer(scale, scale)
        return mean + weight @ (root(gains) - expected), own - weight @ to.T

    def _kernel(self, a: Sequence[Pair], b: Sequence[Pair]) -> Array:
        """[a, b] correlation of what a level misses."""
        squared = np.array([[np.sum((one.place - two.place) ** 2) for two in b] for one in a])
        kin = np.array([[self.kinship.of(one, two) for two in b] for one in a])
        return np.asarray(kin * np.exp(-squared / (2 * LENGTH**2)))


def _error(cells: Sequence[Cell], gains: Array) -> Array:
    """[gains, gains] covariance of the roots of measured gains; those of a cell share NLL's runs."""
    error = np.hypot([cell.error for cell in cells], UNSEEN)
    error = error / (2 * np.sqrt(np.maximum(np.abs(gains), error)))
    same = np.array([[one is two for two in cells] for one in cells])
    return np.asarray(np.outer(error, error) * np.where(same, 0.5, 0.0) + np.diag(0.5 * error**2))


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration, a line a cell.

    Raises:
        InputError: the file cannot be written.
    """
    content = cells_in_lines(_rounded({"schema": SCHEMA, **asdict(calibration)}))
    publish(path, content, subject=f"--output_path {path}", remedy="give another path")


def _rounded(value: Any) -> Any:
    """Numbers to six significant digits, so that a refit on another machine writes the same file."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


CALIBRATION = dataclass_of(Calibration)


@cache
def shipped() -> Calibration:
    """The calibration that comes with the package."""
    return read(SHIPPED)


def read(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        InputError: the file is not one.
    """
    try:
        found = read_json(path)
        if found.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        return built(CALIBRATION, found, "calibration")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a calibration ({error}): write one with `advisor calibrate`"
        ) from error
