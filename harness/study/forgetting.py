"""What a study's arms forget: guard tasks, which nothing was trained for, against the untouched model.

Pure. `confirm --guard TASK` has every run scored on guards as well; they choose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records.arm import BASE, Arm
from harness.study.contrasts import Board, Race, Row, Sheet, contrasts
from harness.study.from_records import Evidence
from harness.study.study import board_unit, sheet_of

UNTOUCHED = "the untouched model"
LOST, NOT_LOST = ("worse", "behind"), ("equivalent", "better", "ahead")


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What an arm gains on the task and loses on a guard, both against the untouched model."""

    gain: Row
    """On the task."""
    guard: Row
    """On the guard; below zero where it forgets."""


def guard_rows(evidence: Evidence, *, margin: float | None = None) -> tuple[Row, ...]:
    """Every arm against the untouched model on every guard; empty where none was scored.

    Args:
        evidence: of a study.
        margin: difference that does not matter; None: one point for shares, none for other units.
    """
    arms, race = evidence.arms(), Race(margin=margin)
    rows: list[Row] = []
    for guard in evidence.study.guards:
        board = _board(evidence, guard, arms)
        scored = () if board is None else tuple(board.runs)
        base = next((arm for arm in scored if arm.objective == BASE), None)
        if board is not None and base is not None:
            rows += contrasts(board, scored, base, race)
    return tuple(rows)


def trades(evidence: Evidence, *, margin: float | None = None) -> tuple[Trade, ...]:
    """Gain and loss of every arm, a trade for each guard."""
    rows = guard_rows(evidence, margin=margin)
    if not rows:
        return ()
    board = evidence.board(evidence.arms())
    base = next(arm for arm in board.runs if arm.objective == BASE)
    gains = contrasts(board, board.runs, base, Race(margin=margin))
    by_arm = {row.arm: row for row in gains}
    return tuple(Trade(gain=by_arm[row.arm], guard=row) for row in rows if row.arm in by_arm)


def said_of(arm: Arm, rows: Sequence[Row]) -> str:
    """What an arm loses on the guards, in a sentence; empty without guards and of the untouched model."""
    own = [row for row in rows if row.arm == arm]
    lost = [row for row in own if row.verdict in LOST]
    if lost:
        each = ", ".join(f"{_measured(row)} on {row.task}" for row in lost)
        return f"It forgets: {each}, against {UNTOUCHED}."
    if not own:
        return ""
    names = ", ".join(row.task for row in own)
    if all(row.verdict in NOT_LOST for row in own):
        return f"It forgets nothing of {names}."
    worst = min(own, key=lambda row: row.gain_interval[0])
    return f"That it forgets anything of {names} is not shown (at worst {_measured(worst)} on {worst.task})."


def _measured(row: Row) -> str:
    gain, low, high = row.shown
    return f"{gain} {row.unit} (95 % interval {low} to {high})"


def _board(evidence: Evidence, guard: str, arms: Sequence[Arm]) -> Board | None:
    """Scores of a guard, of the arms that have some; None where none has."""
    study, done = evidence.study, evidence.done
    runs: dict[Arm, dict[int, Sheet]] = {}
    found = []
    for arm in arms:
        for seed in evidence.seeds(arm):
            own = [s for s in done[study.spec(arm, seed).id].guards if s.task == guard]
            if own:
                found += own
                runs.setdefault(arm, {})[seed] = sheet_of(own)
    if not found:
        return None
    return Board(task=guard, temperature=found[0].temperature, runs=runs, **board_unit(found))
