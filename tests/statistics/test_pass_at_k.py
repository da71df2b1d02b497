"""pass@k against all choices of k answers, and coverage against sums by hand."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from advisor.errors import InputError
from harness.statistics.pass_at_k import coverage, pass_at_k, share_between


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_pass_at_k_is_the_mean_over_all_choices_of_k_answers(k: int) -> None:
    values = np.random.default_rng(0).random((4, 7))
    wanted = [
        np.mean([max(row[list(some)]) for some in combinations(range(7), k)]) for row in values
    ]
    assert pass_at_k(values, k) == pytest.approx(wanted)


def test_of_right_and_wrong_answers_it_is_the_published_formula() -> None:
    n, k = 32, 16
    values = [[1.0] * c + [0.0] * (n - c) for c in range(n + 1)]
    wanted = [1 - comb(n - c, k) / comb(n, k) for c in range(n + 1)]
    assert pass_at_k(values, k) == pytest.approx(wanted)


def test_more_answers_than_there_are_are_refused() -> None:
    with pytest.raises(InputError, match="pass@16 needs 16 answers to an item, not 4"):
        pass_at_k([[1, 0, 0, 0]], 16)


def test_share_between_leaves_out_what_is_nearly_never_and_nearly_always_right() -> None:
    values = [[0] * 20, [1] + [0] * 19, [1] * 2 + [0] * 18, [1] * 19 + [0], [1] * 18 + [0] * 2]
    assert share_between(values) == pytest.approx(2 / 5)  # .1 and .9; .05 and .95 are not within


def test_coverage_sums_falls_and_rises_of_the_items_between() -> None:
    def rows(*right: int) -> list[list[int]]:
        return [[1] * count + [0] * (4 - count) for count in right]

    # pass@2 by count of right answers of 4: 0, 1/2, 5/6, 1, 1
    found = coverage(rows(0, 1, 1, 2, 4), rows(4, 0, 2, 1, 0), k=2)
    assert found.items == 3
    assert 3 * found.lost == pytest.approx(1 / 2 + 1 / 3)
    assert 3 * found.gained == pytest.approx(1 / 3)
    assert found.ratio == pytest.approx(2.5)


def test_where_nothing_is_gained_there_is_no_ratio() -> None:
    nothing = coverage([[1, 0, 0]], [[0, 0, 0]], k=2)
    assert nothing.ratio is None
    assert coverage([[0, 0, 0]], [[1, 0, 0]], k=2).items == 0
