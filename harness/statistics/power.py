"""Planning a comparison: how small a difference it can detect, how many documents or seeds it needs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy.special import nctdtrinc

from advisor.errors import InputError
from harness.statistics.paired import MeanSquares, paired_scores, varying_squares

MOST_DOCUMENTS = 1_000_000
"""Beyond these a difference counts as out of reach."""
POWER = 0.8
"""Probability with which a difference that counts as detectable is found."""
SETTLING = (2, 3, 5, 10)
"""Numbers of seeds that are weighed to settle a comparison."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations of a paired difference, in the unit of the scores."""

    document: float
    """Between documents."""
    seed: float = 0.0
    """Between seeds, of the mean over documents."""
    residual: float = 0.0
    """Of one document under one seed, beyond the two above."""


def spread(a: ArrayLike, b: ArrayLike, *, sizes: Sequence[int] = ()) -> Spread:
    """Standard deviations from the mean squares of a pilot, [seeds, documents] as in `paired_difference`.

    document^2 = (MS_document - MS_residual) / seeds, seed^2 = (MS_seed - MS_residual) / documents,
    residual^2 = MS_residual, none below zero. One seed cannot tell them apart: all is the documents',
    and the seeds' is 0. Where nothing varies, the spread is that of two imagined documents, as in
    `paired_difference`. Of several tasks (`sizes`, as there) it is that of a document on average, so that
    planning with it takes more documents of each in proportion.
    """
    first, second = paired_scores(a, b)
    squares = varying_squares(first, second, sizes)
    return Spread(
        document=(squares.count * max(squares.documents - squares.residual, 0.0)) ** 0.5,
        seed=(squares.runs * squares.of_seeds) ** 0.5,
        residual=(squares.count * squares.runs * squares.residual) ** 0.5,
    )


def spread_of_accuracy(accuracy: float, *, seed_sd: float = 0.0) -> Spread:
    """Spread of two arms' 0/1 scores before any run, p = `accuracy` being expected of both.

    document^2 = 2 p (1 - p) (1 - correlation), with a correlation over documents of 1/2, and
    seed^2 = 2 seed_sd^2: the seeds of two arms do not vary together.

    Args:
        accuracy: share of right answers.
        seed_sd: standard deviation of one arm's share over its seeds.
    """
    return Spread(document=(accuracy * (1 - accuracy)) ** 0.5, seed=2**0.5 * seed_sd)


def minimum_detectable(documents: int, seeds: int, spread: Spread, *, alpha: float = 0.05) -> float:
    """The difference that `paired_difference` finds with probability `POWER`, in the unit of the scores.

    SE^2 = document^2 / n + seed^2 / S + residual^2 / (n S), times the noncentrality at which a
    noncentral t passes the test's critical value with that probability. With one seed and many
    documents this is Miller's (z_(1 - alpha / 2) + z_power) SE (arXiv:2411.00640).

    Args:
        documents: n, of each run.
        seeds: S, of each arm.
        spread: from a pilot (`spread`) or assumed (`spread_of_accuracy`).
        alpha: two-sided level; for m contrasts under Holm give alpha / m, its first step.

    Raises:
        InputError: fewer than two documents or one seed; a spread over seeds that one seed cannot see.
    """
    if documents < 2 or seeds < 1:
        raise InputError(
            f"{documents} documents and {seeds} seeds cannot be compared: plan at least 2 and 1"
        )
    if seeds == 1 and spread.seed > 0:
        raise InputError(
            "one seed cannot see the spread over seeds: plan two or more, or set the spread to 0"
        )
    planned = _expected(documents, seeds, spread)
    shift = nctdtrinc(planned.degrees_of_freedom, 1 - POWER, planned.critical(alpha))
    return float(shift * planned.variance**0.5)


def _expected(documents: int, seeds: int, spread: Spread) -> MeanSquares:
    residual = spread.residual**2 / (documents * seeds)
    several = seeds > 1
    return MeanSquares(
        documents=spread.document**2 / documents + residual,
        seeds=spread.seed**2 / seeds + residual if several else 0.0,
        residual=residual if several else 0.0,
        count=documents,
        runs=seeds,
        freedom=documents - 1,
    )


def documents_needed(
    difference: float, seeds: int, spread: Spread, *, alpha: float = 0.05
) -> int | None:
    """Fewest documents that make `difference` detectable; None where only more seeds would."""

    def enough(documents: int) -> bool:
        return minimum_detectable(documents, seeds, spread, alpha=alpha) <= difference

    found = 2 + bisect_left(range(2, MOST_DOCUMENTS + 1), True, key=enough)
    return found if found <= MOST_DOCUMENTS else None


def sizes_that_settle(
    difference: float, seeds: int, spread: Spread, *, alpha: float = 0.05
) -> tuple[int, int] | None:
    """(documents, seeds) that make `difference` detectable with 80 % power, for the fewest answers to score.

    At least `seeds` and two: one seed says nothing of objectives. None where ten seeds would not do.
    """
    numbers = sorted({max(2, seeds), *(number for number in SETTLING if number > seeds)})
    found = [
        (documents, number)
        for number in numbers
        if (documents := documents_needed(difference, number, spread, alpha=alpha)) is not None
    ]
    return min(found, key=lambda size: size[0] * size[1], default=None)
