"""What to expect of every objective on a pair: gains over NLL with their uncertainty, from calibrated cells.

Pure, and free of torch and scikit-learn. `calibration.json`, which `harness.calibration` writes, holds for
greedy and for sampled answers

- *levels*: linear fits of the signed square root of each arm's gain over NLL on features of the prior, from
  the richest to mean p alone; a forecast uses the richest whose features are all there. Gains are small or
  huge, and what the fit misses grows with them; about their roots it is the same everywhere;
- *cells*: what was measured or published, each with its domain: "ladder" cells, which the levels were fitted
  on, and "published" and "user" ones, which correct the forecast near them.

The correction is a Gaussian process over log-odds of mean p and log size whose mean is the level (residual
kriging; Rasmussen and Williams, 2006, section 2.7), its arms correlated as the residuals of the fit are.
Away from the ladder's sizes the forecast rests on mean p alone and its variance grows by that of published
gains about the ladder's line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError
from advisor.features import expit, features
from advisor.publish import publish

Array = NDArray[np.float64]
Decoding = Literal["greedy", "sampled", "unknown"]
Domain = Literal["ladder", "published", "user"]

SCHEMA = 1
SHIPPED = Path(__file__).with_name("calibration.json")
NLL = "nll"
SAMPLED = 0.5
"""Temperature from which answers count as sampled."""
BOUND = 5.0
"""Expected regret of the side taken, NLL or leaning on the prior, up to which it is decided, points.

A race at an eighth of the cost, which could settle the rest, loses about as much itself on the ladder.
"""
DRAWS = 2000
"""Of the joint distribution of gains, for probabilities and regrets."""
LENGTH = 1.0
"""Distance over which cells inform each other: one unit of log-odds of mean p, or a decade of parameters."""
FAR = 3.0
"""Decades of parameters outside the ladder's at which a forecast has the whole published spread."""
UNSEEN = 5.0
"""Points that a measured gain is taken to be off beyond its own error: seeds that were not run."""


def decoding(temperature: float) -> Decoding:
    """Whether answers at a temperature count as sampled."""
    return "sampled" if temperature >= SAMPLED else "greedy"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A model and a dataset whose gains are known."""

    name: str
    """Of the pair."""
    domain: Domain
    """Where it was measured."""
    decoding: Decoding
    """How the answers were had."""
    parameters: float
    """Of the model."""
    features: Mapping[str, float]
    """As `features.features` gives them; a published cell has its mean p or nothing."""
    gains: Mapping[str, float]
    """Label of the arm -> gain over NLL, points."""
    error: float
    """Standard error of a gain, points."""
    kind: str = "base"
    """"base", "instruct" or "unknown"."""
    source: str = ""
    """Paper and table, or folder of records."""

    @property
    def mean_p(self) -> float | None:
        """Of the targets."""
        return expit(self.features["mean_p"]) if "mean_p" in self.features else None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One arm's gain as a linear function of standardised features."""

    intercept: float
    """Roots of points, as are all of these."""
    coefficients: tuple[float, ...]
    """[features] a standard deviation of the feature."""
    covariance: tuple[tuple[float, ...], ...]
    """[features, features] of the coefficients."""
    noise: float
    """Variance about the line."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """All arms on one set of features."""

    names: tuple[str, ...]
    """Features, in order."""
    mean: tuple[float, ...]
    """[features] of the fitted cells."""
    scale: tuple[float, ...]
    """[features] standard deviations, 1 where a feature never varies."""
    lines: Mapping[str, Line]
    """Label of the arm -> its line."""
    correlation: tuple[tuple[float, ...], ...]
    """[arms, arms] of the residuals: arms that lean on the prior win and lose together."""

    def reads(self, found: Mapping[str, float]) -> bool:
        """Whether all its features are there."""
        return all(name in found for name in self.names)

    def expect(self, found: Mapping[str, float]) -> tuple[Array, Array]:
        """[arms] means and [arms] variances of the roots of the gains at some features."""
        x = np.array([found[name] for name in self.names])
        z = (x - np.array(self.mean)) / np.array(self.scale)
        lines = self.lines.values()
        mean = [line.intercept + float(z @ np.array(line.coefficients)) for line in lines]
        size = len(self.names)
        spread = [np.array(line.covariance).reshape(size, size) for line in lines]
        variance = [line.noise + float(z @ s @ z) for line, s in zip(lines, spread, strict=True)]
        return np.array(mean), np.array(variance)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is expected of every arm on a pair, points."""

    gains: Mapping[str, float]
    """Label of the arm -> expected gain over NLL; the largest has the least expected regret."""
    intervals: Mapping[str, tuple[float, float]]
    """Label of the arm -> 95 % interval of its gain."""
    p_best: Mapping[str, float]
    """Label of the arm -> probability of being the best."""
    regret: float
    """Expected loss of the recommended side, NLL or leaning on the prior, where the other would be better.

    Which of the leaning arms is best matters less, and is not what a decision is about.
    """

    @property
    def ranking(self) -> list[str]:
        """Labels of the arms, the largest expected gain first."""
        return sorted(self.gains, key=lambda arm: -self.gains[arm])

    @property
    def recommended(self) -> str:
        """The arm of least expected regret."""
        return self.ranking[0]

    @property
    def decided(self) -> bool:
        """Whether the recommendation may be followed without a confirmation."""
        return self.regret <= BOUND


def root(gain: Any) -> Any:
    """Signed square root of gains, points."""
    return np.sign(gain) * np.sqrt(np.abs(gain))


def square(value: Any) -> Any:
    """The inverse of `root`; no gain exceeds 100 points."""
    return np.clip(np.sign(value) * np.square(value), -100.0, 100.0)


@cache
def _normals(arms: int) -> Array:
    """[DRAWS, arms], the same for every forecast, so that neighbouring ones differ by their cause alone."""
    return np.random.default_rng(0).standard_normal((DRAWS, arms))


def forecast_of(arms: Sequence[str], mean: Array, covariance: Array) -> Forecast:
    """The forecast from the [arms] means and [arms, arms] covariance of the roots of the gains."""
    values, vectors = np.linalg.eigh(covariance)
    factor = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = square(mean + _normals(len(arms)) @ factor.T)
    drawn = np.column_stack([np.zeros(DRAWS), drawn])  # NLL gains nothing over itself
    gains = drawn.mean(axis=0)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    leaning = drawn[:, 1 + int(gains[1:].argmax())]
    side = -1.0 if leaning.mean() > 0 else 1.0
    best = (drawn == drawn.max(axis=1, keepdims=True)).mean(axis=0)
    names = (NLL, *arms)
    return Forecast(
        gains=dict(zip(names, gains.tolist(), strict=True)),
        intervals=dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
        p_best=dict(zip(names, best.tolist(), strict=True)),
        regret=float(np.maximum(0.0, side * leaning).mean()),
    )


def expect(level: Level, found: Mapping[str, float]) -> Forecast:
    """The forecast of a level alone, as for the cells it was fitted on."""
    mean, variance = level.expect(found)
    scale = np.sqrt(variance)
    covariance = np.array(level.correlation) * np.outer(scale, scale)
    return forecast_of(tuple(level.lines), mean, covariance)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The levels, the cells, and what is known of how far they carry."""

    records: str
    """SHA-256 of the records that the levels were fitted on."""
    sizes: tuple[float, float]
    """Parameters of the smallest and the largest fitted model."""
    spread: float
    """Standard deviation of the roots of published gains about the line on mean p, beyond its own."""
    levels: Mapping[Decoding, Sequence[Level]]
    """The richest first, mean p alone last."""
    cells: Sequence[Cell]
    """Of every domain."""

    def forecast(
        self, prior: Mapping[str, Any], deep: Mapping[str, Any] | None, *, temperature: float,
        parameters: float,
    ) -> Forecast:  # fmt: skip
        """What to expect of a pair.

        Args:
            prior: `Prior.to_dict()`; mean_p alone will do.
            deep: `Deep.to_dict()`, where the deep probe was run.
            temperature: of decoding.
            parameters: of the model.
        """
        how, found = decoding(temperature), features(prior, deep)
        levels = self.levels[how]
        inside = self.outside(parameters) == 0
        level = next(one for one in levels if one.reads(found)) if inside else levels[-1]
        mean, variance = level.expect(found)
        scale = np.sqrt(variance + self._shift(parameters))
        place, near = _place(found, parameters), self.correcting(how)
        covariance = np.array(level.correlation) * np.outer(scale, scale)
        if near:
            mean, covariance = self._corrected(mean, scale, place, near, (level, levels[-1]))
        return forecast_of(tuple(level.lines), mean, covariance)

    def outside(self, parameters: float) -> float:
        """Decades by which a model is smaller or larger than the fitted ones."""
        low, high = self.sizes
        return max(0.0, math.log10(low / parameters), math.log10(parameters / high))

    def correcting(self, how: Decoding) -> list[Cell]:
        """The cells that correct the levels: they have a mean p and were not fitted."""
        return [cell for cell in self._located(how) if cell.domain != "ladder"]

    def nearest(
        self, mean_p: float, *, temperature: float, parameters: float, most: int = 3
    ) -> list[Cell]:
        """The cells most like a pair by mean p and size, the nearest first."""
        place = _place(features({"mean_p": mean_p}), parameters)

        def distance(cell: Cell) -> float:
            return float(np.linalg.norm(place - _place(cell.features, cell.parameters)))

        return sorted(self._located(decoding(temperature)), key=distance)[:most]

    def basis(self, mean_p: float, *, temperature: float, parameters: float) -> Domain:
        """What a pair is judged on: the user's cells where one is near, the fitted ones among their sizes."""
        place = _place(features({"mean_p": mean_p}), parameters)
        own = [cell for cell in self._located(decoding(temperature)) if cell.domain == "user"]
        if any(np.linalg.norm(place - _place(c.features, c.parameters)) <= LENGTH for c in own):
            return "user"
        return "published" if self.outside(parameters) else "ladder"

    def _located(self, how: Decoding) -> list[Cell]:
        return [cell for cell in self.cells if cell.decoding == how and "mean_p" in cell.features]

    def _shift(self, parameters: float) -> float:
        """Variance that a model outside the fitted sizes adds."""
        return (self.spread * min(1.0, self.outside(parameters) / FAR)) ** 2

    def _corrected(
        self, mean: Array, scale: Array, place: Array, near: Sequence[Cell], levels: Sequence[Level]
    ) -> tuple[Array, Array]:
        """[arms] means and [arms, arms] covariance after the cells nearby, each read at its own level."""
        arms, correlation = tuple(levels[0].lines), np.array(levels[0].correlation)
        seen = [(cell, arms.index(arm)) for cell in near for arm in cell.gains if arm in arms]
        cells, which = [cell for cell, _ in seen], [i for _, i in seen]
        said = [
            next(one for one in levels if one.reads(c.features)).expect(c.features) for c in cells
        ]
        expected = np.array([m[i] for (m, _), i in zip(said, which, strict=True)])
        variance = np.array([v[i] for (_, v), i in zip(said, which, strict=True)])
        spread = np.sqrt(variance + [self._shift(cell.parameters) for cell in cells])
        gains = np.array([cell.gains[arms[i]] for cell, i in seen])
        places = np.array([_place(cell.features, cell.parameters) for cell in cells])
        among = correlation[np.ix_(which, which)] * np.outer(spread, spread)
        among = among * _kernel(places, places) + np.diag(_error(cells, gains))
        to = correlation[:, which] * np.outer(scale, spread) * _kernel(place[None], places)
        weight = np.linalg.solve(among, to.T).T
        own = correlation * np.outer(scale, scale)
        return mean + weight @ (root(gains) - expected), own - weight @ to.T


def _error(cells: Sequence[Cell], gains: Array) -> Array:
    """[gains] variance of the root of each measured gain."""
    error = np.hypot([cell.error for cell in cells], UNSEEN)
    return np.asarray((error / (2 * np.sqrt(np.maximum(np.abs(gains), error)))) ** 2)


def _place(found: Mapping[str, float], parameters: float) -> Array:
    """[2] where a pair lies among the cells."""
    return np.array([found["mean_p"], math.log10(parameters)])


def _kernel(a: Array, b: Array) -> Array:
    """[a, b] squared-exponential correlation of places."""
    squared = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-squared / (2 * LENGTH**2)))


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration, a line a cell.

    Raises:
        InputError: the file cannot be written.
    """
    whole = {"schema": SCHEMA, **asdict(calibration)}
    cells = ",\n  ".join(json.dumps(cell) for cell in _rounded(whole.pop("cells")))
    head = json.dumps(_rounded(whole), indent=1)
    text = head.removesuffix("\n}") + ',\n "cells": [\n  ' + cells + "\n ]\n}\n"
    publish(path, text.encode(), subject=f"--output_path {path}", remedy="give another path")


def _rounded(value: Any) -> Any:
    """Numbers to six significant digits, so that a refit on another machine writes the same file."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


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
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        levels = {how: [_level(one) for one in some] for how, some in found.pop("levels").items()}
        cells = [Cell(**cell) for cell in found.pop("cells")]
        sizes = tuple(found.pop("sizes"))
        return Calibration(levels=levels, cells=cells, sizes=sizes, **found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not a calibration ({error}): write one with `advisor calibrate`"
        ) from error


def _level(found: dict[str, Any]) -> Level:
    lines = {
        arm: Line(
            **{
                **line,
                "coefficients": tuple(line["coefficients"]),
                "covariance": tuple(map(tuple, line["covariance"])),
            }
        )
        for arm, line in found.pop("lines").items()
    }
    correlation = tuple(map(tuple, found.pop("correlation")))
    return Level(lines=lines, correlation=correlation, **{k: tuple(v) for k, v in found.items()})
