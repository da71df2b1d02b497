"""Whether a task can tell the runs of a plan apart: made-up scores of which the answer is known."""

from functools import partial

import numpy as np
import pytest

from harness.statistics.paired import task_weights
from harness.statistics.telling import ending


def shares(right: int, of: int = 400, *, seed: int = 0) -> np.ndarray:
    """So many documents right, at places drawn from a seed."""
    values = np.zeros(of)
    values[np.random.default_rng(seed).permutation(of)[:right]] = 1.0
    return values


ALIKE = [shares(160, seed=seed) for seed in range(4)]
"""40 % right each, at other places: no pair is told apart."""


@pytest.mark.parametrize(
    ("base", "tuned", "learnt", "expected"),
    [
        (shares(393), [], False, "ceiling"),  # 98.25 %
        (shares(380), [], False, None),  # 95 %: a run that has all right is told from it
        (shares(4, 6), [], False, "few"),
        (shares(3, 40), [], False, None),
        (shares(2), [], True, None),  # only a run tells whether training lifts it
        (shares(2), [shares(0)], False, None),  # NLL may still
        (shares(2), [shares(0)], True, "floor"),
        (shares(2), [shares(12)], True, None),  # 3 % is none
        (ALIKE[0], ALIKE[1:2], True, None),  # one of two that are needed
        (ALIKE[0], ALIKE[1:3], True, "noise"),
        (ALIKE[0], [ALIKE[1], shares(240)], True, None),  # 20 points ahead
        (ALIKE[0], [shares(100), shares(110)], True, None),  # both are behind
    ],
)
def test_a_plan_ends_where_no_further_run_would_be_told_apart(
    base: np.ndarray, tuned: list[np.ndarray], learnt: bool, expected: str | None
) -> None:
    assert ending(base, tuned, generated=True, learnt=learnt) == expected


def test_the_mean_over_tasks_decides_whether_anything_is_right() -> None:
    """Breaks where 1,000 documents at nothing hide a task of 20 that a run has learnt: 40 points of 100."""
    sizes = (1000, 20)
    weights, nothing = task_weights(sizes), np.zeros(1020)
    learnt = np.concatenate([np.zeros(1000), shares(16, 20)])
    said = partial(ending, sizes=sizes, generated=True, learnt=True)
    assert said(nothing, [weights * learnt]) is None
    assert said(nothing, [nothing]) == "floor"
    assert ending(nothing, [learnt], generated=True, learnt=True) == "floor"  # of one task
    known = np.concatenate([np.ones(1000), shares(16, 20)])
    assert (
        said(weights * known, []) is None
    )  # 90 on average, though 99.6 % of the documents are right


def test_of_choices_one_run_within_noise_is_enough() -> None:
    assert ending(ALIKE[0], ALIKE[1:2], generated=False, learnt=False) == "noise"
    assert ending(ALIKE[0], [shares(240)], generated=False, learnt=False) is None
    assert ending(ALIKE[0], [], generated=False, learnt=False) is None
