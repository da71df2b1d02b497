"""What an arm minimises and on which targets, as it is typed, kept and shown: `nll@own(8)`, `dpo(0.5)`.

The sources of targets, and what may stand in their parentheses, are `records/target_sources.py`'s table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from advisor.errors import InputError
from advisor.names import did_you_mean
from advisor.objectives.table import get_objective
from harness.records.arm import DEMONSTRATIONS, NLL
from harness.records.target_sources import RESAMPLED, TARGET_SOURCES, TargetSource, split

RENAMED = {"rewritten": RESAMPLED}
"""Sources of earlier versions, with their names of today."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Where the targets come from, and what is minimised on them."""

    objective: str
    """Label in the table of objectives; the name of the source where that has a loss of its own."""
    source: TargetSource = TARGET_SOURCES[DEMONSTRATIONS]
    """Row of the table of target sources."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Of every setting of the source; a word that is absent is 0."""

    @property
    def label(self) -> str:
        """As `read_method` reads it back; a number at its default is left out."""
        name = f"{self.objective}@{self.source.name}" if self.source.after_at else self.objective
        return f"{name}{self.source.parentheses(self.values)}"


def read_method(text: str) -> Method:
    """A method as the user writes it.

    Raises:
        InputError: an unknown objective or source of targets; a number outside its range.
    """
    name, at, after = text.strip().partition("@")
    row, inside = split(name)
    if not at and row is not None and row.own_loss:
        return Method(objective=row.name, source=row, values=row.read(text, inside))
    objective = get_objective(name)
    if not at:
        return Method(objective=objective.label)
    row, inside = split(after)
    if row is None or not row.after_at:
        raise InputError(f"objective {text}: {_unknown(after)}")
    if row.objective not in (None, objective.name):
        raise InputError(
            f"objective {text}: {row.name} goes with {row.objective} alone, not with {objective.label}: "
            f"it is {row.does}"
        )
    return Method(objective=objective.label, source=row, values=row.read(text, inside))


def _unknown(after: str) -> str:
    """Why what stands after @ is no source of targets."""
    word = after.partition("(")[0].strip().lower()
    if word in RENAMED:
        return f"{word} is now {RENAMED[word]}"
    rows = [row for row in TARGET_SOURCES.values() if row.after_at]
    near = did_you_mean(word, [row.name for row in rows])
    forms = " or ".join(row.written.partition("@")[2] for row in rows)
    return f"unknown targets {after!r}: {near or f'after @ stands {forms}'}"


def default_objectives(recommended: str, has: Collection[str] = ()) -> tuple[str, ...]:
    """NLL, -p, the threshold, CADFT, what was recommended; and the sources that are run where they can be.

    Args:
        recommended: an objective.
        has: what there is of what target sources need (`TargetSource.needs`).
    """
    more = [
        row.name for row in TARGET_SOURCES.values() if row.by_default and {*row.needs} <= {*has}
    ]
    return tuple(dict.fromkeys((NLL, "neg_p", "threshold", "cadft", recommended, *more)))


def labels_of(objectives: Sequence[str]) -> tuple[str, ...]:
    """Methods as the user typed them to labels, each once, `nll` first: aliases are one arm."""
    labels = [read_method(text).label for text in objectives]
    return tuple(dict.fromkeys((NLL, *labels)))
