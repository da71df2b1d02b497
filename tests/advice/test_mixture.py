"""Several beliefs of which one holds: odds by Bayes, moments against draws."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from advisor.advice.belief import Array, Belief
from advisor.advice.mixture import Mixture

NOTHING: tuple[list[int], Array, Array] = ([], np.zeros(0), np.zeros((0, 0)))


def belief(means: list[list[float]], sd: float) -> Belief:
    size = np.size(means)
    covariance = sd**2 * (0.5 * np.eye(size) + 0.5)
    return Belief(mean=np.array(means), covariance=covariance)


NARROW = belief([[0.4, 0.5], [0.6, 0.9]], 0.1)
WIDE = belief([[0.5, 0.7], [0.5, 0.7]], 0.3)
BOTH = Mixture(beliefs=(NARROW, WIDE), odds=(0.7, 0.3))


def test_before_any_score_the_moments_are_those_of_draws_of_either() -> None:
    rng, found = np.random.default_rng(0), BOTH.given(*NOTHING)
    which = rng.random(200_000) < 0.7
    draws = np.where(
        which[:, None],
        rng.multivariate_normal(NARROW.mean.ravel(), NARROW.covariance, size=len(which)),
        rng.multivariate_normal(WIDE.mean.ravel(), WIDE.covariance, size=len(which)),
    )
    assert found.mean.ravel() == pytest.approx(draws.mean(axis=0), abs=3e-3)
    assert found.covariance == pytest.approx(np.cov(draws.T), abs=3e-3)


def test_odds_are_those_of_bayes() -> None:
    places, angles, noise = [0, 3], np.array([0.7, 0.3]), np.diag([0.01, 0.02])
    weights = [
        odds * multivariate_normal.pdf(
            angles, one.mean.ravel()[places], one.covariance[np.ix_(places, places)] + noise
        )
        for odds, one in zip(BOTH.odds, BOTH.beliefs, strict=True)
    ]  # fmt: skip
    expected = np.array(weights) / sum(weights)
    assert BOTH.odds_given(places, angles, noise) == pytest.approx(expected)
    assert expected[1] > 0.3  # neither score was expected by the narrow one


def test_scores_far_from_a_belief_leave_the_other() -> None:
    places, angles, noise = [0, 2], np.array([1.2, 1.2]), 1e-3 * np.eye(2)
    found, alone = BOTH.given(places, angles, noise), WIDE.given(places, angles, noise)
    assert found.mean == pytest.approx(alone.mean, abs=1e-6)
    assert found.covariance == pytest.approx(alone.covariance, abs=1e-6)


def test_a_mixture_of_one_is_that_one() -> None:
    one = Mixture(beliefs=(NARROW,), odds=(1.0,))
    assert one.given(*NOTHING).covariance == pytest.approx(NARROW.covariance)
    assert one.place(1, 0) == NARROW.place(1, 0) == 2
