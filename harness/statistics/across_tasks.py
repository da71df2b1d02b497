"""Several tasks together: interquartile mean, mean rank, probability of improvement (arXiv:2108.13264).

Scores are [runs, tasks] on a scale that tasks share (fraction correct). Intervals come from the
stratified bootstrap: runs are drawn anew within each task, the tasks stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advisor.errors import InputError
from harness.statistics.paired import Array, Interval

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One arm over all tasks."""

    iqm: float
    """See `iqm`."""
    mean_rank: float
    """See `mean_ranks`; 1 is best."""
    mean_rank_interval: Interval | None
    """95 %, over runs; None for an arm with one run."""
    improvement: float
    """See `probability_of_improvement`, over the baseline; 0.5 for the baseline itself."""
    runs: int
    tasks: int


def iqm(scores: ArrayLike) -> Array:
    """Mean of the middle half of all scores, rliable's `aggregate_iqm`: [..., runs, tasks] -> [...]."""
    values = np.asarray(scores, dtype=np.float64)
    flat = np.sort(values.reshape(*values.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> Array:
    """P(A > B) + P(A = B) / 2 over all pairs of runs, averaged over tasks: Mann-Whitney's U per pair.

    Args:
        a: [..., runs_a, tasks].
        b: [..., runs_b, tasks].
    """
    first, second = (np.asarray(arm, dtype=np.float64) for arm in (a, b))
    signs = np.sign(first[..., :, None, :] - second[..., None, :, :])
    return np.asarray((0.5 + 0.5 * signs).mean(axis=(-3, -2, -1)))


def mean_ranks(means: ArrayLike) -> Array:
    """Rank of each arm (1 for the highest mean, ties share) averaged over tasks.

    Args:
        means: [arms, ..., tasks], over runs; the answer is [arms, ...].
    """
    values = np.asarray(means, dtype=np.float64).round(12)  # sums in another order still tie
    signs = np.sign(values[None] - values[:, None])  # scipy's rankdata takes 150 times as long
    return np.asarray((0.5 + 0.5 * len(values) + 0.5 * signs.sum(axis=1)).mean(axis=-1))


def aggregate(
    scores: Mapping[str, ArrayLike],
    baseline: str,
    rng: np.random.Generator,
) -> dict[str, Aggregate]:
    """Every arm over all tasks, its rank with a percentile interval of the stratified bootstrap.

    Percentiles of few runs are narrow (of three they cover well below 95 %): they order arms,
    `paired_difference` decides.

    Args:
        scores: for each arm [runs, tasks], the same tasks in the same order.
        baseline: the arm that `improvement` is over.
        rng: source of the resampling; the same state gives the same intervals.

    Raises:
        InputError: an unknown baseline, arms with other tasks, values that are not finite.
    """
    arms = {name: np.atleast_2d(np.asarray(arm, dtype=np.float64)) for name, arm in scores.items()}
    _check(arms, baseline)
    drawn = {name: _resample(arm, rng) for name, arm in arms.items()}
    ranks = mean_ranks(np.stack([arm.mean(axis=0) for arm in arms.values()]))
    drawn_ranks = mean_ranks(np.stack([arm.mean(axis=1) for arm in drawn.values()]))
    found = {}
    for i, (name, arm) in enumerate(arms.items()):
        runs, tasks = arm.shape
        found[name] = Aggregate(
            iqm=float(iqm(arm)),
            mean_rank=float(ranks[i]),
            mean_rank_interval=_interval(drawn_ranks[i], runs),
            improvement=float(probability_of_improvement(arm, arms[baseline])),
            runs=runs,
            tasks=tasks,
        )
    return found


def _check(arms: Mapping[str, Array], baseline: str) -> None:
    if baseline not in arms:
        raise InputError(f"no scores of the baseline {baseline}: choose one of {', '.join(arms)}")
    for name, arm in arms.items():
        if arm.shape[1:] != arms[baseline].shape[1:]:
            raise InputError(
                f"{name} and {baseline} were scored on different numbers of tasks: give common tasks"
            )
        if not np.isfinite(arm).all():
            raise InputError(
                f"{name} has scores that are not finite: leave out that task in every arm"
            )


def _resample(arm: Array, rng: np.random.Generator) -> Array:
    runs, tasks = arm.shape
    chosen: NDArray[np.int64] = rng.integers(runs, size=(RESAMPLES, runs, tasks))
    return np.take_along_axis(arm[None], chosen, axis=1)


def _interval(drawn: Array, runs: int) -> Interval | None:
    if runs == 1:
        return None
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
