"""The fit: from the statistics of a model and its data to each arm's gain over NLL, with its uncertainty.

One Bayesian ridge regression an arm (scikit-learn's) of the signed square root of the gain, on the few
features that serve best on skills that were not fitted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import BayesianRidge

from advisor.advice.calibration import Kinship
from advisor.advice.features import CONFOUNDED, PRIOR
from advisor.advice.forecast import NLL, Level, Line, root

Array = NDArray[np.float64]
FORWARD = tuple(name for name in PRIOR if name not in CONFOUNDED)
"""Features of forward passes that a fit may choose from."""
PILOT = ("accuracy", "recovery")
"""Features of the deep probe that did best on 64 cells of an earlier study (see `advisor.prior.deep`)."""
NEIGHBOURS = 0.5
"""Log-odds of mean p within which cells count as at one place."""
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
    text: str
    """Of pretraining: what models of one seed have read, whatever their size."""
    features: Mapping[str, float]
    """As `advisor.advice.features.features` gives them."""
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


def levels_of(samples: Sequence[Sample]) -> list[Level]:
    """The fits of a calibration from the richest features to mean p alone, each set of features once."""
    sets = dict.fromkeys([PILOT, select(samples, FORWARD, begin=("mean_p",)), ("mean_p",)])
    return [fit(samples, names) for names in sets]


def order_of(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The arms by their mean gain on the cells where one of them beat NLL, the largest first."""
    won = [sample.gains for sample in samples if max(sample.gains.values()) > 0]
    means = {arm: np.mean([gains.get(arm, 0.0) for gains in won]) for arm in won[0]} if won else {}
    return tuple(sorted(means, key=lambda arm: (-means[arm], arm)))


def kinship_of(samples: Sequence[Sample], level: Level) -> Kinship:
    """How what a level misses correlates between cells of different models at nearly one mean p."""
    used = [sample for sample in samples if level.reads(sample.features)]
    gains = root(np.array([[sample.gains[arm] for arm in level.lines] for sample in used]))
    missed = gains - np.array([level.expect(sample.features)[0] for sample in used])
    missed = missed / np.sqrt((missed**2).mean(axis=0))
    products: dict[bool, list[float]] = {True: [], False: []}
    for (i, one), (j, two) in itertools.combinations(enumerate(used), 2):
        if (
            one.family != two.family
            and abs(one.features["mean_p"] - two.features["mean_p"]) <= NEIGHBOURS
        ):
            products[one.skill == two.skill].append(float((missed[i] * missed[j]).mean()))
    same, other = (float(np.mean(products[k])) if products[k] else 0.0 for k in (True, False))
    other = min(max(other, 0.0), 1.0)
    return Kinship(dataset=min(max(same, other), 1.0), other=other)


def select(
    samples: Sequence[Sample], names: Sequence[str], *, begin: tuple[str, ...] = (), most: int = 3
) -> tuple[str, ...]:
    """Features by forward selection, each step judged on skills that were left out.

    They are added to those to begin with, one at a time while the squared error falls by 2 % or more: the
    fewest that do.
    """
    taken = begin
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
