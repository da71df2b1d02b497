"""Ways to decide what to train with, and what each of them loses on a cell.

A plan of runs has nothing that is fitted; a rule that learns from cells is judged on cells of skills and
pretraining texts that it has not seen, and so is a plan that was chosen among others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from advisor.advice.replayed import MUCH
from harness.experiments.replay.cells import Replayed, RunKey, Scores, greedily
from harness.records.arm import NLL


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Runs of which the best on the development problems is kept."""

    runs: tuple[RunKey, ...]
    """Made in any case."""
    more: tuple[RunKey, ...] = ()
    """Each made where the best of those before it scores below `below`."""
    below: float = 95.0
    """Points on the development problems."""

    def kept(self, cell: Scores) -> tuple[RunKey, int]:
        """The run that is kept, and how many were made."""
        best, made = cell.kept(self.runs), len(self.runs)
        for run in self.more:
            if cell.development[best] >= self.below:
                break
            best, made = cell.kept((best, run)), made + 1
        return best, made

    def either_way(self) -> Plan:
        """The same runs, each decoded as suits it; of cells as `either` makes them."""
        return replace(
            self,
            runs=(*self.runs, *map(greedily, self.runs)),
            more=(*self.more, *map(greedily, self.more)),
        )


Policy = Callable[[Replayed], tuple[RunKey, int]]
"""A cell to the run that is kept and the number of runs made."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What a policy loses over some cells, points below the best objective of each."""

    regrets: tuple[float, ...]
    """Of each cell."""
    runs: float
    """Mean number of fine-tunes."""

    @property
    def mean(self) -> float:
        """Over the cells."""
        return float(np.mean(self.regrets))

    @property
    def nine_tenths(self) -> float:
        """The regret that nine cells of ten stay below."""
        return float(np.quantile(self.regrets, 0.9))

    @property
    def over(self) -> float:
        """Share of the cells that lose more than five points."""
        return share_over(self.regrets)

    @property
    def worst(self) -> float:
        """The largest."""
        return max(self.regrets)


def share_over(regrets: Sequence[float]) -> float:
    """Share of the regrets, points, that are above five."""
    # Shares of 300 problems: 15 of them are 5 points, but for the last bit.
    return float(np.mean(np.round(regrets, 6) > MUCH))


def lost(cells: Sequence[Replayed], policy: Policy) -> Lost:
    """What a policy loses."""
    regrets, runs = [], 0
    for cell in cells:
        kept, made = policy(cell)
        regrets.append(cell.regret(kept))
        runs += made
    return Lost(regrets=tuple(regrets), runs=runs / len(cells))


def race(cell: Replayed) -> tuple[RunKey, int]:
    """The objective that leads after an eighth of the steps, at the low rate; a cell without a race: NLL.

    Its cost is counted by whoever shows it: an eighth of a run an objective, and one run.
    """
    leader = max(cell.race, key=lambda name: (cell.race[name], name == NLL), default=NLL)
    rates = [run for run in cell.test if run[0] == leader and run[1] != "tenth"]
    return cell.kept(rates), 1


def groups(cells: Iterable[Replayed]) -> list[tuple[str, int]]:
    """Every pair of a skill and a pretraining text that cells have."""
    return sorted({cell.group for cell in cells})


def chosen_elsewhere(
    both: Sequence[Sequence[Replayed]],
    size: int,
    among: Sequence[RunKey],
    *,
    more: bool = False,
) -> list[Lost]:
    """What the best plan of a size loses on each set where it was chosen on other skills and texts.

    Best is what loses least, summed over the sets.

    Args:
        both: the same cells, sampled and greedy.
        size: number of runs.
        among: runs that a plan may have.
        more: whether it has one more, made where the others score too little.
    """
    fixed = itertools.combinations(among, size)
    plans = [
        Plan(runs=runs, more=further)
        for runs in fixed
        for further in (((run,) for run in among if run not in runs) if more else ((),))
    ]
    tables = [np.array([lost(cells, plan.kept).regrets for plan in plans]) for cells in both]
    chosen = {}
    for group in groups(both[0]):
        masks = [np.array([_apart(cell, group) for cell in cells]) for cells in both]
        if all(mask.any() for mask in masks):
            sums = sum(t[:, mask].mean(axis=1) for t, mask in zip(tables, masks, strict=True))
            chosen[group] = plans[int(np.argmin(sums))]
    known = [[cell for cell in cells if cell.group in chosen] for cells in both]
    return [lost(cells, lambda cell: chosen[cell.group].kept(cell)) for cells in known]


def _apart(cell: Replayed, group: tuple[str, int]) -> bool:
    """Whether a cell shares neither skill nor pretraining text with a group."""
    skill, text = group
    return cell.cell.skill != skill and cell.cell.seed != text
