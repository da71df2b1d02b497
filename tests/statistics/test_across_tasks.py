"""Aggregates over tasks against direct computation."""

import numpy as np
import pytest
from scipy import stats

from advisor.errors import InputError
from harness.statistics.across_tasks import aggregate, iqm, mean_ranks, probability_of_improvement


def test_aggregates_equal_direct_computation() -> None:
    rng = np.random.default_rng(0)
    for runs in (1, 2, 3, 5):
        a, b = rng.integers(0, 6, size=(2, runs, 3)) / 5
        assert iqm(a) == pytest.approx(stats.trim_mean(a, 0.25, axis=None))
        u = [stats.mannwhitneyu(a[:, t], b[:, t]).statistic / runs**2 for t in range(3)]
        assert probability_of_improvement(a, b) == pytest.approx(np.mean(u))
    means = rng.integers(0, 4, size=(5, 7)) / 3
    expected = stats.rankdata(-means, axis=0).mean(axis=1)
    assert mean_ranks(means) == pytest.approx(expected)
    assert mean_ranks([[0.1 + 0.2], [0.3]]).tolist() == [1.5, 1.5]


def test_bootstrap_is_stratified_and_seeded() -> None:
    rng = np.random.default_rng(0)
    scores = {
        "nll": rng.random((5, 40)),
        "neg_p": rng.random((5, 40)) + 0.2,
        "base": rng.random((1, 40)),
    }
    first, again, other = (aggregate(scores, "nll", np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again != other
    assert first["neg_p"].iqm == pytest.approx(stats.trim_mean(scores["neg_p"], 0.25, axis=None))
    for name in ("nll", "neg_p"):
        low, high = first[name].mean_rank_interval or (1, 0)
        assert low <= first[name].mean_rank <= high and low < high
    assert first["base"].mean_rank_interval is None
    assert first["nll"].improvement == 0.5
    assert sum(arm.mean_rank for arm in first.values()) == pytest.approx(1 + 2 + 3)
    half = {"nll": np.eye(2), "neg_p": np.full((2, 2), 0.5)}
    crossed = aggregate(half, "nll", np.random.default_rng(0))["nll"]
    assert crossed.mean_rank_interval == (1, 2)  # each task draws its own runs: both 0 in 1 of 16
    by_task = {"nll": np.tile([0.1, 0.9], (3, 1)), "neg_p": np.tile([0.2, 0.8], (3, 1))}
    fixed = aggregate(by_task, "nll", np.random.default_rng(0))["neg_p"]
    # runs never leave their task
    assert (fixed.improvement, fixed.mean_rank, fixed.mean_rank_interval) == (0.5, 1.5, (1.5, 1.5))


def test_bootstrap_interval_covers_with_ten_runs() -> None:
    """Of two arms that are alike: a rank has few values, so that it covers more often than promised."""
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(150):
        arms = {"nll": rng.normal(size=(10, 5)), "neg_p": rng.normal(size=(10, 5))}
        low, high = aggregate(arms, "nll", rng)["nll"].mean_rank_interval or (2, 1)
        hits.append(low <= 1.5 <= high)
    assert np.mean(hits) >= 0.88


def test_aggregate_refuses_what_does_not_match() -> None:
    rng = np.random.default_rng(0)
    for scores, message in (
        ({"neg_p": np.zeros((3, 2))}, "baseline nll"),
        ({"nll": np.zeros((3, 2)), "neg_p": np.zeros((3, 1))}, "common tasks"),
        ({"nll": np.array([[0.1, np.nan]])}, "not finite"),
    ):
        with pytest.raises(InputError, match=message):
            aggregate(scores, "nll", rng)
