"""Tables of scores, a row for each document of each arm: CSV, JSON lines or parquet.

| column | what it says |
|---|---|
| `arm` | name of the arm: an objective (`nll`, `cadft(1)`, `nll@own(8)`), `base`, or any text |
| `score` | a number |
| `learning_rate`, `temperature`, `seed` | of the run; an empty cell is not known |
| `task`, `document` | what was asked; rows of one document are repeated answers |
| `part` | `development`, which chooses, or `test` |
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from advisor.data.data_files import builder_of, check_file, opened
from advisor.data.delimited import csv_layout
from advisor.data.json_rows import read_json, table
from advisor.errors import InputError
from advisor.names import did_you_mean
from advisor.values import given, listed, scalar, shown
from harness.compare.measured import Measured
from harness.compare.scored_arm import Scored, arm_named
from harness.records.arm import Arm
from harness.records.metrics import unit_of
from harness.records.runs import Score

NEEDED = ("arm", "score")
COLUMNS = (*NEEDED, "learning_rate", "temperature", "seed", "task", "document", "part")
PARTS = ("development", "test")
WHOLE = "all"
"""The part of documents of which none was said."""
UNNAMED = "scores"
"""The task where there is no column of that name."""
METRIC = "score"
LARGEST = 1e100
"""Of a number: squares of larger ones, which standard errors take, have no place in a float."""
SPELLINGS = {
    **dict.fromkeys(("lr", "learningrate", "rate"), "learning_rate"),
    **dict.fromkeys(("split", "subset", "fold"), "part"),
    **dict.fromkeys(("temp", "t"), "temperature"),
    **dict.fromkeys(("checkpoint", "ckpt", "step", "model", "run", "objective", "method"), "arm"),
}
"""Names by which others call a column: with them unread, scores of several runs would be one run's."""
Row = Mapping[str, Any]
Key = tuple[Arm, int, str, str]
"""Arm, seed, task and part."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One score of one document."""

    key: Key
    """Whose it is, and on what."""
    document: str | None
    """None: told by its place among the arm's."""
    value: float


def read_tables(
    paths: Sequence[Path], higher_is_better: bool | None
) -> tuple[list[Scored], list[str]]:
    """The scores of tables, and what was assumed of them.

    Args:
        paths: of files; rows of several are one table.
        higher_is_better: of the scores; None: true.

    Raises:
        InputError: a file that cannot be read, a column that is not there, or a cell that is something else.
    """
    cells, notes = list[Cell](), list[str]()
    for path in paths:
        rows = _rows(path)
        notes += _checked(path, list(rows[0]))
        _refuse_gaps(path, rows)
        own = [_cell(f"{path}, row {number}", row) for number, row in enumerate(rows, 1)]
        _refuse_mixed(path, rows, own)
        cells += own
    found, more = scored(cells, higher_is_better=higher_is_better is not False)
    return found, [*notes, *more]


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; cells of a CSV are text."""
    kind = builder_of(path)
    check_file(path)
    if kind == "json":
        parts, _ = read_json(path)
        rows = table([row for part in parts.values() for row in part], path.name)
    else:
        rows = _frame(path, kind)
    if not rows:
        raise InputError(f"{path}: has no rows")
    return rows


def _frame(path: Path, kind: str) -> list[dict[str, Any]]:
    """What pandas reads."""
    import pandas as pd

    from advisor.data.frames import rows_of

    try:
        if kind == "csv":
            separator, names, skipped = csv_layout(path, None)
            with opened(path) as stream:
                frame = pd.read_csv(
                    stream, sep=separator, names=names, header=0, skiprows=skipped, dtype=str,
                    keep_default_na=False, index_col=False, encoding="utf-8-sig",
                )  # fmt: skip
        elif kind == "parquet":
            frame = pd.read_parquet(path)
        else:
            raise InputError(
                f"{path}: scores are read from csv, tsv, json, jsonl and parquet files"
            )
    except InputError:
        raise
    except Exception as error:  # pandas and its engines raise anything
        raise InputError(
            f"{path}: cannot be read as {kind} ({' '.join(str(error).split())})"
        ) from error
    if frame.empty:
        raise InputError(f"{path}: has no rows")
    return rows_of(frame)[0]


def _checked(path: Path, names: Sequence[str]) -> list[str]:
    """See that the columns are there and none is mistyped; which are not read.

    Raises:
        InputError: a column is missing, or looks like one that has another name.
    """
    others = [name for name in names if name not in COLUMNS]
    absent = [name for name in COLUMNS if name not in names]
    for name in others:
        if near := did_you_mean(name.lower(), absent, cutoff=0.75):
            raise InputError(f"{path}: column {name!r} is not known: {near}")
    for name in NEEDED:
        if name not in names:
            raise InputError(
                f"{path}: has no column {name!r} (it has {listed(list(names))}): name the columns arm and "
                f"score, and where they are known {', '.join(COLUMNS[2:])}"
            )
    return [f"{path}: not read: {listed(others)}"] if others else []


def _refuse_mixed(path: Path, rows: Sequence[Row], cells: Sequence[Cell]) -> None:
    """Scores that a column of another name tells apart would be averaged as repeated answers.

    Raises:
        InputError: names the column, and what to call it.
    """
    for name in rows[0]:
        if (meant := SPELLINGS.get(name.lower())) is None or name in COLUMNS:
            continue
        seen: dict[tuple[Key, str | None], set[str | None]] = defaultdict(set)
        for row, cell in zip(rows, cells, strict=True):
            seen[cell.key, cell.document].add(scalar(row.get(name)))
        if any(len(several) > 1 for several in seen.values()):
            remedy = "make it part of the arm's name" if meant == "arm" else f"call it {meant}"
            raise InputError(
                f"{path}: column {name!r} is not read, and it tells scores apart that would count as one "
                f"run's: {remedy}, or leave it out"
            )


def _refuse_gaps(path: Path, rows: Sequence[Row]) -> None:
    """A document or a part that some rows have and others not would be read as another one."""
    for name in ("document", "part", "task"):
        filled = [given(row.get(name)) for row in rows]
        if any(filled) and not all(filled):
            raise InputError(
                f"{path}, row {filled.index(False) + 1}: has no {name}, as other rows do: fill it in, or "
                "leave out the column"
            )


def _cell(place: str, row: Row) -> Cell:
    def number(name: str) -> float | None:
        return _number(f"{place}: {name}", row.get(name))

    text = scalar(row.get("arm")) or ""
    value, part = number("score"), scalar(row.get("part")) or WHOLE
    if not text.strip():
        raise InputError(f"{place}: arm is {shown(row.get('arm'))}, not a name")
    if value is None:
        raise InputError(f"{place}: has no score: leave out the document in every arm, or score it")
    if part not in (*PARTS, WHOLE):
        raise InputError(f"{place}: part is {shown(part)}: expected {' or '.join(PARTS)}")
    seed = number("seed") or 0.0
    if not seed.is_integer():
        raise InputError(f"{place}: seed is {seed:g}, not a whole number")
    arm = arm_named(text, learning_rate=number("learning_rate"), decoding=number("temperature"))
    task = scalar(row.get("task")) or UNNAMED
    document = scalar(row.get("document")) or None
    return Cell(key=(arm, int(seed), task, part), document=document, value=value)


def _number(place: str, value: Any) -> float | None:
    """A finite number; None for an empty cell."""
    if not given(value):
        return None
    try:
        found = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f"{place} is {shown(value)}, not a finite number")
    if abs(found) > LARGEST:
        raise InputError(f"{place} is {shown(value)}: scores are {LARGEST:g} at most")
    return found


def scored(
    cells: Sequence[Cell], metric: str = METRIC, *, higher_is_better: bool = True
) -> tuple[list[Scored], list[str]]:
    """The cells by run, several of one document as their mean; and what was assumed of them.

    Raises:
        InputError: documents that are not named cannot be paired.
    """
    runs: dict[Key, list[Cell]] = defaultdict(list)
    for cell in cells:
        runs[cell.key].append(cell)
    notes = []
    if any(cell.document is None for cell in cells):
        _refuse_unequal(runs)
        notes.append(
            "There is no column document: the rows of each arm are taken for the same documents in the same "
            "order."
        )
    units = _units(cells, metric, higher_is_better)
    found = []
    for (arm, seed, task, part), own in runs.items():
        values = _by_document(own)
        score = Score(
            task=task, metric=metric, temperature=arm.decoding, part=part,
            higher_is_better=higher_is_better, unit=units[task], documents=tuple(values),
            values=tuple((fmean(several),) for several in values.values()),
        )  # fmt: skip
        measured = Measured(setting="", arm=arm.label, seed=seed, score=score, conditions={})
        found.append(Scored(arm=arm, measured=measured))
        if len(values) < len(own):
            notes.append("Several scores of one document are repeated answers: their mean counts.")
    return found, list(dict.fromkeys(notes))


def _by_document(cells: Sequence[Cell]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for place, cell in enumerate(cells):
        found[str(place) if cell.document is None else cell.document].append(cell.value)
    return found


def _units(cells: Sequence[Cell], metric: str, higher: bool) -> dict[str, str]:
    """The unit of each task's scores, by the values of all arms: one alone may look like shares."""
    values: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        values[cell.key[2]].append(cell.value)
    return {task: unit_of(metric, higher, own) for task, own in values.items()}


def _refuse_unequal(runs: Mapping[Key, Sequence[Cell]]) -> None:
    """Rows can be paired by their order where every run has as many."""
    sizes: dict[tuple[str, str], set[int]] = defaultdict(set)
    for (_, _, task, part), own in runs.items():
        sizes[task, part].add(len(own))
    for (task, _), found in sizes.items():
        if len(found) > 1:
            raise InputError(
                f"{task}: runs have {' and '.join(map(str, sorted(found)))} rows, which without a column "
                "document cannot be paired: give one"
            )
