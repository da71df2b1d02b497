"""What is compared: an objective on some targets at a learning rate, decoded in some way.

An `Arm` is a value: it stands in records, is compared and looked up as it is. How it is called on a
screen is `label`, or `labels` for several side by side; nothing is read back from that text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from harness.records.target_sources import DEMONSTRATIONS as DEMONSTRATIONS
from harness.records.target_sources import TARGET_SOURCES, TEACHER, TargetSource, split

BASE, NLL = "base", "nll"
LOGGED = "logged"
"""Targets of an arm that lm-eval's logs know by a name alone."""
TENTH = "tenth"
"""The control at a tenth of the chosen learning rate."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One thing that is compared: an objective in some circumstances, or the untouched base."""

    objective: str
    """Label in the table of objectives, a method with targets of its own such as `dpo(0.5)`, or "base"."""
    targets: str = DEMONSTRATIONS
    """Where targets come from, see `target_sources.py`: `TargetSource.targets`, such as "demonstrations" or
    "pairs", or what stands after @ in a method, such as `own(8)` or `resampled`."""
    learning_rate: float | None = None
    """None for the base."""
    decoding: float | None = None
    """Temperature, where it is not the one of use; 0 is greedy."""
    control: str | None = None
    """Why it was run beside the grid: "tenth", at a tenth of the chosen rate; None for an arm of the grid."""

    @property
    def method(self) -> str:
        """As `--objectives` takes it: `nll@own(8)`."""
        plain = self.targets in (LOGGED, *(row.targets for row in TARGET_SOURCES.values()))
        return self.objective if plain else f"{self.objective}@{self.targets}"

    @property
    def trained(self) -> Arm:
        """The arm less what no training knows of: decoding, and why it was run."""
        return replace(self, decoding=None, control=None)

    @property
    def label(self) -> str:
        """How it is called in tables and plots."""
        name = f"{self.method}, lr/10" if self.control == TENTH else self.method
        return name if self.decoding is None else f"{name} at temperature {self.decoding:g}"

    @property
    def order(self) -> tuple[bool, bool, str, float]:
        """Key of a fixed order: the base, NLL, the others by method and rate."""
        return (
            self.objective != BASE,
            self.method != NLL,
            self.method,
            -(self.learning_rate or 0.0),
        )

    @property
    def preference(self) -> tuple[bool, bool, str, float, float]:
        """Of arms that score alike the first is kept: the base, NLL, the lower rate, the cooler."""
        rest = (self.learning_rate or 0.0, self.decoding or 0.0)
        return (self.objective != BASE, self.method != NLL, self.method, *rest)


def arm_of(method: str, **settings: Any) -> Arm:
    """The arm of a method as `--objectives` takes it, with further fields of `Arm`."""
    objective, _, targets = method.partition("@")
    row, _ = split(objective)
    own = row.targets if row else None
    return Arm(objective=objective, targets=targets or own or DEMONSTRATIONS, **settings)


def source_of(arm: Arm) -> TargetSource:
    """The row of the table that an arm's targets are of."""
    row = split(arm.targets)[0] or split(arm.objective)[0]
    return row or TARGET_SOURCES[DEMONSTRATIONS]


def needs_teacher(arm: Arm) -> bool:
    """Whether an arm learns from a teacher."""
    return TEACHER in source_of(arm).needs


def labels(arms: Iterable[Arm]) -> dict[Arm, str]:
    """Arms to distinct texts: the learning rate is said of arms that are else called alike."""
    found = list(dict.fromkeys(arms))
    alike = Counter(arm.label for arm in found)
    return {arm: arm.label if alike[arm.label] == 1 else _longer(arm) for arm in found}


def _longer(arm: Arm) -> str:
    if arm.targets == LOGGED:
        return f"{arm.label} (logged)"
    return arm.label if arm.learning_rate is None else f"{arm.label} @ {arm.learning_rate:g}"
