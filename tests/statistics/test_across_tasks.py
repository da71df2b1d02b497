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
        "nll": rng.random((5, 4)),
        "neg_p": rng.random((5, 4)) + 0.2,
        "base": rng.random((1, 4)),
    }
    first, again, other = (aggregate(scores, "nll", np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again != other
    assert first["neg_p"].iqm == pytest.approx(stats.trim_mean(scores["neg_p"], 0.25, axis=None))
    for name in ("nll", "neg_p"):
        low, high = first[name].iqm_interval or (1, 0)
        assert low < first[name].iqm < high
    assert first["base"].iqm_interval is None
    assert (first["nll"].improvement, first["nll"].improvement_interval) == (0.5, None)
    assert sum(arm.mean_rank for arm in first.values()) == pytest.approx(1 + 2 + 3)
    crossed = aggregate({"nll": np.eye(2)}, "nll", np.random.default_rng(0))["nll"]
    assert crossed.iqm_interval == (
        0.0,
        1.0,
    )  # each task draws its own runs: 1 / 16 of the draws are all 0
    by_task = {"nll": np.tile([0.1, 0.9], (3, 1)), "neg_p": np.tile([0.2, 0.8], (3, 1))}
    fixed = aggregate(by_task, "nll", np.random.default_rng(0))["neg_p"]
    assert fixed.improvement_interval == (0.5, 0.5)  # runs never leave their task
    assert (fixed.mean_rank, fixed.mean_rank_interval) == (1.5, (1.5, 1.5))


def test_bootstrap_interval_covers_with_ten_runs() -> None:
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(150):
        found = aggregate({"nll": rng.normal(size=(10, 5))}, "nll", rng, resamples=400)["nll"]
        low, high = found.iqm_interval or (1, 0)
        hits.append(low <= 0 <= high)
    assert 0.88 <= np.mean(hits) <= 0.99


def test_aggregate_refuses_what_does_not_match() -> None:
    rng = np.random.default_rng(0)
    for scores, message in (
        ({"neg_p": np.zeros((3, 2))}, "baseline nll"),
        ({"nll": np.zeros((3, 2)), "neg_p": np.zeros((3, 1))}, "common tasks"),
        ({"nll": np.array([[0.1, np.nan]])}, "not finite"),
    ):
        with pytest.raises(InputError, match=message):
            aggregate(scores, "nll", rng)
