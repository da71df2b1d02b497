"""Ways to spend on runs with curves, replayed on recorded cells: what each keeps, and what it pays.

The unit of cost is a full run, its steps and the score at its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from advisor.advice.belief import POINTS, Belief
from advisor.advice.learnt_belief import Learnt
from advisor.advice.mixture import Mixture
from harness.experiments.race.curves import RACERS, STAGES, CurveCell
from harness.experiments.race.fit_belief import Scored, fit_belief
from harness.experiments.replay.cells import Scores
from harness.experiments.replay.policies import Plan, share_over
from harness.study.race import Costs, stands

LOOK = 0.05
"""Cost of a look at the development documents."""
STEPS = 1 - LOOK
"""Cost of all steps of a run."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a policy does on a cell."""

    kept: int
    """Number of the arm."""
    cost: float
    """Full runs."""
    promised: float | None = None
    """Points that it expects to lose, of a race."""


Policy = Callable[[CurveCell], Outcome]


def regret(cell: CurveCell, arm: int) -> float:
    """Test points below the best objective, each at the rate that its development problems prefer."""
    rates: dict[str, list[int]] = defaultdict(list)
    for number, (name, _) in enumerate(RACERS):
        rates[name].append(number)
    best = max(cell.test[_kept(cell, arms)] for arms in rates.values())
    return float(best - cell.test[arm])


def score(cell: CurveCell, arm: int, stage: int) -> float:
    """Points on the development problems."""
    return POINTS * float(cell.development[arm, stage].mean())


def _kept(cell: CurveCell, arms: Sequence[int], stage: int = len(STAGES) - 1) -> int:
    return max(arms, key=lambda arm: score(cell, arm, stage))


def policy_of(plan: Plan) -> Policy:
    """The runs of a plan, each to its end."""

    def policy(cell: CurveCell) -> Outcome:
        last = len(STAGES) - 1
        ends = {racer: score(cell, arm, last) for arm, racer in enumerate(RACERS)}
        kept, made = plan.kept(Scores(development=ends, test={}))
        return Outcome(kept=RACERS.index(kept), cost=made)

    return policy


def halving(keep: Sequence[int]) -> Policy:
    """All arms to the first stage, of which the best so many go on, and so on.

    Args:
        keep: arms that go on after each stage; 0 for a stage that is passed over.
    """

    def policy(cell: CurveCell) -> Outcome:
        arms, cost, at = list(range(len(RACERS))), 0.0, 0.0
        for stage, (share, number) in enumerate(zip(STAGES, keep, strict=True)):
            if not number:
                continue
            cost += len(arms) * (STEPS * (share - at) + LOOK)
            arms = sorted(arms, key=lambda arm: -score(cell, arm, stage))[:number]
            at = share
        if at < 1:
            cost += STEPS * (1 - at) + LOOK
        return Outcome(kept=arms[0], cost=cost)

    return policy


def by_prior(belief_of: Callable[[CurveCell], Belief]) -> Policy:
    """The one run that is expected to be best."""
    return lambda cell: Outcome(kept=int(belief_of(cell).points().argmax()), cost=1.0)


def oracle(cell: CurveCell) -> Outcome:
    """The one run that is best on the test problems."""
    return Outcome(kept=int(cell.test.argmax()), cost=1.0)


def engine(belief_of: Callable[[CurveCell], Belief | Mixture], point_cost: float) -> Policy:
    """The race as `advisor confirm --plan race` runs it."""
    costs = Costs(training=(STEPS,) * len(RACERS), scoring=LOOK, last=LOOK, point_cost=point_cost)

    def policy(cell: CurveCell) -> Outcome:
        prior, reached = belief_of(cell), [0] * len(RACERS)
        seen: dict[tuple[int, int], np.ndarray] = {}
        documents = len(cell.development[0, 0])
        cost = 0.0
        while True:
            state = stands(prior, STAGES, seen, costs, documents=documents)
            if state.piece is None:
                return Outcome(kept=state.leader, cost=cost, promised=state.regret)
            arm, stage = state.piece.arm, state.piece.share
            cost += costs.of(arm, STAGES, reached[arm], stage + 1)
            for passed in range(reached[arm], stage + 1):
                seen[arm, passed] = cell.development[arm, passed]
            reached[arm] = stage + 1

    return policy


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a policy comes to over some cells."""

    cost: float
    """Mean, full runs."""
    regrets: tuple[float, ...]
    """Points, of each cell."""
    promised: tuple[float, ...]
    """Points that it expected to lose; empty where it expects nothing."""

    @property
    def mean(self) -> float:
        """Regret over the cells."""
        return float(np.mean(self.regrets))

    @property
    def over(self) -> float:
        """Share of cells that lose more than five points."""
        return share_over(self.regrets)

    @property
    def standard_error(self) -> float:
        """Of the mean."""
        return float(np.std(self.regrets, ddof=1) / np.sqrt(len(self.regrets)))


def spent(cells: Sequence[CurveCell], policy: Policy) -> Spent:
    """What a policy comes to."""
    found = [policy(cell) for cell in cells]
    return Spent(
        cost=float(np.mean([one.cost for one in found])),
        regrets=tuple(regret(c, one.kept) for c, one in zip(cells, found, strict=True)),
        promised=tuple(one.promised for one in found if one.promised is not None),
    )


def left_out(cells: Sequence[CurveCell], scores: Sequence[Scored]) -> dict[tuple[str, int], Learnt]:
    """By skill and pretraining text, what is learnt from cells that share neither."""
    return {
        (skill, seed): fit_belief([s for s in scores if s.skill != skill and s.seed != seed])
        for skill, seed in {cell.group for cell in cells}
    }
