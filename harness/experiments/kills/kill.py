"""One study or training that is killed some times at one place, and then left to end."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

from harness.cli import main as cli
from harness.cli import signals
from harness.experiments.kills.came import Came
from harness.experiments.kills.journal import KILL, note, read, watch, watch_training
from harness.experiments.kills.places import FLAG, Place
from harness.experiments.kills.works import Work, differing, outcome

KILLS = 7
"""Of one study at most."""
LIMIT = 600.0
"""Seconds after which a process hangs."""
ORPHANS = 15.0
"""Seconds in which children of a killed process have to end; torch looks every five whether it lives."""


class Ended(Exception):
    """A process ended otherwise than it should."""


def whole(work: Work, folder: Path) -> dict[str, object]:
    """What comes out where nothing is killed."""
    out = _made(folder) / "out"
    code, _ = _run(work, folder, out)
    if code:
        raise Ended(f"exit code {code}: {_said(folder)}")
    return outcome(out)


def killed(
    place: Place,
    number: int,
    work: Work,
    right: dict[str, object],
    folder: Path,
    kills: int = KILLS,
) -> Came:
    """Kill a study or a training at a place, up to some times, and let it end.

    Raises:
        Ended: a process ends otherwise than by the kill, or does not go on afterwards.
    """
    began, rng, out = time.monotonic(), Random(f"{place.name} {number}"), _made(folder) / "out"
    journal = folder / "journal"
    journal.touch()
    left: list[str] = []
    for _ in range(kills):
        code, orphans = _run(work, folder, out, lambda: place.arm(rng))
        left += orphans
        if code == 0:
            break
        _as_it_should(place, code, folder)
        note(journal, KILL)
        rng.random()  # the child drew from a copy
    code, orphans = _run(work, folder, out)
    if code:
        raise Ended(f"{place.name}: exit code {code} after the kills: {_said(folder)}")
    told = read(journal)
    lost, more = differing(outcome(out), right)
    return Came(
        place=place.name,
        number=number,
        kills=told.kills,
        lost=tuple(lost),
        repeated=told.repeated,
        in_hand=told.in_hand,
        left=(*more, *left, *orphans),
        seconds=time.monotonic() - began,
    )


def _as_it_should(place: Place, code: int, folder: Path) -> None:
    """See that a process ended by the kill; one that can still say so does it in one line."""
    said = _said(folder)
    if code != place.code or not said.startswith(place.line):
        raise Ended(f"{place.name}: exit code {code}, not {place.code}: {said}")
    if place.line and "Traceback" in (folder / "output").read_text(errors="replace"):
        raise Ended(f"{place.name}: says more than a line")


def _run(
    work: Work, folder: Path, out: Path, arm: Callable[[], None] = lambda: None
) -> tuple[int, list[str]]:
    """Exit code of a child that works, negative of a signal, and what outlives it."""
    child = os.fork()
    if not child:
        _work(work, folder, out, arm)
    until = time.monotonic() + LIMIT
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise Ended(f"it hung for {LIMIT:.0f} s: {_said(folder)}")
        time.sleep(0.005)
    until = time.monotonic() + ORPHANS
    while (orphans := _group(child)) and time.monotonic() < until:
        time.sleep(0.1)
    return os.waitstatus_to_exitcode(found[1]), orphans


def _work(work: Work, folder: Path, out: Path, arm: Callable[[], None]) -> None:
    """What a child does, to its end; it never comes back into what its parent does."""
    code = 99
    try:
        os.setpgid(0, 0)
        os.environ[FLAG] = str(folder / "flag")
        with (folder / "output").open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if work.trains:
            watch_training(folder / "journal")
        else:
            watch(folder / "journal", to_the_end=True)
        arm()
        for name in signals.ENDING:  # `nohup` may have had this process ignore one
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        signals.prepare()
        code = cli.main(work.command(out))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _group(number: int) -> list[str]:
    """Processes of a group that are alive, by name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition(" (")[2].rpartition(") ")
        except OSError:  # it has ended
            continue
        state, _, group = rest.split()[:3]
        if int(group) == number and state not in "ZX":
            found.append(f"process {name}")
    return found


def _said(folder: Path) -> str:
    """The last line that a child has said."""
    lines = (folder / "output").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing was said"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
