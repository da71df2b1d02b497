"""Files, folders and hub ids to rows, with a refusal in one line for what cannot be read."""

import difflib
import hashlib
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import datasets

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
Source: TypeAlias = str | Path | datasets.Dataset | datasets.DatasetDict | list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one split and where they come from."""

    rows: datasets.Dataset
    """As datasets reads them."""
    name: str
    """File or folder name, hub id, or `in memory`."""
    split: str | None
    """None where the source has no splits."""
    fingerprint: str
    """`sha256:` of the file's bytes or of the rows as JSON, else `datasets:` fingerprint."""


def load_rows(source: Source, split: str | None, config: str | None) -> Rows:
    """Rows of a file, folder, hub id or object in memory; InputError if unreadable or empty."""
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)
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
        if not all(isinstance(row, dict) for row in source):
            raise InputError("rows in memory must be a list of dicts")
        columns = {key: None for row in source for key in row}
        try:
            rows = datasets.Dataset.from_list([{c: row.get(c) for c in columns} for row in source])
        except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
            raise InputError(f"the rows in memory make no table ({_reason(error)})") from error
        text = json.dumps(source, sort_keys=True, default=str)
        mark = "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return Rows(rows=rows, name="in memory", split=None, fingerprint=mark)
    rows, chosen = _choose(source, split, "in memory")
    return Rows(rows=rows, name="in memory", split=chosen, fingerprint=_own_fingerprint(rows))


def _own_fingerprint(rows: datasets.Dataset) -> str:
    return f"datasets:{rows._fingerprint}"


def _from_name(source: str, split: str | None, config: str | None) -> Rows:
    path = Path(source).expanduser()
    if path.is_file():
        return _from_file(path, split)
    if path.is_dir():
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
    except Exception as error:
        raise InputError(_broken(path, error)) from error
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


def _load_files(path: Path, files: list[Path]) -> datasets.DatasetDict:
    """Files of one kind, put into splits by the words in their names."""
    kinds = {f.suffix.lower() for f in files}
    if len({BUILDERS[k] for k in kinds}) > 1 or kinds >= {".csv", ".tsv"}:
        raise InputError(
            f"the folder {path} mixes {', '.join(sorted(kinds))}; name one of its files: "
            + ", ".join(f.name for f in files[:5])
        )
    splits: dict[str, list[str]] = {}
    for file in files:
        check_file(file)
        words = re.split(r"[^a-z]+", str(file.relative_to(path)).lower())
        name = next((n for n in SPLITS if not {n, *SPLITS[n]}.isdisjoint(words)), "train")
        splits.setdefault("train" if path == file else name, []).append(str(file))
    builder = BUILDERS[kinds.pop()]
    options: dict[str, Any] = {}
    if builder == "csv":
        # An answer may be the word None or NA.
        options = {"keep_default_na": False, "sep": "\t" if files[0].suffix == ".tsv" else ","}
    return datasets.load_dataset(builder, data_files=splits, **options)


def _from_hub(source: str, split: str | None, config: str | None, path: Path) -> Rows:
    try:
        loaded = datasets.load_dataset(source, config)
    except Exception as error:
        raise InputError(
            f"no file or folder {source}{_nearest(path)}, and it cannot be read from the hub as a "
            f"dataset ({_reason(error)}); offline, give a local file or folder"
        ) from error
    rows, chosen = _choose(loaded, split, source)
    return Rows(rows=rows, name=source, split=chosen, fingerprint=_own_fingerprint(rows))


def _choose(loaded: Any, split: str | None, name: str) -> tuple[datasets.Dataset, str | None]:
    """The split asked for, or the only one."""
    if isinstance(loaded, datasets.Dataset):
        if split is not None and str(loaded.split) != split:
            raise InputError(f"{name} has no splits; leave out --split {split}")
        return loaded, str(loaded.split) if loaded.split else None
    if not isinstance(loaded, datasets.DatasetDict):
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


def _broken(path: Path, error: Exception) -> str:
    """Why a file cannot be read, with the line where JSON breaks."""
    if path.suffix in (".json", ".jsonl") and (line := json_error(path)):
        return f"broken JSON on line {line[0]} of {path}: {line[1]}"
    if "corresponds to no data" in str(error):
        return f"{path} has no rows"
    return f"{path} cannot be read as {path.suffix[1:]} ({_reason(error)})"


def json_error(path: Path) -> tuple[int, str] | None:
    """Line number and reason of the first break in a JSON array or JSON lines file."""
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        return _first_error([text])
    return _first_error(text.split("\n"))


def _first_error(parts: Iterable[str]) -> tuple[int, str] | None:
    for number, part in enumerate(parts):
        if part.strip():
            try:
                json.loads(part)
            except json.JSONDecodeError as error:
                return number + error.lineno, f"{error.msg} (column {error.colno})"
    return None


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
