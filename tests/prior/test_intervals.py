"""Intervals: coverage by simulation, with peeking after every block and without."""

import numpy as np
import pytest
from numpy.typing import NDArray

from advisor.prior.intervals import anytime_radius, mean_interval, ratio_interval

BLOCK, LARGEST, SIMULATIONS = 64, 2048, 400
Draw = tuple[NDArray[np.float64], NDArray[np.float64]]


def even(rng: np.random.Generator, n: int) -> Draw:
    """Examples of like length whose mean p varies mildly; the true ratio is .6."""
    tokens = rng.integers(20, 40, n).astype(float)
    return tokens * rng.beta(6, 4, n), tokens


def clustered(rng: np.random.Generator, n: int) -> Draw:
    """Long examples are the improbable ones: tokens are far from independent."""
    long = rng.random(n) < 0.2
    tokens = np.where(long, 200.0, 10.0)
    return tokens * np.where(long, rng.beta(2, 8, n), rng.beta(9, 1, n)), tokens


def rare(rng: np.random.Generator, n: int) -> Draw:
    """One example in a hundred is wholly of a kind that the others do not show."""
    tokens = rng.integers(5, 50, n).astype(float)
    return tokens * (rng.random(n) < 0.01), tokens


def rarer(rng: np.random.Generator, n: int) -> Draw:
    """One in three hundred."""
    tokens = rng.integers(5, 50, n).astype(float)
    return tokens * (rng.random(n) < 1 / 300), tokens


TRUTH = {
    even: 0.6,
    clustered: (0.2 * 200 * 0.2 + 0.8 * 10 * 0.9) / (0.2 * 200 + 0.8 * 10),
    rare: 0.01,
    rarer: 1 / 300,
}


@pytest.mark.parametrize("draw", TRUTH, ids=lambda f: f.__name__)
def test_anytime_interval_covers_under_peeking(draw: object) -> None:
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(SIMULATIONS):
        a, b = draw(rng, LARGEST)  # type: ignore[operator]
        looks = (
            ratio_interval(a[:n], b[:n], alpha=0.05, anytime=True)
            for n in range(BLOCK, LARGEST + 1, BLOCK)
        )
        missed += any(not low <= TRUTH[draw] <= high for low, high in looks)  # type: ignore[index]
    assert missed / SIMULATIONS <= 0.05 + 2 * (0.05 * 0.95 / SIMULATIONS) ** 0.5


def test_fixed_interval_covers_once_but_not_under_peeking() -> None:
    rng = np.random.default_rng(1)
    once = peeking = 0
    for _ in range(SIMULATIONS):
        a, b = clustered(rng, LARGEST)
        missed = []
        for n in range(BLOCK, LARGEST + 1, BLOCK):
            low, high = ratio_interval(a[:n], b[:n], alpha=0.05, anytime=False)
            missed.append(not low <= TRUTH[clustered] <= high)
        once += missed[-1]
        peeking += any(missed)
    slack = 2 * (0.05 * 0.95 / SIMULATIONS) ** 0.5
    assert 0.05 - slack <= once / SIMULATIONS <= 0.05 + slack
    assert peeking / SIMULATIONS > 0.15  # what the confidence sequence is for


@pytest.mark.parametrize("share", [0.02, 0.005])
def test_mean_interval_covers_a_rare_kind_of_example_under_peeking(share: float) -> None:
    rng = np.random.default_rng(2)
    missed = 0
    truth = share * (1 - share) * 0.95**2  # variance of examples at .95 but for a rare kind at 0
    for _ in range(SIMULATIONS):
        means = np.where(rng.random(LARGEST) < share, 0.0, 0.95)
        for n in range(128, LARGEST, 128):
            values = np.square(means[:n] - means[:n].mean())
            low, high = mean_interval(values, alpha=0.05, anytime=True, largest=1.0)
            if not low <= truth <= high:
                missed += 1
                break
    assert missed / SIMULATIONS <= 0.05 + 2 * (0.05 * 0.95 / SIMULATIONS) ** 0.5


def test_intervals_shrink_and_one_example_says_nothing() -> None:
    widths = [anytime_radius(n, 1.0, 0.05) for n in (64, 256, 1024, 4096)]
    assert widths == sorted(widths, reverse=True)
    one = np.ones(1)
    assert ratio_interval(one * 0.5, one, alpha=0.05, anytime=True) == (0.0, 1.0)
