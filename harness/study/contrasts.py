"""Arms on one task at one temperature, and what holding them against a baseline says: the only such code.

Pure. Studies, records and logged samples all come here as a `Board`; `confirm`, `compare`, `report` and
`calibrate` all read its `Row`s. Differences are paired by document and seed; Holm's adjustment is over
the arms held against one baseline on one board, and intervals are adjusted alike; "equivalent" takes the
interval at Bonferroni's level, so that among all arms a false one is said in at most 5 % of studies.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError
from harness.records.arm import BASE, Arm
from harness.records.metrics import in_unit
from harness.statistics.paired import (
    Difference,
    Verdict,
    holm,
    holm_levels,
    paired_difference,
    probability,
    still_in_the_race,
    verdict,
)
from harness.statistics.power import Spread, spread

ALPHA = 0.05
SEED_SD = 0.15
"""Standard deviation over seeds of a paired mean with which a dropped arm is still called worse, in the
unit of the scores: 10 points for each of the two arms. (Racing itself drops with less, which costs no
error: an arm that is dropped and not worse is "not resolved".)"""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What one run scored."""

    documents: tuple[str, ...]
    """Stable ids, distinct."""
    values: Array
    """[documents], means over repeats, in the metric's own unit; of several tasks times `task_weights`."""
    sizes: tuple[int, ...] = ()
    """Documents of each task, in order; empty where there is one."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """What can be held against each other."""

    task: str
    """Name of the task, or of all together."""
    study: str = ""
    """What tells the study from others; empty where there is one."""
    temperature: float | None
    """At which arms are decoded; 0 is greedy, None where nothing is generated."""
    runs: Mapping[Arm, Mapping[int, Sheet]]
    """By arm and seed; a single run of the base is held against every seed."""
    higher_is_better: bool = True
    """Direction of the metric."""
    scale: float = 100.0
    """What scores and differences are multiplied by: 100 for shares, so that they are points, else 1."""
    unit: str = "points"
    """Of scores and differences after scaling."""

    @property
    def name(self) -> str:
        """Task, after the study where there are several."""
        return f"{self.study}: {self.task}" if self.study else self.task

    def mean(self, arm: Arm) -> float:
        """Over seeds and documents, scaled."""
        means = [sheet.values.mean() for sheet in self.runs[arm].values()]
        return self.scale * float(np.mean(means))

    def margin(self, asked: float | None) -> float | None:
        """As `default_margin`."""
        return default_margin(asked, self.unit)


def default_margin(asked: float | None, unit: str) -> float | None:
    """The difference that does not matter: as asked, else one point for shares and none for other units."""
    return asked if asked is not None else (1.0 if unit == "points" else None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm against one baseline."""

    arm: Arm
    baseline: Arm
    """What it is held against; `decoding` says at which temperature, where that is another."""
    task: str
    """Name of the board: the task, after the study where there are several."""
    temperature: float | None
    """At which the arm was decoded."""
    score: float
    """The arm's mean over the seeds that are compared, in the unit."""
    baseline_score: float
    """The baseline's."""
    difference: Difference
    """Arm less baseline in the unit of the board; `interval` has the level that goes with `adjusted_p`."""
    adjusted_p: float
    """Holm over the arms against this baseline."""
    verdict: Verdict
    """In the metric's direction: an arm with the lower perplexity is better."""
    dropped: bool
    """Whether racing dropped the arm, so that it has fewer seeds and p = 1."""
    higher_is_better: bool = True
    """Direction of the metric."""
    unit: str = "points"
    """Of the scores and the difference."""

    @property
    def gain(self) -> float:
        """The difference in the direction that is better."""
        return self.difference.estimate if self.higher_is_better else -self.difference.estimate

    @property
    def shown(self) -> tuple[str, str, str]:
        """The difference and the ends of its interval, signed, with the digits of their unit."""
        low, high = self.difference.interval
        gain, low_end, high_end = (
            in_unit(x, self.unit, sign=True) for x in (self.difference.estimate, low, high)
        )
        return gain, low_end, high_end

    @property
    def gain_interval(self) -> tuple[float, float]:
        """The interval in the direction that is better."""
        low, high = self.difference.interval
        return (low, high) if self.higher_is_better else (-high, -low)


@dataclass(frozen=True, kw_only=True)
class Race:
    """What a comparison rests on besides the scores; by default nothing was dropped."""

    margin: float | None = None
    """Difference that does not matter, in the unit of the board; None: the board's own."""
    dropped: frozenset[Arm] = frozenset()
    """Arms that racing dropped: they enter with p = 1, so that the family keeps its size."""
    looks: int = 1
    """Of the race, see `harness.statistics.paired.still_in_the_race`."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Scores of two arms on the documents that all of their runs have."""

    first: Array
    """[seeds, documents]."""
    second: Array
    """[seeds, documents]."""
    sizes: tuple[int, ...]
    """Documents of each task, in order; empty where there is one."""
    most: int
    """Documents of the largest run."""

    def spread(self) -> Spread:
        """Standard deviations of the difference."""
        return spread(self.first, self.second, sizes=self.sizes)


FIGURES: dict[str, Callable[[Row], str]] = {
    "p (Holm)": lambda row: "dropped" if row.dropped else probability(row.adjusted_p),
}
"""What tables say of a row beside its scores, its difference and its verdict: head to text."""


def contrasts(board: Board, arms: Iterable[Arm], baseline: Arm, race: Race) -> list[Row]:
    """A row for each of some arms against a baseline.

    Args:
        board: holds all of them.
        arms: the family of Holm's adjustment, in the order of the rows.
        baseline: is none of them.
        race: which of the arms were dropped, and the margin.

    Raises:
        InputError: an arm has no runs, or fewer than two documents are in common.
    """
    chosen = [arm for arm in arms if arm != baseline]
    sign = 1.0 if board.higher_is_better else -1.0
    pairs = [paired(board, arm, baseline) for arm in chosen]
    found = [
        paired_difference(sign * pair.first, sign * pair.second, sizes=pair.sizes) for pair in pairs
    ]
    raw = [1.0 if arm in race.dropped else d.p_value for arm, d in zip(chosen, found, strict=True)]
    wide = board.margin(race.margin)
    alone = 2 * ALPHA / max(1, len(chosen))  # two one-sided tests, Bonferroni's share of each
    steps = zip(chosen, pairs, found, holm(raw), holm_levels(raw, alpha=ALPHA), strict=True)
    rows = []
    for arm, pair, difference, p, level in steps:
        difference = replace(difference, interval_90=difference.interval_at(alone))
        says = verdict(difference, p, None if wide is None else wide / board.scale, alpha=ALPHA)
        if arm in race.dropped:
            level = ALPHA / len(chosen)  # Bonferroni's: its own p takes no part in Holm's steps
            seed_sd = SEED_SD if board.scale == 100.0 else None
            says = _of_dropped(difference, level, race.looks, len(chosen), seed_sd)
        shown = replace(difference, interval=difference.interval_at(level))
        rows.append(
            Row(
                arm=arm,
                baseline=baseline,
                task=board.name,
                temperature=board.temperature,
                score=board.scale * float(pair.first.mean()),
                baseline_score=board.scale * float(pair.second.mean()),
                difference=_scaled(shown, sign * board.scale, possible=board.scale == 100.0),
                adjusted_p=p,
                verdict=says,
                dropped=arm in race.dropped,
                higher_is_better=board.higher_is_better,
                unit=board.unit,
            )
        )
    return rows


def _of_dropped(
    difference: Difference, level: float, looks: int, rivals: int, seed_sd: float | None
) -> Verdict:
    """What is said of an arm that racing dropped: worse where its bound holds against this baseline too.

    On one seed, which says nothing of objectives, its checkpoint may be behind or, of the base, ahead.
    """
    if difference.seeds == 1:
        low, high = difference.interval_at(level)
        return "behind" if high < 0 else "ahead" if low > 0 else "not resolved"
    racing = still_in_the_race(difference, looks=looks, rivals=rivals, seed_sd=seed_sd)
    return "not resolved" if racing else "worse"


def paired(board: Board, arm: Arm, baseline: Arm) -> Paired:
    """Scores of two arms of a board, run by run and document by document.

    Raises:
        InputError: an arm has no runs, or fewer than two documents are in common.
    """
    for one in (arm, baseline):
        if one not in board.runs:
            raise InputError(
                f"{board.name}: {one.label} has no run of this study: its records disagree on the plan"
            )
    pairs = _pairs(board, arm, baseline)
    sheets = [sheet for pair in pairs for side in pair for sheet in side]
    shared = set.intersection(*(set(sheet.documents) for sheet in sheets))
    if len(shared) < 2:
        raise InputError(
            f"{board.name}: {arm.label} and {baseline.label} have {len(shared)} documents in common: "
            "evaluate them on the same data"
        )
    ids = [document for document in sheets[0].documents if document in shared]
    first, second = (
        [np.mean([_values(sheet, ids) for sheet in side], axis=0) for side in sides]
        for sides in zip(*pairs, strict=True)
    )
    return Paired(
        first=np.array(first),
        second=np.array(second),
        sizes=_sizes(sheets[0], shared),
        most=max(len(sheet.documents) for sheet in sheets),
    )


def _pairs(board: Board, arm: Arm, baseline: Arm) -> list[tuple[list[Sheet], list[Sheet]]]:
    """Runs that are held against each other, each side the runs whose mean counts.

    Runs of one seed are a pair. The base has no seed: one run of it goes with every run of the other arm.
    Several are one pair with a single run: one checkpoint stays one, however often the base is scored.
    """
    first, second = board.runs[arm], board.runs[baseline]
    if BASE in (arm.objective, baseline.objective) and 1 in (len(first), len(second)):
        tuned = [board.runs[one] for one in (arm, baseline) if one.objective != BASE]
        if any(len(runs) == 1 for runs in tuned):
            return [(list(first.values()), list(second.values()))]
        return [([a], [b]) for a in first.values() for b in second.values()]
    common = sorted(first.keys() & second.keys())
    if common:
        return [([first[seed]], [second[seed]]) for seed in common]
    return [([a], [b]) for a, b in zip(first.values(), second.values(), strict=False)]


def _sizes(sheet: Sheet, shared: Collection[str]) -> tuple[int, ...]:
    """Documents of each task that are among some."""
    among = np.array([document in shared for document in sheet.documents])
    ends = list(itertools.accumulate(sheet.sizes))
    return tuple(int(own.sum()) for own in np.split(among, ends[:-1]) if own.any())


def _values(sheet: Sheet, documents: Sequence[str]) -> Array:
    if documents == list(sheet.documents):
        return sheet.values
    place = {document: i for i, document in enumerate(sheet.documents)}
    return sheet.values[[place[document] for document in documents]]


def _scaled(difference: Difference, factor: float, *, possible: bool) -> Difference:
    """A difference in another unit, or seen from the other side; of shares within what is possible."""
    size = abs(factor)
    most = size if possible else math.inf

    def ends(interval: tuple[float, float]) -> tuple[float, float]:
        low, high = sorted(factor * end for end in interval)
        return max(low, -most), min(high, most)

    return replace(
        difference,
        estimate=factor * difference.estimate,
        interval=ends(difference.interval),
        interval_90=ends(difference.interval_90),
        standard_error=size * difference.standard_error,
        document_error=size * difference.document_error,
    )
