"""Which scores are held against each other: the same task, temperature and metric, documents and seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError
from harness.measured import Measured, unit_of_all
from harness.metrics import SHARE
from harness.records import Score
from harness.study import BASE

Runs = Mapping[int, Score]
"""Scores of an arm by seed."""
Scores = NDArray[np.float64]
"""[seeds, documents]."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """What can be compared: one task at one temperature by one metric."""

    task: str
    """Name of the task, after the setting where there are several."""
    temperature: float | None
    """0 is greedy; None where nothing is generated."""
    arms: Mapping[str, Runs]
    """By label, the base first, then the baseline."""
    members: Sequence[Measured]
    """Where the arms come from."""

    @property
    def scale(self) -> float:
        """100 where all scores are shares, so that differences are in points."""
        scores = [score for runs in self.arms.values() for score in runs.values()]
        return 100.0 if unit_of_all(scores) == SHARE else 1.0


def make_groups(measured: Sequence[Measured], baseline: str) -> list[Group]:
    """Groups in the order in which they appear, cooler temperatures first."""
    members: dict[tuple[Any, ...], list[Measured]] = defaultdict(list)
    for m in measured:
        members[m.setting, m.score.task, m.score.name, m.score.temperature].append(m)
    order = {key[:3]: place for place, key in enumerate(reversed(members))}
    keys = sorted(members, key=lambda key: (-order[key[:3]], key[3] is not None, key[3]))
    return [
        Group(
            task=f"{key[0]}: {key[1]}" if key[0] else key[1],
            temperature=key[3],
            arms=_arms(members[key], baseline),
            members=members[key],
        )
        for key in keys
    ]


def _arms(measured: Sequence[Measured], baseline: str) -> dict[str, Runs]:
    """Runs by arm, the base first, then the baseline; of two of one seed the one with more documents."""
    arms: dict[str, dict[int, Score]] = {}
    for m in sorted(measured, key=lambda m: (m.arm != BASE, m.arm != baseline)):
        runs = arms.setdefault(m.arm, {})
        if m.seed not in runs or len(m.score.documents) > len(runs[m.seed].documents):
            runs[m.seed] = m.score
    return dict(arms)


def paired(group: Group, arm: str, baseline: str) -> tuple[Scores, Scores, int]:
    """Two [seeds, documents] arrays on the documents that both have, and how many the larger has."""
    pairs = _pairs(group.arms[arm], group.arms[baseline], base=BASE in (arm, baseline))
    scores = [score for pair in pairs for score in pair]
    shared = set.intersection(*(set(score.documents) for score in scores))
    if len(shared) < 2:
        raise InputError(
            f"{group.task}: {arm} and {baseline} have {len(shared)} documents in common: evaluate them on "
            "the same data"
        )
    ids = [document for document in scores[0].documents if document in shared]
    first, second = ([_values(score, ids) for score in side] for side in zip(*pairs, strict=True))
    return np.array(first), np.array(second), max(len(score.documents) for score in scores)


def _pairs(first: Runs, second: Runs, *, base: bool) -> list[tuple[Score, Score]]:
    """Runs that are held against each other: of one seed; the base, which has none, against all."""
    if base and 1 in (len(first), len(second)):
        return [(a, b) for a in first.values() for b in second.values()]
    common = sorted(first.keys() & second.keys())
    if common:
        return [(first[seed], second[seed]) for seed in common]
    return list(zip(first.values(), second.values(), strict=False))


def _values(score: Score, documents: Sequence[str]) -> list[float]:
    found = dict(zip(score.documents, score.per_document, strict=True))
    return [found[document] for document in documents]
