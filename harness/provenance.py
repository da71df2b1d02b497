"""What came of each row of a dataset that is rewritten, kept in a file while the work goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from advisor.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a row."""

    row: int
    """Number in the source, from 0."""
    origin: str
    """own or hinted: verified; else why not: marker_missing, repeated, unfinished, wrong, too_long (the hint
    does not fit the context), unverifiable (the demonstration has no final answer) or no_target."""
    completion: str | None = None
    """The new target, where it is verified."""
    own_share: float | None = None
    """Mean weight of the plain stream in hinted decoding."""


class Provenance:
    """The settings on a file's first line and an outcome on each other, added to as rows are done."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.outcomes: dict[int, Outcome] = {}
        """By row, of this and of earlier attempts."""
        lines = self._whole_lines()
        if not lines:
            self._write([json.dumps(header)])
            return
        self._compare(json.loads(lines[0]), json.loads(json.dumps(header)))
        found = [Outcome(**json.loads(line)) for line in lines[1:]]
        self.outcomes = {outcome.row: outcome for outcome in found}

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes; they are on the disk when this returns."""
        self._write([json.dumps(asdict(outcome), ensure_ascii=False) for outcome in outcomes])
        self.outcomes |= {outcome.row: outcome for outcome in outcomes}

    def _whole_lines(self) -> list[str]:
        """The lines that are whole; what a kill left of another is cut off."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        return whole.decode().split("\n")[:-1]

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            raise InputError(
                f"{self.path} holds rows rewritten with another {', '.join(changed)}: give another "
                "--output_path, or remove it"
            )

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
