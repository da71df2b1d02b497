"""Files, folders and hub ids to rows, with a refusal in one line for what cannot be read.

JSON is read here, not by datasets, which turns dates into timestamps and 2 into 2.0: text and
numbers stay as they are written. CSV is text throughout.
"""

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import huggingface_hub
import pandas as pd

from advisor.data import data_files as files
from advisor.data.data_files import BUILDERS, check_file, kind_of
from advisor.data.delimited import csv_layout
from advisor.data.frames import rows_of
from advisor.data.joined import Joined, Part
from advisor.data.json_lines import open_lines
from advisor.data.json_rows import read_json, table
from advisor.data.row_groups import ParquetRows
from advisor.data.shapes import split_of
from advisor.errors import InputError
from advisor.hub import hub_or_cache
from advisor.names import did_you_mean

Table: TypeAlias = datasets.Dataset | list[dict[str, Any]] | Joined
Source: TypeAlias = (
    str | Path | datasets.DatasetDict | datasets.Dataset | list[dict[str, Any]] | pd.DataFrame
)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one split and where they come from."""

    rows: Table
    """Every row has every column; None where the source has nothing."""
    name: str
    """File or folder name, hub id, or `in memory`."""
    split: str | None
    """None where the source has no splits."""
    fingerprint: str
    """`sha256:` of all bytes of the files or of all rows as JSON, else `datasets:` fingerprint."""
    notes: tuple[str, ...] = ()
    """What was assumed of the file, one sentence each."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names in the order of the source."""
        return self.rows.columns if isinstance(self.rows, Joined) else tuple(self.rows[0])


def load_rows(
    source: Source, split: str | None, config: str | None, delimiter: str | None = None
) -> Rows:
    """Rows of a file, folder, hub id or object in memory; InputError if unreadable or empty.

    Args:
        source: Where they are.
        split: Needed where there are several.
        config: Of a dataset on the hub.
        delimiter: Between the cells of a csv or tsv file; by default what its first lines show.
    """
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    huggingface_hub.logging.set_verbosity(logging.CRITICAL)
    if isinstance(source, str | Path):
        found = _from_name(str(source), split, config, delimiter)
    else:
        found = _from_memory(source, split)
    if len(found.rows) == 0:
        raise InputError(f"{found.name} has no rows")
    return found


def _from_memory(source: Any, split: str | None) -> Rows:
    notes: list[str] = []
    if isinstance(source, pd.DataFrame):
        source, notes = rows_of(source)
    if isinstance(source, list):
        if split is not None:
            raise InputError(f"rows in memory have no splits; leave out --split {split}")
        if not source:
            raise InputError("the dataset is an empty list; give at least one row")
        rows = table(source, "the rows in memory")
        text = json.dumps(source, sort_keys=True, default=str)
        mark = "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return Rows(rows=rows, name="in memory", split=None, fingerprint=mark, notes=tuple(notes))
    if not isinstance(source, datasets.Dataset | datasets.DatasetDict):
        raise InputError(
            f"DATASET is of type {type(source).__name__}: give a path, a hub id, a datasets.Dataset, a list "
            "of dictionaries or a pandas DataFrame"
        )
    chosen_rows, chosen = _choose(source, split, "in memory")
    mark = f"datasets:{chosen_rows._fingerprint}"
    return Rows(rows=chosen_rows, name="in memory", split=chosen, fingerprint=mark)


def _from_name(source: str, split: str | None, config: str | None, delimiter: str | None) -> Rows:
    path, there = files.locate(source)
    if there == "file":
        return _from_file(path, split, delimiter)
    if there == "folder":
        return _from_folder(path, split, delimiter)
    return _from_hub(source, split, config, path)


def _from_file(path: Path, split: str | None, delimiter: str | None) -> Rows:
    builder = files.builder_of(path)
    check_file(path)
    try:
        loaded, notes = _load_files(path, [path], delimiter)
    except InputError:
        raise
    except Exception as error:
        reason = _reason(error)
        if "corresponds to no data" in str(error):
            raise InputError(f"{path} has no rows") from error
        remedy = "; correct that line, or give the separator with --delimiter"
        remedy = remedy if builder == "csv" else ""
        raise InputError(f"{path} cannot be read as {builder} ({reason}){remedy}") from error
    if set(loaded) == {"train"} and split not in (None, "train"):
        raise InputError(f"{path} is one file without splits; leave out --split {split}")
    rows, chosen = _choose(loaded, split, path.name)
    named = None if set(loaded) == {"train"} else chosen
    return Rows(
        rows=rows,
        name=path.name,
        split=named,
        fingerprint=files.fingerprint(path),
        notes=tuple(notes),
    )


def _from_folder(path: Path, split: str | None, delimiter: str | None) -> Rows:
    files.check_folder(path)
    saved = (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()
    own = files.data_files_of(path)
    if not own:
        raise InputError(f"the folder {path} has no data file; known are {', '.join(BUILDERS)}")
    notes: list[str] = []
    try:
        if saved:
            loaded: Any = datasets.load_from_disk(str(path))
        else:
            loaded, notes = _load_files(path, own, delimiter)
    except InputError:
        raise
    except Exception as error:
        names = ", ".join(f.name for f in own[:5])
        raise InputError(
            f"the folder {path} cannot be read as one dataset ({_reason(error)}); name one of its "
            f"files: {names}"
        ) from error
    rows, chosen = _choose(loaded, split, str(path))
    return Rows(
        rows=rows,
        name=path.name,
        split=chosen,
        fingerprint=files.fingerprint(path),
        notes=tuple(notes),
    )


def _load_files(
    path: Path, own: list[Path], delimiter: str | None
) -> tuple[dict[str, Table], list[str]]:
    """Files of one kind, put into splits by the words in their names; and what was assumed."""
    kinds = {kind_of(f)[0] for f in own}
    if len({BUILDERS[k] for k in kinds}) > 1 or kinds >= {".csv", ".tsv"}:
        raise InputError(
            f"the folder {path} mixes {', '.join(sorted(kinds))}; name one of its files: "
            + ", ".join(f.name for f in own[:5])
        )
    splits: dict[str, list[Path]] = {}
    for file in own:
        check_file(file)
        words = re.split(r"[^a-z]+", str(file.relative_to(path)).lower())
        name = split_of(words) or "train"
        splits.setdefault("train" if path == file else name, []).append(file)
    builder = files.builder_of(own[0])
    if delimiter is not None and builder != "csv":
        raise InputError(f"--delimiter {delimiter!r}: {own[0]} is no csv or tsv file; leave it out")
    if builder == "json":
        return _load_json(splits)
    if builder == "parquet":
        return {name: Joined([*map(ParquetRows, those)]) for name, those in splits.items()}, []
    names = {name: [str(file) for file in those] for name, those in splits.items()}
    options, notes = _csv_options(own, delimiter) if builder == "csv" else ({}, [])
    loaded: dict[str, Table] = datasets.load_dataset(builder, data_files=names, **options)
    return loaded, notes


def _csv_options(own: list[Path], delimiter: str | None) -> tuple[dict[str, Any], list[str]]:
    """Every cell as text: 02 is no number, and an answer may be the word None or NA."""
    layouts = {file: csv_layout(file, delimiter) for file in own}
    separator, names, skipped = layouts[own[0]]
    for file, (other, header, lines) in layouts.items():
        if (other, len(header), lines) != (separator, len(names), skipped):
            raise InputError(
                f"{file} has other columns or another separator than {own[0].name}; name one file"
            )
    columns = datasets.Features({name: datasets.Value("string") for name in names})
    options = {
        "keep_default_na": False,
        "sep": separator,
        "names": names,
        "header": 0,
        "skiprows": skipped,
        "features": columns,
    }
    usual = "\t" if kind_of(own[0])[0] == ".tsv" else ","
    said = {"\t": "a tab", " ": "a space"}.get(separator, repr(separator))
    note = f"The separator of {own[0].name} is {said} (--delimiter gives another)."
    return options, [note] if separator != usual else []


def _load_json(splits: dict[str, list[Path]]) -> tuple[dict[str, Table], list[str]]:
    """Rows of JSON files by split; one file by itself may hold several splits."""
    notes: list[str] = []
    loaded: dict[str, list[Part]] = {}
    alone = sum(map(len, splits.values())) == 1
    for name, own in splits.items():
        for file in own:
            if (lines := open_lines(file)) is not None:
                loaded.setdefault(name, []).append(lines)
                continue
            parts, said = read_json(file)
            if set(parts) != {""} and not alone:
                raise InputError(f"{file} holds splits of its own; name it by itself")
            notes += said
            for part, rows in parts.items():
                loaded.setdefault(part or name, []).append(table(rows, file.name))
    return {name: Joined(those) for name, those in loaded.items()}, notes


def _from_hub(source: str, split: str | None, config: str | None, path: Path) -> Rows:
    try:
        with hub_or_cache():
            loaded = datasets.load_dataset(source, config)
    except Exception as error:
        raise InputError(
            f"no file or folder {source}{files.nearest(path)}, and it cannot be read from the hub as a "
            f"dataset ({_reason(error)}); offline, give a local file or folder"
        ) from error
    rows, chosen = _choose(loaded, split, source)
    mark = f"datasets:{rows._fingerprint}"
    return Rows(rows=rows, name=source, split=chosen, fingerprint=mark)


def _choose(loaded: Any, split: str | None, name: str) -> tuple[Any, str | None]:
    """The split asked for, or the only one."""
    if isinstance(loaded, datasets.Dataset):
        if split is not None and str(loaded.split) != split:
            raise InputError(f"{name} has no splits; leave out --split {split}")
        return loaded, str(loaded.split) if loaded.split else None
    if not isinstance(loaded, dict) or isinstance(loaded, datasets.IterableDatasetDict):
        raise InputError(f"{name} is a {type(loaded).__name__}, which has no rows to index")
    names = list(loaded)
    if split is None and len(names) == 1:
        split = names[0]
    if split is None:
        raise InputError(f"{name} has the splits {', '.join(names)}; choose one with --split NAME")
    if split not in loaded:
        hint = did_you_mean(split, names) or ""
        raise InputError(f"{name} has no split {split!r}; {hint} It has {', '.join(names)}")
    return loaded[split], split


def _reason(error: Exception) -> str:
    """First line of the innermost message: datasets wraps the cause."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0][:160].strip(" .") if lines else type(error).__name__
