"""The belief of a race: conditioning against closed forms, worth against drawn scores."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from advisor.advice.belief import (
    Array,
    Belief,
    angle_of,
    counting_noise,
    expected_points,
    observed,
    points_at,
    worth,
)


def belief(seed: int = 0, arms: int = 3, shares: int = 2) -> Belief:
    """A belief whose arms and shares all go together a little."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(arms * shares, arms * shares))
    covariance = root @ root.T / 100 + 0.01 * np.eye(arms * shares)
    return Belief(mean=rng.uniform(0.4, 1.2, size=(arms, shares)), covariance=covariance)


def test_one_score_moves_a_belief_as_the_formula_for_two_normals_says() -> None:
    before = Belief(mean=np.array([[0.0], [1.0]]), covariance=np.array([[2.0, 1.0], [1.0, 3.0]]))
    after = before.given([0], np.array([1.5]), np.array([[0.5]]))
    assert after.mean.ravel() == pytest.approx([2.0 * 1.5 / 2.5, 1.0 + 1.0 * 1.5 / 2.5])
    assert np.diag(after.covariance) == pytest.approx([2.0 * 0.5 / 2.5, 3.0 - 1.0 / 2.5])


def test_scores_at_once_say_what_they_say_one_after_another() -> None:
    before, angles = belief(), np.array([0.3, 0.7, 1.1])
    noise = np.diag([0.02, 0.04, 0.01])
    at_once = before.given([0, 3, 4], angles, noise)
    one = before
    for place, value, own in zip((0, 3, 4), angles, np.diag(noise), strict=True):
        one = one.given([place], np.array([value]), np.array([[own]]))
    assert at_once.mean == pytest.approx(one.mean)
    assert at_once.covariance == pytest.approx(one.covariance)
    assert before.given([], np.array([]), np.zeros((0, 0))) is before


def test_expected_points_are_the_integral() -> None:
    for mean, sd in ((0.8, 0.1), (1.3, 0.3), (0.1, 0.5)):
        exact, _ = quad(lambda x, m=mean, s=sd: points_at(x) * norm.pdf(x, m, s), -4, 5, limit=200)
        found = expected_points(np.array([mean]), np.array([sd**2]))
        assert found == pytest.approx([exact], abs=0.2)


def test_what_counting_adds_is_what_repeated_counts_scatter_by() -> None:
    rng = np.random.default_rng(0)
    draws = rng.random((2000, 100)) < 0.7
    angles = np.array([observed(row[None].astype(float))[0][0] for row in draws])
    _, noise = observed(draws[:1].astype(float))
    assert angles.mean() == pytest.approx(angle_of(np.array(0.7)), abs=0.005)
    assert np.sqrt(noise[0, 0]) == pytest.approx(angles.std(), rel=0.1)
    assert counting_noise(100) == pytest.approx(angles.var(), rel=0.1)


def test_scores_of_the_same_documents_err_together() -> None:
    right = (np.random.default_rng(1).random((1, 100)) < 0.6).astype(float)
    other = right.copy()
    other[0, :3] = 1 - other[0, :3]
    _, same = observed(np.vstack([right, other]))
    _, apart = observed(np.vstack([right, np.roll(other, 50, axis=1)]))
    differ = np.array([1.0, -1.0])
    assert differ @ same @ differ < 0.3 * (differ @ apart @ differ)
    assert np.linalg.eigvalsh(observed(np.vstack([right, right]))[1]).min() > 0
    for extreme in (np.zeros((1, 50)), np.ones((1, 50))):
        angles, noise = observed(extreme)
        assert np.isfinite([*angles, *noise.ravel()]).all()
        assert noise[0, 0] > 0


def drawn_worth(before: Belief, place: int, noise: float, prices: Array, then: Array) -> float:
    """Worth by drawing many scores and choosing after each."""
    rng = np.random.default_rng(2)
    spread = np.sqrt(before.covariance[place, place] + noise)
    now = (before.points() - prices).max()
    found = []
    for z in rng.standard_normal(4000):
        score = before.mean.ravel()[place] + spread * z
        after = before.given([place], np.array([score]), np.array([[noise]]))
        found.append((after.points() - then).max())
    return float(np.mean(found) - now)


@pytest.mark.parametrize("place", range(6))
def test_worth_is_what_choosing_after_drawn_scores_gains(place: int) -> None:
    before = belief()
    prices = np.array([3.0, 1.0, 2.0])
    then = prices.copy()
    then[place // 2] -= 1.0
    exact = drawn_worth(before, place, 0.01, prices, then)
    assert worth(before, place, 0.01, prices, then) == pytest.approx(exact, abs=0.3)


def test_a_score_that_says_nothing_is_worth_nothing() -> None:
    before = Belief(mean=np.array([[0.7], [0.7]]), covariance=np.diag([1e-12, 0.1]))
    none = np.zeros(2)
    assert worth(before, 0, 0.01, none, none) == pytest.approx(0, abs=1e-9)
    assert worth(before, 1, 0.01, none, none) > 1


def test_nothing_is_believed_beyond_what_a_score_can_be() -> None:
    wide = Belief(mean=np.array([[1.3], [0.2]]), covariance=0.2 * np.eye(2))
    low, high = wide.interval().T
    assert (low >= 0).all()
    assert (high <= 100).all()
    assert wide.chance_below(0, 5) < 0.1 < 0.9 < wide.chance_below(1, 5)
    assert wide.regret_of(0) < wide.regret_of(1)
    same = Belief(mean=np.zeros((2, 1)), covariance=np.ones((2, 2)))
    assert same.regret_of(0) == pytest.approx(0, abs=1e-6)
