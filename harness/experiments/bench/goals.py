"""The goals, and the table that says which are met: numbers of the project's performance bar.

Each is a ratio of two things measured in the same run, so that it means the same on another machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.experiments.bench.measure import Ratio

NOISY = 0.15  # spread of the floor's own time beyond which a missed goal may be noise


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One goal and what was measured."""

    name: str
    """H1 to H9, S1, S2, P1 to P4, A1, A2."""
    what: str
    """The ratio in words."""
    where: str
    """Shape, dtype, share of supervised tokens, ..."""
    bound: float
    measured: Ratio
    at_least: bool = False
    """Whether larger is better."""

    @property
    def met(self) -> bool:
        """Whether the median reaches the bound."""
        median = self.measured.median
        return median >= self.bound if self.at_least else median <= self.bound

    def as_json(self) -> dict[str, Any]:
        """Every field, and the verdict."""
        return {**asdict(self), "met": self.met}


def table(goals: Iterable[Goal]) -> list[str]:
    """The goals as lines of text, in their order."""
    rows = [("", "ratio", "where", "goal", "measured", "")]
    for goal in sorted(goals, key=lambda goal: goal.name):
        sign = ">=" if goal.at_least else "<="
        verdict = "met" if goal.met else "missed"
        bound = f"{sign} {goal.bound:g}"
        rows.append((goal.name, goal.what, goal.where, bound, str(goal.measured), verdict))
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with their columns under one another."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(f"{x:<{w}}" for x, w in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a bench's record as JSON, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
