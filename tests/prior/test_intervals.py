"""Intervals: coverage by simulation, with peeking after every block and without."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from advisor.prior.intervals import log_capital, mean_interval, ratio_interval

LOOKS = (32, 64, 128, 256, 512)
LARGEST, SIMULATIONS = LOOKS[-1], 300
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


def heavy(rng: np.random.Generator, n: int) -> Draw:
    """Lengths of a heavy tail (lognormal, sd 1): few examples hold much of the tokens."""
    tokens = np.exp(rng.normal(4, 1, n))
    return tokens * rng.beta(6, 4, n), tokens


def long_and_deviant(rng: np.random.Generator, n: int) -> Draw:
    """Such lengths, and three in ten of the examples of more than 148 tokens are wholly deviant."""
    tokens = np.exp(rng.normal(4, 1, n))
    deviant = (tokens > math.exp(5)) & (rng.random(n) < 0.3)
    return tokens * np.where(deviant, 0.0, 0.9), tokens


LONG = 0.5
"""Share of the tokens in examples of more than e^5: P(Z > 5 - 4 - 1) by the moments of a lognormal."""
TRUTH = {
    even: 0.6,
    clustered: (0.2 * 200 * 0.2 + 0.8 * 10 * 0.9) / (0.2 * 200 + 0.8 * 10),
    rare: 0.01,
    rarer: 1 / 300,
    heavy: 0.6,
    long_and_deviant: 0.9 * (1 - 0.3 * LONG),
}


def slack(share: float) -> float:
    """Two standard errors of a simulated share."""
    return 2 * math.sqrt(share * (1 - share) / SIMULATIONS)


@pytest.mark.parametrize("draw", TRUTH, ids=lambda f: f.__name__)
def test_anytime_interval_covers_under_peeking(draw: object) -> None:
    """Breaks when bets see the example that they are made on, or an unseen rare kind costs them nothing."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(SIMULATIONS):
        a, b = draw(rng, LARGEST)  # type: ignore[operator]
        looks = (ratio_interval(a[:n], b[:n], alpha=0.05, anytime=True) for n in LOOKS)
        missed += any(not low <= TRUTH[draw] <= high for low, high in looks)  # type: ignore[index]
    assert missed / SIMULATIONS <= 0.05 + slack(0.05)


def test_fixed_interval_covers_once_but_not_under_peeking() -> None:
    """Breaks when the fixed interval is too narrow, or peeking would not need another one."""
    rng = np.random.default_rng(1)
    once = peeking = 0
    for _ in range(SIMULATIONS):
        a, b = clustered(rng, 2048)
        missed = []
        for n in range(64, 2049, 64):
            low, high = ratio_interval(a[:n], b[:n], alpha=0.05, anytime=False)
            missed.append(not low <= TRUTH[clustered] <= high)
        once += missed[-1]
        peeking += any(missed)
    assert abs(once / SIMULATIONS - 0.05) <= slack(0.05)
    assert peeking / SIMULATIONS > 0.15  # what the bets are for


@pytest.mark.parametrize("share", [0.02, 0.005])
def test_mean_interval_covers_a_rare_kind_of_example_under_peeking(share: float) -> None:
    """Breaks when examples that look alike so far pass for proof that all are alike."""
    rng = np.random.default_rng(2)
    missed = 0
    truth = share * (1 - share) * 0.95**2  # variance of examples at .95 but for a rare kind at 0
    for _ in range(SIMULATIONS):
        means = np.where(rng.random(LARGEST) < share, 0.0, 0.95)
        for n in LOOKS:
            values = np.square(means[:n] - means[:n].mean())
            low, high = mean_interval(values, alpha=0.05, anytime=True, largest=1.0)
            if not low <= truth <= high:
                missed += 1
                break
    assert missed / SIMULATIONS <= 0.05 + slack(0.05)


def gambler(a: list[float], b: list[float], m: float, longest: float) -> float:
    """The log capital of her who holds that the ratio is larger than m, an example after the other."""
    outcomes = [y - m * n for y, n in zip(a, b, strict=True)]
    worst = max(m * longest, -min(outcomes))
    capital, seen = 0.0, []
    for outcome in (each / worst for each in outcomes):
        first = max(sum(seen), 0.0) / (len(seen) + 1)
        second = (0.25 + sum(x * x for x in seen)) / (len(seen) + 1)
        stake = min(max(first / second, first * (1 + first) / (second + first)), 0.97)
        capital += math.log(1 + stake * outcome)
        seen.append(outcome)
    return capital


def test_the_capital_is_that_of_a_gambler_and_the_ends_are_where_she_gets_rich() -> None:
    """Breaks when a stake looks ahead, or the search for the ends leaves a mean out that is not excluded."""
    a, b = clustered(np.random.default_rng(3), 80)
    longest = min(b.max(), 2 * math.sqrt(np.square(b).mean()))
    for m in (0.05, 0.2, 0.3, 0.6):
        ours = log_capital((a - m * b)[:, None], np.array([m * longest]))[0]
        assert ours == pytest.approx(gambler(a.tolist(), b.tolist(), m, longest))
    low, high = ratio_interval(a, b, alpha=0.05, anytime=True)
    rich = math.log(2 / 0.05)
    assert gambler(a.tolist(), b.tolist(), low, longest) >= rich
    assert gambler(a.tolist(), b.tolist(), low + 0.001, longest) < rich
    assert gambler((b - a).tolist(), b.tolist(), 1 - high, longest) >= rich
    assert gambler((b - a).tolist(), b.tolist(), 1 - high + 0.001, longest) < rich


def test_nothing_deviant_seen_leaves_room_for_what_could_be_missed() -> None:
    """Breaks when alike examples give a width of 0, or more than the exact test of rarity asks for.

    A kind of share q stays unseen in n examples with probability (1 - q)^n: q up to 1 - (alpha / 2)^(1 / n)
    cannot be excluded.
    """
    none, one = np.zeros(300), np.ones(300)
    exact = 1 - 0.025 ** (1 / 300)
    low, high = ratio_interval(none, one, alpha=0.05, anytime=True)
    assert low == 0 and exact < high < 1.2 * exact
    low, high = ratio_interval(one, one, alpha=0.05, anytime=True)
    assert high == 1 and exact < 1 - low < 1.2 * exact


def test_intervals_shrink_to_little_more_than_those_of_a_fixed_sample() -> None:
    """Breaks when the bets lose their power: the width of 1.96 standard errors is the measure."""
    a, b = even(np.random.default_rng(4), 4096)
    ratios = []
    for n in (64, 256, 1024, 4096):
        low, high = ratio_interval(a[:n], b[:n], alpha=0.05, anytime=True)
        error = np.std(a[:n] - 0.6 * b[:n]) / b[:n].mean() / math.sqrt(n)
        ratios.append((high - low) / (2 * 1.96 * error))
    assert max(ratios) < 2 and min(ratios) > 1


def test_one_example_says_nothing() -> None:
    """Breaks when a single example excludes anything."""
    one = np.ones(1)
    assert ratio_interval(one * 0.5, one, alpha=0.05, anytime=True) == (0.0, 1.0)
