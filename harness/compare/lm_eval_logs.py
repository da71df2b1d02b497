"""The one reading of what `lm-eval --log_samples` wrote elsewhere, versions 0.4.2 to 0.4.13.

Results say what samples do not: which way a metric points, few-shot examples, chat template. Every score of a
log is named, the one in use is said, and nothing that is not known is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from advisor.errors import InputError
from harness.compare.lm_eval_conditions import conditions
from harness.compare.lm_eval_files import Log, find_logs
from harness.compare.measured import Measured
from harness.evaluate.lm_eval_rows import Record, Row, decoding_of, parse, rows_of, temperature_of
from harness.evaluate.score_choice import (
    FIRST,
    Asked,
    Name,
    Told,
    choose,
    listed,
    names_in,
    refuse_unfit,
    score_of,
)
from harness.records.metrics import LIKELIHOODS, NO_FILTER, document_value, split_name, unit_of
from harness.records.runs import Score

__all__ = ["conditions", "find_logs", "read_logs"]

SHOWN = 3
"""Tasks that a note names."""
TOLERANCE = 1e-6
"""Of a mean that was computed in another order."""


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A log that has been read."""

    log: Log
    rows: Sequence[Row]
    names: Sequence[Name]
    told: Told
    decoding: Mapping[str, Any] | None


def read_logs(
    paths: Sequence[Path | str],
    metric: str | None = None,
    filter: str | None = None,
    higher_is_better: bool | None = None,
) -> tuple[list[Measured], list[str]]:
    """Scores of lm-eval's logs, and notes on what was chosen among what they hold.

    Args:
        paths: output folders, samples or results files; what is none of these is passed over.
        metric: as lm-eval's results name it; by default the task's first.
        filter: of answers; by default the task's first.
        higher_is_better: of a metric whose direction nothing else tells.

    Raises:
        InputError: a path that does not exist, a damaged file, a score that is not there, or one whose
            direction is not known.
    """
    asked = Asked(metric=metric, filter=filter, higher_is_better=higher_is_better)
    found = {log.path: log for path in map(Path, paths) for log in find_logs(path)}
    read, notes = _latest([_read(log) for log in found.values()])
    read, unscored = _scored(read)
    notes += unscored
    chosen, said = _choices(read, asked)
    labels = _distinct(read)
    scores = []
    for one in read:
        score, more = _score(one, chosen[one.log.task], asked)
        scores.append(score)
        notes += more
    units = _units(scores)
    measured = [
        Measured(
            setting="",
            arm=labels[one.log.path],
            seed=0,
            score=replace(score, unit=units[score.task]),
            conditions=conditions(one.log, one.decoding),
            prompts={row.document: row.prompt for row in one.rows if row.prompt},
        )
        for one, score in zip(read, scores, strict=True)
    ]
    return measured, [*said, *_of_likelihoods(scores), *dict.fromkeys(notes)]


def _read(log: Log) -> _Read:
    filters = _filters(log)
    try:
        records = parse(log.path.read_text(encoding="utf-8"))
        rows = rows_of(records, filters)
        decoding = decoding_of(records)
        _refuse_misread(log, records, rows)
    except InputError as error:
        raise InputError(f"{log.path}: {error}") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise InputError(
            f"{log.path}: not what lm-eval's --log_samples writes ({error!r})"
        ) from error
    config = log.of_task("configs") or {}
    told = Told(
        higher_is_better=log.of_task("higher_is_better") or {},
        metric_list=config.get("metric_list") or (),
    )
    return _Read(log=log, rows=rows, names=names_in(rows, told), told=told, decoding=decoding)


def _filters(log: Log) -> list[str]:
    """Names of the task's filters in the order in which it applies them."""
    keys = [key for key in log.of_task("results") or {} if "," in key]
    return list(dict.fromkeys(split_name(key)[1] or NO_FILTER for key in keys))


def _refuse_misread(log: Log, records: Sequence[Record], rows: Sequence[Row]) -> None:
    """See that filters which the records do not name were told right: by the means in the results.

    Raises:
        InputError: a mean over the documents is not the one that lm-eval gives.
    """
    metric_list = (log.of_task("configs") or {}).get("metric_list") or ()
    means = {entry.get("metric") for entry in metric_list if entry.get("aggregation") == "mean"}
    given = log.of_task("results") or {}
    for key in given if "filter" not in records[0] else ():
        metric, chosen = split_name(key)
        values = [
            document_value(metric, row.values.get(metric)) for row in rows if row.filter == chosen
        ]
        numbers = [x for x in values if x is not None]
        if metric in means and numbers and abs(fmean(numbers) - given[key]) > TOLERANCE:
            raise InputError(
                f"its documents have a mean {metric} of {fmean(numbers):.6g} under filter {chosen}, its "
                f"results {given[key]:.6g}: these files are not of one evaluation"
            )


def _latest(read: Sequence[_Read]) -> tuple[list[_Read], list[str]]:
    """Of several evaluations of one model on one task at one temperature the latest."""
    latest: dict[Any, list[_Read]] = {}
    for one in sorted(read, key=lambda one: one.log.time):
        key = one.log.path.parent, one.log.model, one.log.task, temperature_of(one.decoding)
        latest.setdefault(key, []).append(one)
    notes = [
        f"{several[-1].log.task}: {several[-1].log.label[0]} was evaluated {len(several)} times; the latest "
        f"counts ({several[-1].log.path.name})"
        for several in latest.values()
        if len(several) > 1
    ]
    kept = {id(several[-1]) for several in latest.values()}
    return [one for one in read if id(one) in kept], notes


def _scored(read: Sequence[_Read]) -> tuple[list[_Read], list[str]]:
    """The logs with a score per document, and what is said of the other tasks.

    Raises:
        InputError: there are logs, and none has one.
    """
    without = {one.log.task: one for one in read if not one.names}
    if without and len(without) == len({one.log.task for one in read}):
        for task, one in without.items():
            choose(task, one.names, FIRST)
    notes = [
        f"{_some(list(without))}: left out, since no metric is a number per document"
    ] if without else []  # fmt: skip
    return [one for one in read if one.log.task not in without], notes


def _choices(read: Sequence[_Read], asked: Asked) -> tuple[dict[str, Name], list[str]]:
    """The score of each task, one that all its logs have, and what is said of it."""
    shared: dict[str, list[Name]] = {}
    for one in read:
        task = one.log.task
        before = shared.get(task, list(one.names))
        shared[task] = [name for name in before if name in one.names]
        if not shared[task]:
            raise InputError(
                f"task {task}: its logs have no score in common: {listed(before)} | {listed(one.names)}"
            )
    refuse_unfit(shared, asked)
    chosen = {task: choose(task, names, asked) for task, names in shared.items()}
    by_text: dict[str, list[str]] = {}
    for task, name in chosen.items():
        told = next(one.told for one in read if one.log.task == task)
        by_text.setdefault(_what(name, shared[task], told, asked), []).append(task)
    return chosen, [f"{_some(tasks)}: {text}" for text, tasks in by_text.items()]


def _what(name: Name, names: Sequence[Name], told: Told, asked: Asked) -> str:
    """What is used of a task's scores, and what else there is."""
    way = "higher" if told.direction(name[0], asked) else "lower"
    text = f"scored by {listed([name])}, {way} is better"
    others = [other for other in names if other != name]
    return text + (
        f"; also there: {listed(others)} (--metric, --filter choose another)" if others else ""
    )


def _some(tasks: Sequence[str]) -> str:
    more = len(tasks) - SHOWN
    return ", ".join(tasks[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _distinct(read: Sequence[_Read]) -> dict[Path, str]:
    """The short names, or the long ones where short ones coincide."""
    short = Counter(name for name, _ in {one.log.label for one in read})
    return {
        one.log.path: long if short[name] > 1 else name
        for one in read
        for name, long in [one.log.label]
    }


def _score(one: _Read, name: Name, asked: Asked) -> tuple[Score, list[str]]:
    try:
        return score_of(
            one.log.task, [one.rows], name, one.told,
            asked=asked, temperature=temperature_of(one.decoding), part="all",
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{one.log.path}: {error}") from None


def _units(scores: Sequence[Score]) -> dict[str, str]:
    """The unit of each task's score, by the values of all its logs: one alone may look like shares."""
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(score.task, []).extend(x for row in score.values for x in row)
    return {s.task: unit_of(s.metric, s.higher_is_better, values[s.task]) for s in scores}


def _of_likelihoods(scores: Sequence[Score]) -> list[str]:
    """What a likelihood's score is, since it is not lm-eval's figure."""
    units = dict.fromkeys((score.metric, score.unit) for score in scores)
    return [
        f"{metric} is compared in {unit}"
        + (", its logarithm" if metric.endswith("perplexity") else "")
        + ", every document alike"
        + ("" if metric == "perplexity" else "; lm-eval's own figure weights them by length")
        for metric, unit in units
        if metric in LIKELIHOODS
    ]
