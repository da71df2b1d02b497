"""What came of the starts: a line of JSON each, appended as they end; a torn last line is dropped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.experiments.afterwards.plan import Start
from harness.experiments.calibration.ledger import append_line
from harness.statistics.pass_at_k import SAMPLES

LEDGER = "ledger.jsonl"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A start that was sampled, continued, and sampled again."""

    cell: str
    """As of `Start`, like the next four."""
    objective: str
    learning_rate: float | None
    seed: int
    steps: int
    before: tuple[int, ...]
    """Right answers of SAMPLES to each test problem."""
    after: tuple[int, ...] = ()
    """After GRPO; empty where it is not continued."""
    rewards: tuple[float, ...] = ()
    """Mean reward of every step."""
    rate: float | None = None
    """Learning rate of GRPO."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time by what it went into."""
    fingerprint: str = ""
    """Of the untouched model."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the packages."""

    @property
    def start(self) -> Start:
        """As the plan has it."""
        names = [one.name for one in dataclasses.fields(Start)]
        return Start(**{name: getattr(self, name) for name in names})

    def values(self, when: str) -> NDArray[np.float64]:
        """[problems, answers] 1 where an answer is right; an item's right answers come first.

        Args:
            when: "before" or "after".
        """
        counts = np.array(getattr(self, when))[:, None]
        return (np.arange(SAMPLES) < counts).astype(float)


def append(path: Path, outcome: Outcome) -> None:
    """Add a line and see it onto the disk."""
    append_line(path, dataclasses.asdict(outcome))


def read(folder: Path) -> list[Outcome]:
    """Every whole line of a folder's ledger, in the order in which they came."""
    path = folder / LEDGER
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    return [Outcome(**_tuples(entry)) for line in lines if (entry := _parsed(line)) is not None]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(line)) if line.strip() else None
    except ValueError:  # what a killed process left
        return None


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()
    }
