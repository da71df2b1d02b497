"""Statistics of a comparison: paired differences, verdicts, racing; arrays in, dataclasses out.

Two arms are compared on the same documents with [seeds, documents] arrays of scores; everything keeps
the unit of the scores. The difference of one document under one seed is
d[s,i] = a[s,i] - b[s,i] = mean + document_i + seed_s + residual_si.
A mean over tasks is that of scores times `task_weights`; its error is of documents within their tasks.
Planning is in `harness.statistics.power`, ranks over tasks in `harness.statistics.across_tasks`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import stdtr, stdtridf, stdtrit

from advisor.errors import InputError

Array = NDArray[np.float64]
Interval = tuple[float, float]
Verdict = Literal["better", "worse", "equivalent", "not resolved", "ahead", "behind"]
Name = TypeVar("Name")
RACE_ALPHA = 0.05
"""Probability with which a race ever drops the best arm, at most."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean paired difference of two arms, in the unit of the scores."""

    estimate: float
    """Mean over seeds and documents of a - b."""
    interval: Interval
    """95 % confidence interval."""
    interval_90: Interval
    """90 % confidence interval, the one that two one-sided tests at 5 % read; of m comparisons that share
    the 5 % `contrasts` puts the one of 1 - 0.1 / m here."""
    standard_error: float
    """Of the estimate, from documents and seeds (from documents alone with one seed)."""
    document_error: float
    """The documents' part of it: what more seeds would leave."""
    p_value: float
    """Two-sided, of no difference."""
    degrees_of_freedom: float
    """Of the t distribution with the same 95 % interval."""
    seeds: int
    documents: int
    squares: MeanSquares
    """What the interval and the p value are made of, in the unit of the scores."""

    def interval_at(self, alpha: float) -> Interval:
        """The confidence interval that leaves out a true value with probability alpha."""
        half = self.squares.critical(alpha) * self.standard_error
        return self.estimate - half, self.estimate + half


@dataclass(frozen=True, kw_only=True)
class MeanSquares:
    """The two-way table's mean squares, each divided by seeds x documents, and the t test that they allow.

    documents + seeds - residual is the variance of the mean.
    """

    documents: float
    seeds: float
    """0 with one run."""
    residual: float
    """0 with one run."""
    count: int
    """Number of documents."""
    runs: int
    freedom: float
    """Degrees of freedom of the documents' part: of one task count - 1."""

    @property
    def of_documents(self) -> float:
        """Part of the variance that more seeds would leave."""
        return max(self.documents, self.residual)

    @property
    def of_seeds(self) -> float:
        """Part of the variance that more documents would leave."""
        return max(self.seeds - self.residual, 0.0)

    @property
    def variance(self) -> float:
        """Of the mean, neither part below zero."""
        return self.of_documents + self.of_seeds

    @cached_property
    def seed_weight(self) -> float:
        """Weight of t(runs - 1) in the reference distribution, see `paired_difference`."""
        if self.seeds == 0:
            return 0.0
        share = min(1.0, self.seeds / self.variance)
        return share if self.runs > 2 else math.sqrt(share)

    def two_sided(self, t: float) -> float:
        """P(|T| > |t|) under no difference."""
        tail = float(stdtr(self.freedom, -abs(t)))
        if self.seed_weight > 0:
            tail += self.seed_weight * (float(stdtr(self.runs - 1, -abs(t))) - tail)
        return 2 * tail

    def critical(self, alpha: float) -> float:
        """The t at which `two_sided` is alpha."""
        low, high = sorted(float(stdtrit(df, 1 - alpha / 2)) for df in self._freedom)
        if low == high:
            return low
        # A hair outside the bracket: at its ends the two sides may agree to the last digit.
        return float(brentq(lambda t: self.two_sided(t) - alpha, 0.99 * low, 1.01 * high))

    @property
    def degrees_of_freedom(self) -> float:
        """Of the t distribution with the same two-sided critical value at 5 %."""
        few, many = sorted(self._freedom)
        return min(max(float(stdtridf(0.975, self.critical(0.05))), few), many)

    @property
    def _freedom(self) -> tuple[float, float]:
        return self.freedom, self.runs - 1 if self.seed_weight > 0 else self.freedom


def task_weights(sizes: Sequence[int]) -> Array:
    """[documents of all tasks] factors that make the mean over documents the mean over tasks.

    Args:
        sizes: documents of each task, in order.
    """
    each = sum(sizes) / len(sizes)
    return np.repeat([each / size for size in sizes], sizes)


def paired_difference(a: ArrayLike, b: ArrayLike, *, sizes: Sequence[int] = ()) -> Difference:
    """The mean of a - b with an interval over seeds and documents.

    Var(mean) = (MS_document + MS_seed - MS_residual) / (seeds x documents), the mean squares of the
    two-way table without replication, each component kept from falling below zero. With one seed only
    documents vary: sd(d) / sqrt(n), an answer about these two checkpoints, not about their objectives.

    Under "no difference" t is referred to a mixture of t(n - 1) and t(S - 1), the second with weight
    w = min(1, MS_seed / (MS_document + MS_seed - MS_residual)), sqrt(w) with two seeds. Satterthwaite's
    single number of degrees of freedom is too hopeful with few seeds (three: it covers down to 92 % and
    rejects up to 3.5 % at 1 %); the mixture covers at least 95 % and rejects at most 1 %, simulated in
    the tests.

    Where nothing varies, two imagined documents, one won and one lost by the range of the scores (at
    least 1), give SE = sqrt(2) range / (n + 2) (after Bonett and Price, 2012): no sample shows a
    variance of zero.

    Of several tasks, which are the ones that are asked about and no sample, documents vary about the means
    of their own task: with one seed Var(mean) = sum over tasks of s_t^2 / n_t, over tasks^2, with
    Satterthwaite's degrees of freedom. Tasks of one document, which show no spread, are taken together.

    Args:
        a: scores [seeds, documents], or [documents] for one seed; of several tasks times `task_weights`.
        b: the same documents in the same order; one row is held against every seed of the other arm.
        sizes: documents of each task, in order; empty where there is one.

    Raises:
        InputError: shapes that do not pair, values that are not finite, fewer than two documents.
    """
    first, second = paired_scores(a, b)
    squares = varying_squares(first, second, sizes)
    estimate, error = float((first - second).mean()), squares.variance**0.5
    half, half_90 = squares.critical(0.05) * error, squares.critical(0.10) * error
    return Difference(
        estimate=estimate,
        interval=(estimate - half, estimate + half),
        interval_90=(estimate - half_90, estimate + half_90),
        standard_error=error,
        document_error=squares.of_documents**0.5,
        p_value=squares.two_sided(estimate / error),
        degrees_of_freedom=squares.degrees_of_freedom,
        seeds=squares.runs,
        documents=first.shape[1],
        squares=squares,
    )


def varying_squares(first: Array, second: Array, sizes: Sequence[int] = ()) -> MeanSquares:
    """Mean squares of paired scores, of documents about the means of their tasks, see `paired_difference`."""
    d = first - second
    whole = mean_squares(d)
    if len(sizes) < 2:
        return _varying(whole, first, second)
    weights, found = task_weights(sizes), []
    for own in _strata(sizes):
        alone = replace(mean_squares(d[:, own]), seeds=0.0)  # seeds count by the mean over tasks
        found.append(
            _varying(alone, first[:, own], second[:, own], least=float(weights[own].max()))
        )
    shares = [(one.count / whole.count) ** 2 for one in found]
    each = [share * one.of_documents for share, one in zip(shares, found, strict=True)]
    terms = (part**2 / one.freedom for part, one in zip(each, found, strict=True))
    return replace(
        whole,
        documents=sum(share * one.documents for share, one in zip(shares, found, strict=True)),
        residual=sum(share * one.residual for share, one in zip(shares, found, strict=True)),
        freedom=sum(each) ** 2 / sum(terms),
    )


def _strata(sizes: Sequence[int]) -> list[NDArray[np.intp]]:
    """Places of the documents of each task; a task of one document shows no spread, so these are together.

    A single one of them is put to the smallest other task.
    """
    places = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    alone = [own for own in places if len(own) == 1]
    others = sorted((own for own in places if len(own) > 1), key=len)
    if len(alone) == 1:
        alone.append(others.pop(0))
    return [*others, np.concatenate(alone)] if alone else others


def _varying(
    squares: MeanSquares, first: Array, second: Array, *, least: float = 1.0
) -> MeanSquares:
    """Mean squares of paired scores; of two imagined documents where nothing varies.

    See `paired_difference`: no sample shows a variance of zero. `least` is the smallest range of the scores.
    """
    if squares.variance**0.5 > 1e-12 * max(1.0, abs(float((first - second).mean()))):
        return squares
    reach = max(least, float(np.ptp(np.vstack([first, second]))))  # what varies is rounding
    error = 2**0.5 * reach / (squares.count + 2)
    return replace(squares, documents=error**2, seeds=0.0, residual=0.0)


def paired_scores(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Both arms as finite [seeds, documents] arrays that pair, or an InputError."""
    first, second = (np.atleast_2d(np.asarray(arm, dtype=np.float64)) for arm in (a, b))
    if first.ndim > 2 or second.ndim > 2 or first.shape[1] != second.shape[1]:
        raise InputError(
            f"arms of shapes {first.shape} and {second.shape} do not pair: score the same documents"
        )
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise InputError(
            f"arms with {len(first)} and {len(second)} seeds do not pair: compare their common seeds"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError(
            "scores must be finite numbers: leave out the documents that have none, in both arms"
        )
    return first, second


def mean_squares(d: Array) -> MeanSquares:
    """Mean squares of paired differences [seeds, documents], each divided by seeds x documents."""
    runs, count = d.shape
    if count < 2:
        raise InputError(f"{count} documents give no standard error: score at least two")
    mean, seed_means, document_means = d.mean(), d.mean(axis=1), d.mean(axis=0)
    scale = count / (count - 1) / count**2
    by_document = float(scale * ((document_means - mean) ** 2).sum())
    if runs == 1:
        return MeanSquares(
            documents=by_document, seeds=0.0, residual=0.0, count=count, runs=1, freedom=count - 1
        )
    rest = d - document_means - (seed_means - mean)[:, None]
    return MeanSquares(
        documents=by_document,
        seeds=float(seed_means.var(ddof=1) / runs),
        residual=float(scale * (rest**2).sum() / (runs * (runs - 1))),
        count=count,
        runs=runs,
        freedom=count - 1,
    )


def probability(p: float) -> str:
    """Three digits, and never zero."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p values in the order given: max over j <= i of (m - j + 1) p_(j), at most 1 (Holm, 1979).

    Rejecting where the adjusted p is at most alpha keeps the family-wise error at alpha under any
    dependence. An arm that racing dropped enters with p = 1: the family keeps its size, and raising a p
    never lowers another's adjusted p.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p values must lie in [0, 1]: got {list(p_values)}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(p.size, 0, -1) * p[order]))
    return tuple(adjusted.tolist())


def holm_levels(p_values: Sequence[float], *, alpha: float = 0.05) -> tuple[float, ...]:
    """The level of each interval that goes with `holm`: it leaves out 0 where the adjusted p is up to alpha.

    Holm multiplies p_i by m_i, the number of hypotheses left at its step, or more where an earlier step
    binds; the interval of i has the level alpha / m_i. Intervals at the first step are Bonferroni's; later
    ones are narrower and hold each for itself, not all at once.
    """
    p = np.maximum(np.asarray(p_values, dtype=np.float64), np.finfo(np.float64).tiny)
    order = np.argsort(p, kind="stable")
    factors = np.empty_like(p)
    steps = np.arange(p.size, 0, -1)
    factors[order] = np.maximum.accumulate(steps * p[order]) / p[order]
    return tuple((alpha / factors).tolist())


def verdict(
    difference: Difference, adjusted_p: float, margin: float | None, *, alpha: float = 0.05
) -> Verdict:
    """What a difference says, given a margin declared beforehand as too small to matter.

    "equivalent": `interval_90` lies inside +/- margin (Schuirmann's two one-sided tests, 1987, at 5 % or a
    share of it), also where the difference is significant; else "better" or "worse": adjusted p at most
    alpha; else "not resolved". Without a margin nothing is equivalent.

    One seed shows two checkpoints, not two objectives: another seed may turn the difference round. So the
    words are "ahead" and "behind", of these checkpoints on documents of this kind, or "not resolved".
    """
    if difference.seeds == 1:
        if adjusted_p > alpha:
            return "not resolved"
        return "ahead" if difference.estimate > 0 else "behind"
    low, high = difference.interval_90
    if margin is not None and -margin < low and high < margin:
        return "equivalent"
    if adjusted_p > alpha:
        return "not resolved"
    return "better" if difference.estimate > 0 else "worse"


def still_in_the_race(
    difference: Difference,
    *,
    looks: int,
    rivals: int,
    seed_sd: float | None = None,
) -> bool:
    """Whether an arm gets more seeds, from its difference (arm - current leader) on the seeds both have.

    It is dropped where the one-sided p of "not behind" is at most RACE_ALPHA / (looks x rivals): Pocock's
    constant level over the looks (an early drop is what saves runs; O'Brien and Fleming's bounds spend
    next to nothing there), shared by Bonferroni over looks and rivals. The best arm is ever dropped
    with probability at most RACE_ALPHA, whoever leads at each look, and the final tests keep their
    family-wise error, because a dropped arm enters `holm` with p = 1.

    Without `seed_sd` one seed drops nobody and two seldom do. With it the variance is at least
    document_error^2 + seed_sd^2 / seeds, referred to t(documents - 1): one seed can then drop an arm,
    and the error is kept where the true standard deviation is not above `seed_sd` (at twice that, five
    equal arms and looks after the first two seeds, a best arm was dropped in a quarter of simulations).

    Args:
        difference: of `paired_difference(arm, leader)`.
        looks: planned number of looks, those after which a dropped arm saves runs.
        rivals: arms at the start of the race, less one.
        seed_sd: largest plausible standard deviation of the paired mean over seeds, in the scores' unit.
    """
    if difference.estimate >= 0 or (difference.seeds == 1 and seed_sd is None):
        return True
    p = difference.p_value / 2
    if seed_sd is not None:
        assumed = np.hypot(difference.document_error, seed_sd / difference.seeds**0.5)
        error = max(difference.standard_error, float(assumed))
        p = float(stdtr(difference.squares.freedom, difference.estimate / error))
    return p > RACE_ALPHA / (looks * rivals)


def survivors(
    scores: Mapping[Name, ArrayLike],
    *,
    looks: int,
    rivals: int,
    keep: Collection[Name] = (),
    seed_sd: float | None = None,
    sizes: Sequence[int] = (),
) -> tuple[Name, ...]:
    """Names of the arms that get more seeds: `still_in_the_race` against the arm with the highest mean.

    Args:
        scores: for each arm still racing, [seeds, documents] on the same seeds (one row for the base).
        looks: see `still_in_the_race`.
        rivals: arms at the start of the race, less one.
        keep: arms that are never dropped: what the final tests compare with.
        seed_sd: see `still_in_the_race`.
        sizes: see `paired_difference`.
    """
    leader = max(scores, key=lambda arm: float(np.mean(np.asarray(scores[arm], dtype=np.float64))))
    return tuple(
        arm
        for arm in scores
        if arm in keep
        or arm == leader
        or still_in_the_race(
            paired_difference(scores[arm], scores[leader], sizes=sizes),
            looks=looks,
            rivals=rivals,
            seed_sd=seed_sd,
        )
    )
