"""Rows of arms against a baseline, held against textbook tests on the documents that both have."""

import numpy as np
import pytest
from scipy.stats import sem, ttest_rel

from harness.records.arm import BASE, NLL, Arm
from harness.statistics.paired import paired_difference
from harness.study.contrasts import Board, Race, Sheet, contrasts

RNG = np.random.default_rng(0)
UNTOUCHED, TUNED = Arm(objective=BASE), Arm(objective=NLL)


def sheet(share: float, *, lacks: str = "", documents: int = 200) -> Sheet:
    """A run of which this share of the documents is right, perhaps without one of them."""
    names = [f"d{i}" for i in range(documents) if f"d{i}" != lacks]
    return Sheet(documents=tuple(names), values=(RNG.random(len(names)) < share).astype(float))


def board(base: list[Sheet], tuned: list[Sheet]) -> Board:
    runs = {UNTOUCHED: dict(enumerate(base)), TUNED: dict(enumerate(tuned))}
    return Board(task="t", temperature=1.0, runs=runs)


@pytest.mark.parametrize("turned", [False, True])
def test_several_runs_of_the_base_are_one_pair_with_a_single_fine_tune(turned: bool) -> None:
    """Breaks where scoring the base again makes seeds of one checkpoint, which is then called better."""
    base = [sheet(0.4), sheet(0.4, lacks="d0"), sheet(0.4)]
    tuned = sheet(0.8)
    arms = (UNTOUCHED, TUNED) if turned else (TUNED, UNTOUCHED)
    [row] = contrasts(board(base, [tuned]), arms[:1], arms[1], Race())
    mean = np.mean([base[0].values[1:], base[1].values, base[2].values[1:]], axis=0)
    sides = (mean, tuned.values[1:]) if turned else (tuned.values[1:], mean)
    assert row.difference.seeds == 1 and row.verdict == ("behind" if turned else "ahead")
    assert row.difference.documents == 199
    assert row.adjusted_p == pytest.approx(ttest_rel(*sides).pvalue)
    assert row.difference.estimate == pytest.approx(100 * float(np.mean(sides[0] - sides[1])))


def test_a_single_run_of_the_base_is_held_against_every_seed() -> None:
    [row] = contrasts(
        board([sheet(0.4)], [sheet(0.8) for _ in range(3)]), [TUNED], UNTOUCHED, Race()
    )
    assert row.difference.seeds == 3 and row.verdict == "better"


def test_errors_over_tasks_are_of_the_documents_that_both_arms_have() -> None:
    """Breaks where tasks of other sizes or levels count as an error, or a task keeps documents it has not."""
    sizes = (40, 10)
    whole = Sheet(
        documents=tuple(f"d{i}" for i in range(50)),
        values=RNG.normal(size=50) + np.repeat([0.0, 5.0], sizes),
        sizes=sizes,
    )
    zeros = Sheet(documents=whole.documents[5:48], values=np.zeros(43), sizes=(35, 8))
    [row] = contrasts(board([zeros], [whole]), [TUNED], UNTOUCHED, Race())
    parts = whole.values[5:40], whole.values[40:48]
    errors = [len(part) / 43 * sem(part) for part in parts]
    assert row.difference.standard_error == pytest.approx(100 * np.hypot(*errors))


def test_equivalence_takes_an_interval_at_the_level_that_the_arms_share() -> None:
    """Breaks where each of five arms has the 90 % interval of one, which the page does not say."""
    names = tuple(map(str, range(60)))
    arms = [Arm(objective=name) for name in ("nll", "a", "b", "c", "d", "e")]
    scores = {arm: RNG.random((3, 60)) for arm in arms}
    runs = {
        arm: {seed: Sheet(documents=names, values=own) for seed, own in enumerate(of_arm)}
        for arm, of_arm in scores.items()
    }
    for several, level in ((arms, 0.98), (arms[:2], 0.9)):
        board = Board(task="t", temperature=1.0, runs=runs)
        for row in contrasts(board, several, arms[0], Race()):
            alone = paired_difference(scores[row.arm], scores[arms[0]]).interval_at(1 - level)
            assert row.difference.interval_90 == pytest.approx([100 * end for end in alone])
