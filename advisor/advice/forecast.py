"""From features of a pair to the gain of every objective over NLL, with its uncertainty.

Pure, and free of torch and scikit-learn. What is fitted is the signed square root of a gain in points: gains
are small or huge, and what a fit misses grows with them; about their roots it is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NLL = "nll"
SAMPLED = 0.5
"""Temperature from which answers count as sampled."""
BOUND = 5.0
"""Expected regret of the side taken, NLL or leaning on the prior, up to which it is decided, points.

A race at an eighth of the cost, which could settle the rest, loses about as much itself on the ladder.
"""
LARGEST = 1e6
"""What a number of a fit may be at most."""
DRAWS = 2000
"""Of the joint distribution of gains, for probabilities and regrets."""
ALIKE = 5.0
"""Points within which leaning arms count as equally good, so that the one with the best record is taken."""


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

    def __post_init__(self) -> None:
        """ValueError where sizes differ, or numbers are none of which a forecast can be made."""
        size, arms = len(self.names), len(self.lines)
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "mean": (self.mean, (size,)),
            "scale": (self.scale, (size,)),
            "correlation": (self.correlation, (arms, arms)),
        }
        for arm, line in self.lines.items():
            shapes[f"coefficients of {arm}"] = (line.coefficients, (size,))
            shapes[f"covariance of {arm}"] = (line.covariance, (size, size) if size else (0,))
            shapes[f"line of {arm}"] = ((line.intercept, line.noise), (2,))
        for name, (numbers, shape) in shapes.items():
            if np.shape(numbers) != shape or not np.all(np.abs(numbers) <= LARGEST):
                raise ValueError(f"{name} is not of shape {shape}, or beyond {LARGEST:g}")
        if min((*self.scale, 1.0)) <= 0 or any(line.noise < 0 for line in self.lines.values()):
            raise ValueError("a scale is not above 0, or a noise below it")

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
        return np.array(mean), np.maximum(variance, 0.0)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is expected of every arm on a pair, points."""

    gains: Mapping[str, float]
    """Label of the arm -> expected gain over NLL."""
    intervals: Mapping[str, tuple[float, float]]
    """Label of the arm -> 95 % interval of its gain."""
    p_best: Mapping[str, float]
    """Label of the arm -> probability of being the best."""
    regrets: Mapping[str, float]
    """Label of the arm -> expected loss of its side, NLL or leaning, where the other would be better.

    Which of the leaning arms is best matters less, and is not what a decision is about.
    """
    ranking: tuple[str, ...]
    """Labels of the arms, the one of least expected regret first."""

    @property
    def recommended(self) -> str:
        """The arm of least expected regret."""
        return self.ranking[0]

    @property
    def regret(self) -> float:
        """Of the recommended side."""
        return self.regrets[self.recommended]

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


def forecast_of(
    arms: Sequence[str], mean: Array, covariance: Array, order: Sequence[str] = ()
) -> Forecast:
    """The forecast from the [arms] means and [arms, arms] covariance of the roots of the gains.

    `order` has the leaning arms with the best record first; it decides between those that are alike.
    """
    values, vectors = np.linalg.eigh(covariance)
    factor = vectors * np.sqrt(np.maximum(values, 0.0))
    roots = np.column_stack([np.zeros(DRAWS), mean + _normals(len(arms)) @ factor.T])
    drawn = square(roots)  # NLL, the first, gains nothing over itself
    gains = drawn.mean(axis=0)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    best = np.bincount(roots.argmax(axis=1), minlength=len(arms) + 1) / DRAWS
    regrets = np.maximum(0.0, -drawn).mean(axis=0)
    regrets[0] = np.maximum(0.0, drawn[:, 1 + int(gains[1:].argmax())]).mean()
    names = (NLL, *arms)
    table = dict(zip(names, gains.tolist(), strict=True))
    return Forecast(
        gains=table,
        intervals=dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
        p_best=dict(zip(names, best.tolist(), strict=True)),
        regrets=dict(zip(names, regrets.tolist(), strict=True)),
        ranking=_ranking(table, order),
    )


def _ranking(gains: Mapping[str, float], order: Sequence[str]) -> tuple[str, ...]:
    """By expected gain; of the arms about as good as the first, the one with the best record leads."""
    ranking = sorted(gains, key=lambda arm: -gains[arm])
    alike = [arm for arm in order if gains[ranking[0]] - gains.get(arm, -np.inf) <= ALIKE]
    if ranking[0] != NLL and alike and gains[alike[0]] > 0:
        ranking.remove(alike[0])
        ranking.insert(0, alike[0])
    return tuple(ranking)


def expect(level: Level, found: Mapping[str, float], order: Sequence[str] = ()) -> Forecast:
    """The forecast of a level alone, as for the cells it was fitted on."""
    mean, variance = level.expect(found)
    scale = np.sqrt(variance)
    covariance = np.array(level.correlation) * np.outer(scale, scale)
    return forecast_of(tuple(level.lines), mean, covariance, order)
