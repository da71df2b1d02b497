"""The race: which piece of evidence to buy next, and when another is not worth its price.

Pure: the belief and what was scored in, the next piece out; so a race that was killed goes on where it was. A
piece continues one arm to the next share of its steps and scores it there. Prices are in points: a full run
costs `1 / point_cost` of them. Finishing the arm that is kept has to be paid in any case, so that a piece of
the leader is free but for what another arm would have told instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advisor.advice.belief import Array, Belief, counting_noise, observed, worth
from advisor.advice.mixture import Mixture
from advisor.advice.plan import LIKELY
from advisor.advice.replayed import MUCH

Place = tuple[int, int]
"""Number of an arm and of a share of its steps."""
MARGIN = 1e-9
"""Points; what is worth less is worth nothing."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a race pays with, in full runs of NLL with their scoring."""

    training: tuple[float, ...]
    """Of every arm, all of its steps."""
    scoring: float
    """Of one look before the end."""
    last: float
    """Of the scores at the end."""
    point_cost: float = 1.0
    """What a point is worth, in full runs."""

    def of(self, arm: int, shares: Sequence[float], reached: int, until: int) -> float:
        """Full runs of taking an arm from a share to another, scored at each in between.

        Args:
            arm: number of the arm.
            shares: of the steps, at which scores are had.
            reached: how many of them the arm has.
            until: how many it is to have.
        """
        if reached == until:
            return 0.0
        steps = shares[until - 1] - (shares[reached - 1] if reached else 0.0)
        looks = until - reached - 1 if until == len(shares) else until - reached
        last = self.last if until == len(shares) else 0.0
        return self.training[arm] * steps + self.scoring * looks + last


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The next piece of evidence."""

    arm: int
    """Whose run goes on."""
    share: int
    """Place of the share up to which it does."""
    worth: float
    """Points that the choice is expected to be better by for what this piece and those after it tell."""
    cost: float
    """Of those pieces, full runs."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a race stands."""

    belief: Belief
    """After all scores."""
    leader: int
    """The arm that is best to keep, its price included."""
    regret: float
    """Points by which it is expected to stay below the best arm."""
    chance_over_5: float
    """Chance that it stays more than five points below."""
    piece: Piece | None
    """What to do next; None: nothing is worth its price, and the leader is trained to its end."""


def stands(
    prior: Belief | Mixture,
    shares: Sequence[float],
    right: Mapping[Place, Array],
    costs: Costs,
    *,
    documents: int,
    first: int = 0,
    out: Collection[int] = (),
    busy: Collection[int] = (),
    until_decided: bool = False,
) -> State:
    """Where a race stands and what it does next.

    Args:
        prior: before any score.
        shares: of the steps, at which scores are had; the last is 1.
        right: [documents] share of a document's answers that are right, by arm and share.
        costs: of pieces and points.
        documents: on which arms are scored.
        first: place of the first share whose score may end an arm.
        out: arms that failed.
        busy: arms that another process goes on with.
        until_decided: buy until the leader is unlikely to lose more than five points, and nothing after; the
            costs then say by `point_cost` how little the price counts until there.
    """
    belief = after(prior, right)
    reached = [max((k + 1 for a, k in right if a == arm), default=0)
               for arm in range(len(belief.mean))]  # fmt: skip
    prices = np.array([_price(arm, shares, reached[arm], costs, out)
                       for arm in range(len(reached))])  # fmt: skip
    leader = int((belief.points() - prices).argmax())
    chance = belief.chance_below(leader, MUCH)
    free = [arm for arm in range(len(reached)) if arm not in out and arm not in busy]
    found = None
    if not until_decided or chance >= LIKELY:
        found = _best_piece(belief, shares, reached, prices, costs, documents, first, free)
    if found is None and leader in free and reached[leader] < len(shares):
        found = _continued(leader, reached[leader], shares, costs)
    return State(
        belief=belief,
        leader=leader,
        regret=belief.regret_of(leader),
        chance_over_5=chance,
        piece=found,
    )


def after(prior: Belief | Mixture, right: Mapping[Place, Array]) -> Belief:
    """The belief once some scores are known, [documents] share of right answers by arm and share."""
    if not right:
        return prior.given([], np.zeros(0), np.zeros((0, 0)))
    angles, noise = observed(np.stack([right[place] for place in right]))
    return prior.given([prior.place(*place) for place in right], angles, noise)


def _price(
    arm: int, shares: Sequence[float], reached: int, costs: Costs, out: Collection[int]
) -> float:
    """Points of finishing an arm."""
    if arm in out:
        return float("inf")
    return costs.of(arm, shares, reached, len(shares)) / costs.point_cost


def _best_piece(
    belief: Belief,
    shares: Sequence[float],
    reached: Sequence[int],
    prices: Array,
    costs: Costs,
    documents: int,
    first: int,
    free: Sequence[int],
) -> Piece | None:
    """The piece with the most worth beyond its price for its cost; none where no price is met."""
    best, rate = None, 0.0
    for arm in free:
        at = reached[arm]
        for share in range(max(at, first), len(shares)):
            cost = costs.of(arm, shares, at, share + 1)
            then = prices.copy()
            then[arm] -= cost / costs.point_cost
            noise = counting_noise(documents)
            gain = worth(belief, belief.place(arm, share), noise, prices, then)
            net = (gain - cost / costs.point_cost) / cost
            if net > max(rate, MARGIN):
                best = Piece(arm=arm, share=max(at, first), worth=gain, cost=cost)
                rate = net
    return best


def _continued(arm: int, reached: int, shares: Sequence[float], costs: Costs) -> Piece:
    """The leader's next piece, which is paid for in any case."""
    cost = costs.of(arm, shares, reached, reached + 1)
    return Piece(arm=arm, share=reached, worth=0.0, cost=cost)
