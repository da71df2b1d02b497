"""Rank correlations of statistics with gains, over cells."""

from pathlib import Path

import pytest
from scipy.stats import spearmanr

from harness.experiments.real.signs import correlation, signs


def test_it_is_spearmans_with_ties_and_an_interval() -> None:
    values, gains = [0.1, 0.4, 0.4, 2.0, 3.0, 5.0], [1.0, 0.0, 3.0, 3.0, 9.0, 4.0]
    found = correlation([{"entropy": value} for value in values], gains, "entropy")
    assert found is not None
    right, low, high = found
    assert right == pytest.approx(spearmanr(values, gains).statistic)
    assert -1 <= low < right < high <= 1
    assert found == correlation([{"entropy": value} for value in values], gains, "entropy")


def test_cells_without_the_statistic_do_not_count() -> None:
    known = [{"p_eos": float(i)} for i in range(5)] + [{}]
    assert correlation(known, [0.0, 1.0, 2.0, 3.0, 4.0, -9.0], "p_eos") == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "gains", [[1.0] * 6, [1.0, 2.0]], ids=["the same everywhere", "too few cells"]
)
def test_what_tells_nothing_is_not_told(gains: list[float]) -> None:
    known = [{"top1": float(i)} for i in range(len(gains))]
    assert correlation(known, gains, "top1") is None


def test_few_real_cells_have_no_table() -> None:
    assert signs([], Path()) == []
