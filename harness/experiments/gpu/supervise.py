"""Parts of a run, each within its own time, in a process that is started anew where one breaks it.

What a part has found is written as soon as it says so, by this process alone. No torch: it has nothing that a
device error could break.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from advisor.errors import InputError

Found = dict[str, Any]
Tell = Callable[[Found], None]
"""Told what a part has found since, to be saved at once."""
LEAST, START = 3.0, 120.0
"""Seconds below which no part is begun, and that a process may take to import what it needs."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run is made."""

    device: str = "cuda"
    minutes: float = 9.0
    """In all."""
    small: bool = False
    """Whether sizes are those of a rehearsal, whose figures mean nothing."""
    only: tuple[str, ...] = ()
    """Names of parts; empty for all."""
    table: str = "harness.experiments.gpu.parts:PARTS"
    """Module and name of the parts, for the process that runs them."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the run."""

    name: str
    limit: float
    """Seconds."""
    run: Callable[[Any, Tell], Found]
    """(what the parts share, tell) -> what it has found in the end."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The parts, in their order, and what they share."""

    parts: Sequence[Part]
    shared: Callable[[Settings], Any]
    """Made once in every process, lazily: it holds what parts have in common."""


class Skipped(Exception):
    """A part that cannot run here, with the reason."""


def supervise(settings: Settings, output: Path, *, say: Callable[[str], None]) -> Found:
    """Run the parts, saving what they find as they go; gives the record.

    Args:
        settings: of the run.
        output: a file that is not there yet.
        say: told a line for every part.

    Raises:
        InputError: the file is there, or no part has such a name.
    """
    if output.exists():
        raise InputError(f"{output}: is there already: give another --output_path")
    table = table_of(settings)
    limits = {part.name: part.limit for part in table.parts}
    if unknown := [name for name in settings.only if name not in limits]:
        raise InputError(f"--parts {unknown[0]}: use {', '.join(limits)}")
    names = [name for name in limits if not settings.only or name in settings.only]
    record: Found = {
        "minutes": settings.minutes,
        "device": settings.device,
        "rehearsal": settings.small,
        "parts": {name: {"state": "not begun"} for name in names},
    }
    run = _Run(settings, record, output, say, limits)
    while names:
        names = run.in_one_process(names)
    say(f"{output}: {sum(p['state'] == 'done' for p in record['parts'].values())} parts done")
    return record


def table_of(settings: Settings) -> Table:
    """The table that the settings name."""
    module, _, name = settings.table.partition(":")
    found: Table = getattr(importlib.import_module(module), name)
    return found


class _Run:
    """One run under way."""

    def __init__(
        self,
        settings: Settings,
        record: Found,
        output: Path,
        say: Callable[[str], None],
        limits: Mapping[str, float],
    ) -> None:
        self.settings, self.record, self.output, self.say = settings, record, output, say
        self.limits = limits
        self.end = time.monotonic() + 60 * settings.minutes

    def in_one_process(self, names: Sequence[str]) -> list[str]:
        """Run parts until one ends the process; gives those that are left."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self.settings), daemon=False)
        process.start()
        theirs.close()
        left = list(names)
        try:
            if not _is_ready(ours):
                self._end(left.pop(0), time.monotonic(), "died", "its process did not start")
                return left
            while left:
                name = left.pop(0)
                seconds = min(self.limits[name], self.end - time.monotonic())
                if seconds < LEAST:
                    self.note(name, state="skipped", reason="no time was left")
                    continue
                if not self._part(name, seconds, ours):
                    break
        finally:
            process.kill()
            process.join()
            ours.close()
        return left

    def _part(self, name: str, seconds: float, worker: Connection) -> bool:
        """Have one part run; whether its process is fit for another one."""
        begun = time.monotonic()
        self.note(name, state="running")
        worker.send((name, seconds))
        while True:
            rest = begun + seconds - time.monotonic()
            try:
                if rest <= 0 or not worker.poll(rest):
                    self._end(name, begun, "stopped", f"it took longer than {seconds:.0f} s")
                    return False
                kind, content = worker.recv()
            except (EOFError, ConnectionError):
                self._end(name, begun, "died", "its process ended without a word")
                return False
            if kind == "found":
                self.note(name, found=content)
                continue
            state, reason = content
            self._end(name, begun, state, reason)
            return bool(state != "failed")  # an error of the device stays with the process

    def _end(self, name: str, begun: float, state: str, reason: str) -> None:
        more: Found = {"reason": reason} if reason else {}
        seconds = round(time.monotonic() - begun, 2)
        self.note(name, state=state, seconds=seconds, **more)
        self.say(f"{name}: {state} in {seconds:.0f} s" + (f" ({reason})" if reason else ""))

    def note(self, name: str, *, found: Found | None = None, **fields: Any) -> None:
        """Add to what is known of a part, and save the record."""
        part = self.record["parts"][name]
        part.update(fields)
        if found:
            part["found"] = {**part.get("found", {}), **found}
        save(self.output, self.record)


def _is_ready(worker: Connection) -> bool:
    try:
        return bool(worker.poll(START) and worker.recv())
    except (EOFError, ConnectionError):
        return False


def save(output: Path, record: Found) -> None:
    """Write a record as JSON, whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f"{output.name}.part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(output)


def work(supervisor: Connection, settings: Settings) -> None:
    """What the process of the parts does: run each one that it is sent the name of."""
    table = table_of(settings)
    parts = {part.name: part for part in table.parts}
    shared: Any = None
    supervisor.send("ready")

    def tell(found: Found) -> None:
        supervisor.send(("found", found))

    while True:
        try:
            name, seconds = supervisor.recv()
        except EOFError:
            return
        try:
            shared = shared or table.shared(settings)
            shared.until = time.monotonic() + seconds
            tell(parts[name].run(shared, tell))
        except Skipped as reason:
            supervisor.send(("ended", ("skipped", str(reason))))
        except Exception as error:  # of a device, a kernel, a library: anything
            line = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
            supervisor.send(("ended", ("failed", line)))
        else:
            supervisor.send(("ended", ("done", "")))
