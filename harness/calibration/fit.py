"""The fit: from the statistics of a model and its data to each arm's gain over NLL, with its uncertainty.

One Bayesian ridge regression an arm (scikit-learn's) of the signed square root of the gain, on the few
features that serve best on skills that were not fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import BayesianRidge

from advisor.forecast import NLL, Level, Line, root

Array = NDArray[np.float64]
PENALTY = 1.0
"""Of the ridge regression that features are chosen by, in cells."""


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
    """As `advisor.features.features` gives them."""
    gains: Mapping[str, float]
    """Arm -> gain over NLL, points."""
    errors: Mapping[str, float]
    """Arm -> its standard error."""
    race: Mapping[str, float] = field(default_factory=dict)
    """Arm -> development accuracy after an eighth of the steps; empty where there was no race."""


@dataclass(frozen=True)
class Table:
    """Samples as arrays."""

    x: Array
    """[samples, features]"""
    y: Array
    """[samples, arms] signed roots of the gains."""
    arms: tuple[str, ...]
    """Names of the columns."""
    skills: NDArray[np.str_]
    """[samples]"""


def tabulate(samples: Sequence[Sample], names: Sequence[str]) -> Table:
    """The samples that have all the features; those that lack one, or an arm, are left out."""
    arms = sorted({arm for sample in samples for arm in sample.gains} - {NLL})
    used = [
        sample
        for sample in samples
        if all(name in sample.features for name in names) and sample.gains.keys() >= set(arms)
    ]
    x = np.array([[sample.features[name] for name in names] for sample in used])
    y = root(np.array([[sample.gains[arm] for arm in arms] for sample in used]))
    skills = np.array([sample.skill for sample in used])
    return Table(x.reshape(len(used), len(names)), y, tuple(arms), skills)


def fit(samples: Sequence[Sample], names: Sequence[str]) -> Level:
    """Fit every arm.

    Args:
        samples: cells at one temperature; one that lacks a feature or an arm is left out.
        names: features to read; none gives every arm its mean gain.

    Raises:
        ValueError: fewer than three samples have the features.
    """
    table = tabulate(samples, names)
    if len(table.x) < 3:
        raise ValueError(f"{len(table.x)} samples have {', '.join(names)}: a fit needs three")
    mean, scale = _standard(table.x)
    z = (table.x - mean) / scale
    lines = {arm: _line(z, table.y[:, i]) for i, arm in enumerate(table.arms)}
    predicted = np.column_stack(
        [line.intercept + z @ np.array(line.coefficients) for line in lines.values()]
    )
    return Level(
        names=tuple(names),
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        lines=lines,
        correlation=_rows(_correlation((table.y - predicted).T)),
    )


def left_out_error(samples: Sequence[Sample], names: Sequence[str]) -> float:
    """Mean squared error of the roots of gains on skills left out, by plain ridge regression."""
    table = tabulate(samples, names)
    errors = []
    for skill in np.unique(table.skills):
        out = table.skills == skill
        mean, scale = _standard(table.x[~out])
        inside, outside = ((table.x[rows] - mean) / scale for rows in (~out, out))
        errors.append((_ridge(inside, table.y[~out], outside) - table.y[out]) ** 2)
    return float(np.mean(np.concatenate(errors)))


def select(samples: Sequence[Sample], names: Sequence[str], *, most: int = 3) -> tuple[str, ...]:
    """Features by forward selection, each step judged on skills that were left out.

    They are added one at a time while the squared error falls by 2 % or more: the fewest that do.
    """
    taken: tuple[str, ...] = ()
    error = left_out_error(samples, taken)
    while len(taken) < most:
        errors = {n: left_out_error(samples, (*taken, n)) for n in names if n not in taken}
        best = min(errors, key=lambda name: errors[name], default=None)
        if best is None or errors[best] > 0.98 * error:
            break
        taken, error = (*taken, best), errors[best]
    return taken


def _standard(x: Array) -> tuple[Array, Array]:
    """[features] means and standard deviations, 1 where a feature never varies."""
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 0, scale, 1.0)


def _line(z: Array, y: Array) -> Line:
    if z.shape[1] == 0:
        return Line(intercept=float(y.mean()), coefficients=(), covariance=(), noise=float(y.var()))
    model = BayesianRidge().fit(z, y)
    return Line(
        intercept=float(model.intercept_),
        coefficients=tuple(model.coef_.tolist()),
        covariance=_rows(model.sigma_),
        noise=1 / float(model.alpha_),
    )


def _ridge(z: Array, y: Array, at: Array) -> Array:
    """[at, arms] what a ridge regression of [samples, arms] on [samples, features] says at other features."""
    penalty = PENALTY * np.eye(z.shape[1])
    centre = y.mean(axis=0)
    return np.asarray(centre + at @ np.linalg.solve(z.T @ z + penalty, z.T @ (y - centre)))


def _correlation(residuals: Array) -> Array:
    """[arms, arms] from [arms, samples], drawn a little to none, so that few samples give no certainty."""
    spread = residuals.std(axis=1)
    safe = np.where(spread > 0, spread, 1.0)
    centred = (residuals - residuals.mean(axis=1, keepdims=True)) / safe[:, None]
    found = centred @ centred.T / residuals.shape[1]
    return np.asarray(0.9 * found + np.eye(len(found)) * (1 - 0.9 * np.diag(found)))


def _rows(matrix: Array) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
