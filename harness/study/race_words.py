"""What a person is told of a race before each piece, and at its end: one line."""

from __future__ import annotations

from fractions import Fraction

from advisor.progress import span
from harness.records.runs import RunSpec
from harness.study.race_log import Told


def told_in_words(told: Told) -> str:
    """The best so far, what may be lost by keeping it, and what is next with its worth and its price."""
    state = told.state
    low, high = state.belief.interval()[state.leader]
    points = float(state.belief.points()[state.leader])
    best = (
        f"best so far: {name(told.arms[state.leader])}, expected {points:.0f} points "
        f"({low:.0f} to {high:.0f}); keeping it is expected to lose {state.regret:.1f} points, "
        f"more than 5 with a chance of {state.chance_over_5:.0%}"
    )
    piece = state.piece
    if piece is None:
        return f"{best}; no further piece is worth its price"
    until = Fraction(told.shares[piece.share]).limit_denominator(64)
    where = "its end" if until == 1 else f"{until} of its steps"
    took = span(max(1.0, piece.cost * told.run_seconds))
    why = (
        "which has to be finished"
        if piece.arm == state.leader and piece.worth == 0
        else f"which may add {piece.worth:.1f} points for about {took}"
    )
    return f"{best}; next: {name(told.arms[piece.arm])} to {where}, {why}"


def name(spec: RunSpec) -> str:
    """An arm and its rate."""
    return f"{spec.arm.method} at {spec.arm.learning_rate:g}"
