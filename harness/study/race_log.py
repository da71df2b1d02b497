"""What was believed before every piece of a race, kept beside its records: `race.jsonl`.

A line a piece, and one at the end. Two processes that share a race write lines of their own turns.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from advisor.errors import InputError
from advisor.files import parse_json
from advisor.values import built, dataclass_of
from harness.records.runs import RunSpec
from harness.study.race import State

LOG = "race.jsonl"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a watcher is told before every piece, and at the end."""

    arms: tuple[RunSpec, ...]
    """By number."""
    shares: tuple[float, ...]
    """Of the steps at which they are scored."""
    state: State
    """Where the race stands."""
    spent: float
    """Seconds of this process so far."""
    run_seconds: float
    """Of a full run."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a race stood."""

    points: dict[str, float]
    """By id of a run's specification: what it is expected to score at its end."""
    interval: tuple[float, float]
    """Of the leader: points between which it is believed to score with 90 %."""
    leader: str
    """Id of the run that is best to keep."""
    regret: float
    """Points by which it is expected to stay below the best."""
    chance_over_5: float
    """Chance that it stays more than five points below."""
    next: str | None
    """Id of the run that goes on; None: the race is over."""
    until: float | None
    """Share of its steps to which it does."""
    worth: float | None
    """Points that this is expected to add."""
    cost: float | None
    """Of it, full runs."""


STANDING = dataclass_of(Standing)


def standing_of(told: Told) -> Standing:
    """A state of a race as the log keeps it."""
    state, piece = told.state, told.state.piece
    points = zip(told.arms, state.belief.points(), strict=True)
    low, high = state.belief.interval()[state.leader]
    return Standing(
        points={spec.id: round(float(expected), 2) for spec, expected in points},
        interval=(round(float(low), 2), round(float(high), 2)),
        leader=told.arms[state.leader].id,
        regret=round(state.regret, 3),
        chance_over_5=round(state.chance_over_5, 4),
        next=None if piece is None else told.arms[piece.arm].id,
        until=None if piece is None else told.shares[piece.share],
        worth=None if piece is None else round(piece.worth, 3),
        cost=None if piece is None else round(piece.cost, 3),
    )


def note(folder: Path, told: Told) -> None:
    """Add where a race stands, unless the log ends with just that, as after a restart.

    Raises:
        InputError: the log cannot be written.
    """
    now = standing_of(told)
    if (before := standings(folder)) and before[-1] == now:
        return
    path = folder / LOG
    try:
        with path.open("ab+") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.write(b"\n")  # a kill cut the line before
            file.write(json.dumps(asdict(now)).encode() + b"\n")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: {reason}: make room or give another --results folder") from None


def standings(folder: Path) -> list[Standing]:
    """Every line of the log; one that a kill cut short is passed over."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        try:
            found.append(built(STANDING, parse_json(line), "standing"))
        except (ValueError, InputError):
            continue
    return found
