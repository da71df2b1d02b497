"""What came out of the study: a line of JSON for every cell and for every run, appended as they finish.

Records as `harness/records/runs.py` writes them would take a hundred times the space for thousands of
runs; here the answers of a run are one bit a document. A process that is killed leaves at most a torn last
line, which is dropped. Several processes write to a file each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CellLine:
    """What was measured on a cell before any training."""

    cell: str
    """Name of the cell."""
    prior: Mapping[str, Any]
    """`Prior.to_dict()` over all demonstrations."""
    deep: Mapping[str, Any] | None
    """`Deep.to_dict()`."""
    fingerprints: Mapping[str, str]
    """Of model and demonstrations."""
    environment: Mapping[str, Any]
    """Versions, device, commit."""
    forecast: Mapping[str, Any] = field(default_factory=dict)
    """What was advised and forecast before the first run, where the study keeps that."""


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """One fine-tune of a cell, or its untouched base."""

    cell: str
    """Name of the cell."""
    objective: str
    """Label in the table of objectives, or "base"."""
    learning_rate: float | None
    """None for the base."""
    seed: int
    """Of order and sampling."""
    answers: Mapping[str, str]
    """`part@temperature` -> whether each document was answered rightly (see `pack`)."""
    last: Mapping[str, float] = field(default_factory=dict)
    """The last entry of the step log."""
    seconds: float = 0.0
    """Of training and scoring."""
    share: float = 1.0
    """Of the steps of a whole run; below 1 in a race, which answers development problems alone."""
    curve: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Share of the steps, as text -> `answers` of the development part at that time; empty without a look."""
    forgetting: Mapping[str, float] = field(default_factory=dict)
    """Measures of how far the model has moved from the untouched one, where the study takes them."""

    @property
    def key(self) -> tuple[str, str, float | None, int, float]:
        """Identifies the run in the study."""
        return self.cell, self.objective, self.learning_rate, self.seed, self.share

    def right(self, part: str, temperature: float) -> NDArray[np.bool_]:
        """[documents] whether each was answered rightly."""
        return unpack(self.answers[f"{part}@{temperature:g}"])


def pack(right: Sequence[bool]) -> str:
    """Booleans as their number and hexadecimal digits."""
    return f"{len(right)}:{np.packbits(np.asarray(right, dtype=bool)).tobytes().hex()}"


def unpack(text: str) -> NDArray[np.bool_]:
    """The inverse of `pack`."""
    number, _, digits = text.partition(":")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), dtype=np.uint8), count=int(number))
    return bits.astype(bool)


def append(path: Path, line: CellLine | RunLine) -> None:
    """Add a line and see it onto the disk."""
    kind = "cell" if isinstance(line, CellLine) else "run"
    append_line(path, {"kind": kind, **dataclasses.asdict(line)})


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add an object of JSON as a line of its own, even after a torn one, and see it onto the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(entry, separators=(",", ":"))
    with path.open("a+b") as file:
        if _torn(file):
            file.write(b"\n")
        file.write(text.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> tuple[dict[str, CellLine], list[RunLine]]:
    """Every line under a folder: cells by name, and runs, each once.

    Raises:
        InputError: a line before the last of its file is broken.
    """
    cells: dict[str, CellLine] = {}
    runs: dict[Any, RunLine] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for entry in _entries(path):
            if entry.pop("kind") == "cell":
                cells.setdefault(entry["cell"], CellLine(**entry))
            else:
                run = RunLine(**entry)
                runs.setdefault(run.key, run)
    return cells, list(runs.values())


def fingerprint(folders: Iterable[Path]) -> str:
    """SHA-256 of every ledger in some folders, in order."""
    whole = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.jsonl")):
            whole.update(path.read_bytes())
    return whole.hexdigest()


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line) if line.strip() else None
        except ValueError as error:
            # What a killed process left; a process that went on has begun a new line after it.
            if number < len(lines) and lines[number].strip() and not _begins_anew(lines[number]):
                raise InputError(f"{path}, line {number}: broken ({error})") from error
            continue
        if entry is not None:
            yield entry


def _begins_anew(line: str) -> bool:
    return line.startswith('{"kind":')


def _torn(file: Any) -> bool:
    """Whether the file ends in the middle of a line."""
    if file.tell() == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) != b"\n")
