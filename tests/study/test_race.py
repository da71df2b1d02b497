"""What a race does next: the leader is finished, what tells nothing is not bought, what costs little is."""

import numpy as np
import pytest

from advisor.advice.belief import Array, Belief
from advisor.advice.mixture import Mixture
from harness.study.race import Costs, Piece, stands

SHARES = (0.25, 0.5, 1.0)
COSTS = Costs(training=(0.9,) * 3, scoring=0.05, last=0.1)


def prior(means: list[float], sd: float, own: float = 0.03) -> Belief:
    """Arms that do not tell of each other, each alike at all its shares."""
    arms, shares = len(means), len(SHARES)
    mean = np.repeat(np.array(means)[:, None], shares, axis=1)
    one = np.full((shares, shares), sd**2) + own**2 * np.eye(shares)
    return Belief(mean=mean, covariance=np.kron(np.eye(arms), one))


def right(share: float, documents: int = 100) -> Array:
    """Answers of which the first so many are right."""
    return (np.arange(documents) < share * documents).astype(float)


def test_pieces_of_a_run_cost_what_the_run_costs() -> None:
    whole = COSTS.of(0, SHARES, 0, 3)
    assert whole == pytest.approx(0.9 + 2 * 0.05 + 0.1)
    assert sum(COSTS.of(0, SHARES, i, i + 1) for i in range(3)) == pytest.approx(whole)
    assert COSTS.of(0, SHARES, 2, 2) == 0
    assert COSTS.of(0, SHARES, 3, 3) == 0


def test_where_all_is_known_the_best_arm_is_trained_to_its_end_and_nothing_else() -> None:
    sure, seen = prior([0.8, 1.03, 0.4], sd=0.01), dict[tuple[int, int], Array]()
    for share in range(3):
        state = stands(sure, SHARES, seen, COSTS, documents=100)
        assert (state.leader, state.piece and state.piece.arm) == (1, 1)
        assert state.piece is not None
        assert state.piece.share == share
        seen[1, share] = right(0.73)
    state = stands(sure, SHARES, seen, COSTS, documents=100)
    assert state.piece is None
    assert state.regret == pytest.approx(0, abs=1e-3)


def test_arms_that_may_well_be_better_are_tried_before_the_end_is_paid_for() -> None:
    open_, seen = prior([0.8, 0.8, 0.8], sd=0.3), dict[tuple[int, int], Array]()
    tried = []
    truth = {0: 0.5, 1: 0.9, 2: 0.2}
    while (piece := stands(open_, SHARES, seen, COSTS, documents=100).piece) is not None:
        tried.append((piece.arm, piece.share))
        seen[piece.arm, piece.share] = right(truth[piece.arm])
        assert len(tried) <= 9
    assert {arm for arm, _ in tried} == {0, 1, 2}
    assert [arm for arm, share in tried if share == 2] == [1]  # the best alone is finished
    assert len(set(tried)) == len(tried)


def test_what_a_point_is_worth_decides_how_much_is_tried() -> None:
    open_ = prior([0.8, 0.85, 0.9], sd=0.1)
    made = {}
    for point_cost in (1e-3, 1.0, 100.0):
        costs = Costs(training=(0.9,) * 3, scoring=0.05, last=0.1, point_cost=point_cost)
        seen: dict[tuple[int, int], Array] = {}
        while (piece := stands(open_, SHARES, seen, costs, documents=100).piece) is not None:
            seen[piece.arm, piece.share] = right(0.6 + 0.05 * piece.arm)
        made[point_cost] = len(seen)
    assert made[1e-3] == 3  # the leader, and nothing else
    assert made[1e-3] <= made[1.0] <= made[100.0]
    assert made[100.0] > 3


def test_arms_that_failed_or_are_busy_are_passed_over() -> None:
    open_ = prior([1.2, 0.8, 0.8], sd=0.3)
    assert stands(open_, SHARES, {}, COSTS, documents=100).leader == 0
    failed = stands(open_, SHARES, {}, COSTS, documents=100, out=[0])
    assert failed.leader != 0
    assert failed.piece is not None
    assert failed.piece.arm != 0
    busy = stands(open_, SHARES, {}, COSTS, documents=100, busy=[0])
    assert busy.leader == 0
    assert busy.piece is None or busy.piece.arm != 0
    assert stands(open_, SHARES, {}, COSTS, documents=100, busy=[0, 1, 2]).piece is None


def test_until_it_is_decided_pieces_are_bought_whatever_they_cost() -> None:
    costs = Costs(training=(0.9,) * 3, scoring=0.05, last=0.1, point_cost=1e3)
    open_, seen = prior([0.8, 0.8, 0.8], sd=0.3), dict[tuple[int, int], Array]()
    truth = {0: 0.5, 1: 0.6, 2: 0.45}
    while True:
        state = stands(open_, SHARES, seen, costs, documents=100, until_decided=True)
        if state.piece is None:
            break
        if (state.leader, 2) in seen:
            assert state.chance_over_5 >= 0.1  # else it had ended
        seen[state.piece.arm, state.piece.share] = right(truth[state.piece.arm])
    assert state.chance_over_5 < 0.1
    assert state.leader == 1


def test_no_arm_is_judged_before_the_first_share_that_counts() -> None:
    open_ = prior([0.8, 0.8, 0.8], sd=0.3)
    seen: dict[tuple[int, int], Array] = {}
    piece = stands(open_, SHARES, seen, COSTS, documents=100, first=1).piece
    assert isinstance(piece, Piece)
    assert piece.share == 1


def test_a_prior_that_prefers_the_wrong_arm_is_left_where_it_is_doubted() -> None:
    sure = prior([1.2, 0.5, 0.5], sd=0.08)
    doubted = Mixture(beliefs=(sure, prior([0.7] * 3, sd=0.3)), odds=(0.8, 0.2))
    truth, kept = {0: 0.3, 1: 0.9, 2: 0.3}, {}
    for name, before in {"sure": sure, "doubted": doubted}.items():
        seen: dict[tuple[int, int], Array] = {}
        while (state := stands(before, SHARES, seen, COSTS, documents=100)).piece is not None:
            seen[state.piece.arm, state.piece.share] = right(truth[state.piece.arm])
        kept[name] = state.leader
    assert kept["doubted"] == 1
    assert kept["sure"] != 1
