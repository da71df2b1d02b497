"""Files, folders and hub ids to rows, with a refusal in one line for what cannot be read.

JSON is read here, not by datasets, which turns dates into timestamps and 2 into 2.0: text and
numbers stay as they are written. CSV is text throughout.
"""

import csv
import difflib
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import huggingface_hub

from advisor import checkpoint
from advisor.errors import InputError

BUILDERS = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
SPLITS = {
    "train": ("training",),
    "validation": ("valid", "val", "dev"),
    "test": ("testing", "eval"),
}
TEXT_SUFFIXES = frozenset({".json", ".jsonl", ".csv", ".tsv"})
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
Table: TypeAlias = datasets.Dataset | list[dict[str, Any]]
Source: TypeAlias = str | Path | datasets.DatasetDict | Table


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
    """`sha256:` of the file's bytes or of the rows as JSON, else `datasets:` fingerprint."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names in the order of the source."""
        return tuple(self.rows[0])


def load_rows(source: Source, split: str | None, config: str | None) -> Rows:
    """Rows of a file, folder, hub id or object in memory; InputError if unreadable or empty."""
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
    huggingface_hub.logging.set_verbosity(logging.CRITICAL)
    if isinstance(source, str | Path):
        found = _from_name(str(source), split, config)
    else:
        found = _from_memory(source, split)
    if len(found.rows) == 0:
        raise InputError(f"{found.name} has no rows")
    return found


def _from_memory(source: Any, split: str | None) -> Rows:
    if isinstance(source, list):
        if not source:
            raise InputError("the dataset is an empty list; give at least one row")
        rows = _table(source, "the rows in memory")
        text = json.dumps(source, sort_keys=True, default=str)
        mark = "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return Rows(rows=rows, name="in memory", split=None, fingerprint=mark)
    chosen_rows, chosen = _choose(source, split, "in memory")
    mark = f"datasets:{chosen_rows._fingerprint}"
    return Rows(rows=chosen_rows, name="in memory", split=chosen, fingerprint=mark)


def _table(rows: list[Any], name: str) -> list[dict[str, Any]]:
    """Rows with the same columns each; a bare text is a row with the column `text`."""
    rows = [{"text": row} if isinstance(row, str) else row for row in rows]
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
            raise InputError(f"{name}, row {i} (counted from 0): not an object with named columns")
    columns = {key: None for row in rows for key in row}
    return [{column: row.get(column) for column in columns} for row in rows]


def _from_name(source: str, split: str | None, config: str | None) -> Rows:
    path, there = checkpoint.find(source)
    if there == "file":
        return _from_file(path, split)
    if there == "folder":
        return _from_folder(path, split)
    if path.suffix in BUILDERS or not HUB_ID.fullmatch(source):
        raise InputError(f"no file or folder {source}{_nearest(path)}")
    return _from_hub(source, split, config, path)


def _from_file(path: Path, split: str | None) -> Rows:
    builder = BUILDERS.get(path.suffix.lower())
    if builder is None:
        raise InputError(
            f"{path}: unknown file type {path.suffix or '(none)'}; known are {', '.join(BUILDERS)}"
        )
    if split not in (None, "train"):
        raise InputError(f"{path} is one file without splits; leave out --split {split}")
    check_file(path)
    try:
        rows = _load_files(path, [path])["train"]
    except InputError:
        raise
    except Exception as error:
        reason = _reason(error)
        if "corresponds to no data" in str(error):
            raise InputError(f"{path} has no rows") from error
        raise InputError(f"{path} cannot be read as {path.suffix[1:]} ({reason})") from error
    return Rows(rows=rows, name=path.name, split=None, fingerprint=_hash([path]))


def _from_folder(path: Path, split: str | None) -> Rows:
    saved = (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in BUILDERS and p.is_file())
    if not files:
        raise InputError(f"the folder {path} has no data file; known are {', '.join(BUILDERS)}")
    try:
        loaded = datasets.load_from_disk(str(path)) if saved else _load_files(path, files)
    except InputError:
        raise
    except Exception as error:
        names = ", ".join(f.name for f in files[:5])
        raise InputError(
            f"the folder {path} cannot be read as one dataset ({_reason(error)}); name one of its "
            f"files: {names}"
        ) from error
    rows, chosen = _choose(loaded, split, str(path))
    return Rows(rows=rows, name=path.name, split=chosen, fingerprint=_hash(files))


def _load_files(path: Path, files: list[Path]) -> dict[str, Table]:
    """Files of one kind, put into splits by the words in their names."""
    kinds = {f.suffix.lower() for f in files}
    if len({BUILDERS[k] for k in kinds}) > 1 or kinds >= {".csv", ".tsv"}:
        raise InputError(
            f"the folder {path} mixes {', '.join(sorted(kinds))}; name one of its files: "
            + ", ".join(f.name for f in files[:5])
        )
    splits: dict[str, list[Path]] = {}
    for file in files:
        check_file(file)
        words = re.split(r"[^a-z]+", str(file.relative_to(path)).lower())
        name = next((n for n in SPLITS if not {n, *SPLITS[n]}.isdisjoint(words)), "train")
        splits.setdefault("train" if path == file else name, []).append(file)
    builder = BUILDERS[kinds.pop()]
    if builder == "json":
        return {name: _read_json(own) for name, own in splits.items()}
    names = {name: [str(file) for file in own] for name, own in splits.items()}
    options = _csv_options(files[0]) if builder == "csv" else {}
    loaded: dict[str, Table] = datasets.load_dataset(builder, data_files=names, **options)
    return loaded


def _csv_options(file: Path) -> dict[str, Any]:
    """Every cell as text: 02 is no number, and an answer may be the word None or NA."""
    separator = "\t" if file.suffix.lower() == ".tsv" else ","
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = (row for row in csv.reader(stream, delimiter=separator) if row)
        header, first = next(rows), next(rows, [])
    if len(set(header)) < len(header) or len(first) > len(header):
        raise InputError(
            f"{file}: {len(header)} column names ({', '.join(header[:20])}) for {len(first)} cells, "
            "or one name twice; correct its first line"
        )
    columns = datasets.Features({name: datasets.Value("string") for name in header})
    return {"keep_default_na": False, "sep": separator, "features": columns}


def _read_json(files: list[Path]) -> list[dict[str, Any]]:
    """Rows of files that each hold an array, one object, or an object on every line."""
    rows = []
    for file in files:
        text = file.read_text(encoding="utf-8-sig")
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            found = list(_json_lines(file, text))
        if found is not None:
            rows += _table(found if isinstance(found, list) else [found], file.name)
    return _table(rows, "")


def _json_lines(file: Path, text: str) -> Iterator[Any]:
    """The value on each line; InputError names the first line that is broken."""
    for number, part in enumerate([text] if text.lstrip()[:1] == "[" else text.split("\n")):
        if part.strip():
            try:
                yield json.loads(part)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"broken JSON on line {number + error.lineno} of {file}: {error.msg} "
                    f"(column {error.colno})"
                ) from error


def _from_hub(source: str, split: str | None, config: str | None, path: Path) -> Rows:
    try:
        with checkpoint.hub_or_cache():
            loaded = datasets.load_dataset(source, config)
    except Exception as error:
        raise InputError(
            f"no file or folder {source}{_nearest(path)}, and it cannot be read from the hub as a "
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
        near = difflib.get_close_matches(split, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"{name} has no split {split!r}; {hint}It has {', '.join(names)}")
    return loaded[split], split


def check_file(path: Path) -> None:
    """Refuse an empty file and text that is not UTF-8, naming the line."""
    if not path.stat().st_size:
        raise InputError(f"{path} is empty")
    if path.suffix.lower() not in TEXT_SUFFIXES:
        return
    blank = True
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                blank = not line.decode().strip("\ufeff \t\r\n") and blank
            except UnicodeDecodeError as error:
                raise InputError(_not_utf8(path, number, line, error)) from error
    if blank:
        raise InputError(f"{path} is empty")


def _not_utf8(path: Path, number: int, line: bytes, error: UnicodeDecodeError) -> str:
    name = "utf-16" if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
    return (
        f"{path} is not UTF-8 text: byte 0x{line[error.start]:02x} on line {number}, column "
        f"{error.start + 1}; convert it, e.g. iconv -f {name} -t utf-8 {path.name} > utf8"
        f"{path.suffix}"
    )


def _reason(error: Exception) -> str:
    """First line of the innermost message: datasets wraps the cause."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0][:160].strip(" .") if lines else type(error).__name__


def _nearest(path: Path) -> str:
    """A hint at the most similar name in the same folder."""
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return "sha256:" + digest.hexdigest()[:16]
