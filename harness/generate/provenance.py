"""What came of each row of a dataset that is rewritten, kept in a file while the work goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.files import parse_json
from advisor.values import built, dataclass_of

KEPT = ("own", "hinted", "guided")
"""Where a verified answer comes from, by `Outcome.origin`."""
FAILED = {
    "marker_missing": "the analysis ends without the marker",
    "repeated": "the hinted answer repeats itself",
    "unfinished": "the hinted answer has no end",
    "unmarked": "the hinted answer has no final answer in the form of the demonstrations",
    "wrong": "the hinted answer is wrong",
    "too_long": "no right answer unaided, and the model's context has no room for the prompt with the hint "
    "and what follows it: give a shorter --hint",
    "unverifiable": "the demonstration has no final answer",
    "no_target": "the demonstration has nothing to train on",
}
"""Why a row has no verified answer, by `Outcome.origin`."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a row."""

    row: int
    """Number in the source, from 0."""
    origin: str
    """One of KEPT or of FAILED."""
    completion: str | None = None
    """The new target, where it is verified."""
    own_share: float | None = None
    """Mean weight of the plain stream in hinted decoding."""


OUTCOME = dataclass_of(Outcome)


class Provenance:
    """The settings on a file's first line and an outcome on each other, added to as rows are done."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.outcomes: dict[int, Outcome] = {}
        """By row, of this and of earlier attempts."""
        content = self._content()
        if not content:
            self._write([json.dumps(header)])
            return
        *lines, torn = content.split(b"\n")
        self._compare(_object(lines[0]) if lines else {}, json.loads(json.dumps(header)))
        self.outcomes = {outcome.row: outcome for outcome in map(self._outcome, lines[1:])}
        if torn:  # what a kill left of a line; a file that is not ours is as it was
            os.truncate(path, len(content) - len(torn))

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes; they are on the disk when this returns."""
        self._write([json.dumps(asdict(outcome), ensure_ascii=False) for outcome in outcomes])
        self.outcomes |= {outcome.row: outcome for outcome in outcomes}

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise self._refused(f"cannot be read ({error.strerror})") from None

    def _outcome(self, line: bytes) -> Outcome:
        try:
            outcome = built(OUTCOME, _object(line), "outcome")
        except InputError:
            outcome = None
        if outcome is None or outcome.row < 0 or outcome.origin not in (*KEPT, *FAILED):
            text = line[:60].decode(errors="replace")
            raise self._refused(f"has a line that is no row's outcome ({text})")
        return outcome

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        missing = now.keys() - before.keys()
        if missing == now.keys():
            raise self._refused("is there and is no provenance of a rewriting")
        if missing:
            noted = ", ".join(sorted(missing))
            raise self._refused(f"holds rows of an earlier version, which noted no {noted}")
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            raise self._refused(f"holds rows rewritten with another {', '.join(changed)}")

    def _refused(self, why: str) -> InputError:
        return InputError(f"{self.path} {why}: give another --output_path, or remove it")

    def _write(self, lines: Sequence[str]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write("".join(line + "\n" for line in lines).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written ({error.strerror}): give another --output_path"
            ) from None


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object on a line; empty where there is none."""
    try:
        found = parse_json(line.decode())
    except ValueError:  # nor UTF-8
        return {}
    return found if isinstance(found, dict) else {}
