"""The fit: from the statistics of a model and its data to each arm's gain over NLL, with its uncertainty.

One Bayesian ridge regression an arm and a temperature (scikit-learn's), on the few features that serve best
on skills and checkpoints that were not fitted. The arm of least expected regret is recommended; it is
decided where that regret is small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import BayesianRidge

from harness.study import NLL

Array = NDArray[np.float64]
NOISE = 5.0
"""Points that a measured gain is taken to be off beyond its own error: seeds that were not run."""
BOUND = 2.0
"""Expected regret, points, up to which a recommendation is decided."""
DRAWS = 2000
"""Of the predictive distribution, for probabilities and regrets."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One cell at one temperature."""

    cell: str
    """Its name."""
    family: str
    """Checkpoints that share a pretraining run."""
    skill: str
    """What the demonstrations show."""
    features: Mapping[str, float]
    """As `features.features` gives them."""
    gains: Mapping[str, float]
    """Arm -> gain over NLL, points."""
    errors: Mapping[str, float]
    """Arm -> its standard error."""
    race: Mapping[str, float] = field(default_factory=dict)
    """Arm -> development accuracy after an eighth of the steps; empty where there was no race."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One arm's regression on standardised features."""

    mean: Array
    """[features] of the samples."""
    scale: Array
    """[features] standard deviations, 1 where a feature never varies."""
    intercept: float
    """Points."""
    coefficients: Array
    """[features] points a standard deviation."""
    covariance: Array
    """[features, features] of the coefficients."""
    noise: float
    """Variance of a gain about the line, points squared."""

    def predict(self, x: Array) -> tuple[float, float]:
        """Mean and standard deviation of the gain at [features]."""
        z = (x - self.mean) / self.scale
        variance = float(z @ self.covariance @ z) + self.noise
        return self.intercept + float(z @ self.coefficients), variance**0.5


@dataclass(frozen=True, kw_only=True)
class Fit:
    """All arms at one temperature."""

    names: tuple[str, ...]
    """Features, in order."""
    lines: Mapping[str, Line]
    """Arm -> its regression."""
    correlation: Array
    """[arms, arms] of the residuals: arms that lean on the prior win and lose together."""

    def predict(self, features: Mapping[str, float], *, seed: int = 0) -> Prediction:
        """What to expect of a case that has all the features."""
        x = np.array([features[name] for name in self.names])
        found = [line.predict(x) for line in self.lines.values()]
        mean, deviation = (np.array(column) for column in zip(*found, strict=True))
        covariance = self.correlation * np.outer(deviation, deviation)
        rng = np.random.default_rng(seed)
        drawn = rng.multivariate_normal(mean, covariance, size=DRAWS, method="eigh")
        drawn = np.column_stack([np.zeros(DRAWS), drawn])  # NLL gains nothing over itself
        best = drawn.max(axis=1, keepdims=True)
        arms = (NLL, *self.lines)
        return Prediction(
            gains=dict(zip(arms, np.concatenate([[0.0], mean]), strict=True)),
            deviations=dict(zip(arms, np.concatenate([[0.0], deviation]), strict=True)),
            p_best=dict(zip(arms, (drawn == best).mean(axis=0), strict=True)),
            regrets=dict(zip(arms, (best - drawn).mean(axis=0), strict=True)),
        )


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is expected of every arm on a case, points."""

    gains: Mapping[str, float]
    """Over NLL."""
    deviations: Mapping[str, float]
    """Standard deviations of the gains."""
    p_best: Mapping[str, float]
    """Probability of being the best arm."""
    regrets: Mapping[str, float]
    """Expected loss against the best arm."""

    @property
    def recommended(self) -> str:
        """The arm of least expected regret."""
        return min(self.regrets, key=lambda arm: self.regrets[arm])

    def decided(self, bound: float = BOUND) -> bool:
        """Whether the recommendation may be followed without a confirmation."""
        return self.regrets[self.recommended] <= bound


def fit(samples: Sequence[Sample], names: Sequence[str]) -> Fit:
    """Fit every arm on samples that have all the features.

    Args:
        samples: cells at one temperature; one that lacks a feature is left out.
        names: features to read; none gives every arm its mean gain.

    Raises:
        ValueError: fewer than three samples have the features.
    """
    used = [sample for sample in samples if all(name in sample.features for name in names)]
    if len(used) < 3:
        raise ValueError(f"{len(used)} samples have {', '.join(names)}: a fit needs three")
    x = np.array([[sample.features[name] for name in names] for sample in used])
    x = x.reshape(len(used), len(names))
    arms = sorted({arm for sample in used for arm in sample.gains} - {NLL})
    lines, residuals = {}, []
    for arm in arms:
        has = np.array([arm in sample.gains for sample in used])
        y = np.array([sample.gains.get(arm, np.nan) for sample in used])
        errors = np.array([sample.errors.get(arm, np.nan) for sample in used])
        lines[arm] = _line(x[has], y[has], 1 / (errors[has] ** 2 + NOISE**2))
        predicted = np.array([lines[arm].predict(row)[0] for row in x])
        residuals.append(np.where(has, y - predicted, 0.0))
    return Fit(names=tuple(names), lines=lines, correlation=_correlation(np.array(residuals)))


def _line(x: Array, y: Array, weights: Array) -> Line:
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    weights = weights / weights.mean()
    if x.shape[1] == 0:
        centre = float(np.average(y, weights=weights))
        noise = float(np.average((y - centre) ** 2, weights=weights))
        empty = np.zeros(0)
        return Line(
            mean=empty, scale=empty, intercept=centre, coefficients=empty,
            covariance=np.zeros((0, 0)), noise=max(noise, NOISE**2),
        )  # fmt: skip
    model = BayesianRidge().fit((x - mean) / scale, y, sample_weight=weights)
    return Line(
        mean=mean,
        scale=scale,
        intercept=float(model.intercept_),
        coefficients=np.asarray(model.coef_),
        covariance=np.asarray(model.sigma_),
        noise=max(1 / float(model.alpha_), NOISE**2),
    )


def _correlation(residuals: Array) -> Array:
    """[arms, arms] from [arms, samples], drawn a little to none, so that few samples give no certainty."""
    spread = residuals.std(axis=1)
    safe = np.where(spread > 0, spread, 1.0)
    centred = (residuals - residuals.mean(axis=1, keepdims=True)) / safe[:, None]
    found = centred @ centred.T / residuals.shape[1]
    return np.asarray(0.9 * found + np.eye(len(found)) * (1 - 0.9 * np.diag(found)))
