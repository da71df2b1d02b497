"""Which of a task's scores is used, which way it points, and the Score of it.

For tasks that are evaluated here and for those that lm-eval has logged elsewhere. Without a word from the
user it is the task's first metric with a number for every document, under its first filter.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.errors import InputError
from harness.evaluate.lm_eval_rows import Row
from harness.records.metrics import LIKELIHOODS, NO_FILTER, document_value, one_each, unit_of
from harness.records.runs import Score

Name = tuple[str, str | None]
"""Metric and filter."""
SKIPS_NAN = "nanmean"
"""lm-eval's aggregation of metrics that do not apply to every document."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user says of the score."""

    metric: str | None = None
    """As lm-eval's results name it; None: the task's first."""
    filter: str | None = None
    """"none" is the one that does nothing; None: the task's first."""
    higher_is_better: bool | None = None
    """Of a metric whose direction neither its log nor its task nor lm-eval knows."""

    def fits(self, name: Name) -> bool:
        """Whether a score is one of those asked for."""
        metric, chosen = name
        return self.metric in (None, metric) and self.filter in (None, chosen or NO_FILTER)


FIRST = Asked()
"""Nothing was said."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a task, or a log of it, says of its metrics."""

    higher_is_better: Mapping[str, bool | None]
    """By metric."""
    metric_list: Sequence[Mapping[str, Any]] = ()
    """Of the task's configuration."""

    def first(self) -> list[str]:
        """Names of its metrics in its order."""
        return list(map(_metric, self.metric_list)) or list(self.higher_is_better)

    def entry(self, metric: str) -> Mapping[str, Any]:
        """What its configuration says of a metric; of its only one also where that logs another name."""
        entries = {_metric(entry): entry for entry in self.metric_list}
        only = next(iter(entries.values())) if len(entries) == 1 else {}
        return entries.get(metric, only)

    def direction(self, metric: str, asked: Asked = FIRST) -> bool | None:
        """Whether more of a metric is better: as told, as lm-eval knows, as the user says; None: unknown."""
        if metric in LIKELIHOODS:
            return False  # of what `document_value` makes of it
        for found in (
            self.higher_is_better.get(metric),
            self.entry(metric).get("higher_is_better"),
            _registered(metric),
            asked.higher_is_better,
        ):
            if isinstance(found, bool):
                return found
        return None


def _metric(entry: Mapping[str, Any]) -> str:
    """The name of a metric in a configuration, of a function's or its source text's where it is one."""
    named = entry.get("metric")
    source = re.match(r"def (\w+)", str(named))
    return source[1] if source else str(getattr(named, "__name__", named))


def _registered(metric: str) -> bool | None:
    """What lm-eval knows of a metric of its own."""
    from lm_eval.api.registry import is_higher_better

    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)  # an unknown metric is no reason for a warning
    try:
        found: bool | None = is_higher_better(metric)
        return found
    finally:
        logger.setLevel(before)


def names_in(rows: Sequence[Row], told: Told) -> list[Name]:
    """Metric and filter of every score that has a number for its documents, in the task's order."""
    logged: dict[Name, bool] = {}
    for row in rows:
        for metric, value in row.values.items():
            if value is not None:
                key = metric, row.filter
                logged[key] = logged.get(key, True) and document_value(metric, value) is not None
    filters = list(dict.fromkeys(row.filter for row in rows))
    order = {metric: place for place, metric in enumerate(told.first())}
    usable = [name for name, numbers in logged.items() if numbers]
    return sorted(usable, key=lambda name: (filters.index(name[1]), order.get(name[0], len(order))))


def listed(names: Sequence[Name]) -> str:
    """Scores for a reader: "acc; exact_match (strict-match, flexible-extract)"."""
    by_metric: dict[str, list[str]] = {}
    for metric, chosen in names:
        by_metric.setdefault(metric, []).append(chosen or NO_FILTER)
    return "; ".join(
        metric if chosen == [NO_FILTER] else f"{metric} ({', '.join(chosen)})"
        for metric, chosen in by_metric.items()
    )


def choose(task: str, names: Sequence[Name], asked: Asked) -> Name:
    """The score of a task: the first that fits what is asked, else the first.

    Whether any task has what is asked is for `refuse_unfit` to see: of several tasks one may do without.

    Raises:
        InputError: no metric has a number per document.
    """
    if not names:
        raise InputError(
            f"task {task}: none of its metrics is a number per document, which pairing needs (those that are "
            "computed over the corpus, such as bleu or f1 of a choice, are none)"
        )
    return next((name for name in names if asked.fits(name)), names[0])


def refuse_unfit(found: Mapping[str, Sequence[Name]], asked: Asked) -> None:
    """See that some task has the score that is asked for.

    Raises:
        InputError: none has; it lists what there is.
    """
    if not found or any(asked.fits(name) for names in found.values() for name in names):
        return
    given = [f"--{key} {value}" for key in ("metric", "filter") if (value := getattr(asked, key))]
    there = list(dict.fromkeys(f"{task}: {listed(names)}" for task, names in found.items()))
    raise InputError(f"{' '.join(given)}: no task has such a score; there are {' | '.join(there)}")


def score_of(
    task: str,
    runs: Sequence[Sequence[Row]],
    name: Name,
    told: Told,
    *,
    asked: Asked,
    temperature: float | None,
    part: str,
) -> tuple[Score, list[str]]:
    """The Score of a task's rows of every repeat, and notes on documents left out or counted once.

    Raises:
        InputError: the direction is not known, or a value is not finite.
    """
    metric, chosen = name
    higher = told.direction(metric, asked)
    if higher is None:
        raise InputError(
            f"task {task}: nothing says whether more of {metric} is better: give --higher_is_better true or "
            "--higher_is_better false"
        )
    columns = [[row for row in rows if row.filter == chosen] for rows in runs]
    found = {
        (place, row[0].document): [document_value(metric, x.values.get(metric)) for x in row]
        for place, row in enumerate(zip(*columns, strict=True))
    }
    skips_nan = told.entry(metric).get("aggregation") == SKIPS_NAN
    whole = {
        key: [float(x) for x in row if x is not None]
        for key, row in found.items()
        if not any(x is None or (skips_nan and math.isnan(x)) for x in row)
    }
    _refuse_infinite(task, metric, list(whole.values()))
    documents, values = one_each([document for _, document in whole], list(whole.values()))
    score = Score(
        task=task, metric=metric, filter=chosen, higher_is_better=higher,
        unit=unit_of(metric, higher, (x for row in values for x in row)),
        temperature=temperature, part=part, documents=documents, values=values,
    )  # fmt: skip
    return score, _notes(task, metric, len(found), len(whole), len(documents))


def _refuse_infinite(task: str, metric: str, values: Sequence[Sequence[float]]) -> None:
    if not values:
        raise InputError(f"task {task}: {metric} has a value for no document")
    broken = sum(not all(map(math.isfinite, row)) for row in values)
    if broken:
        raise InputError(
            f"task {task}: {metric} is not a finite number on {broken} of {len(values)} documents"
        )


def _notes(task: str, metric: str, logged: int, whole: int, distinct: int) -> list[str]:
    """What was done with documents without a value, and with copies."""
    notes = []
    if whole < logged:
        notes.append(
            f"{task}: {logged - whole} of {logged} documents have no {metric} and are left out"
        )
    if distinct < whole:
        notes.append(
            f"{task}: {whole} documents, {distinct} of them different: copies count as one, with their mean"
        )
    return notes
