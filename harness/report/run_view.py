"""What the runs of a study share, said once, and what each adds to it: lines of a name and a value."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records.runs import Run

Leaves = Mapping[str, str]
"""Values by where they stand in a nested record: `evaluation.temperature` -> `1`."""
ABSENT = "not set"
"""Said of what most runs have and this one lacks."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run as it is shown."""

    name: str
    """Objective, rate, seed."""
    id: str
    """Of the specification."""
    own: str
    """Settings and environment in which it differs from most runs, one a line."""
    outcome: str
    """What was measured besides what the table of runs says, one a line."""


def view_of(runs: Sequence[Run]) -> tuple[str, tuple[RunView, ...]]:
    """Settings and environment of most runs, one a line, and every run with what it has of its own."""
    leaves = [
        leaves_of({**dataclasses.asdict(run.spec), **dataclasses.asdict(run.environment)})
        for run in runs
    ]
    usual = _usual(leaves)
    views = tuple(
        RunView(
            name=name_of(run), id=run.spec.id, own=_lines(_own(own, usual)), outcome=_outcome(run)
        )
        for run, own in zip(runs, leaves, strict=True)
    )
    return _lines(usual), views


def name_of(run: Run) -> str:
    """Objective, rate and seed."""
    arm, seed = run.spec.arm, run.spec.seed
    if arm.learning_rate is None:
        return arm.method
    return f"{arm.method}, learning rate {arm.learning_rate:g}, seed {seed}"


def leaves_of(record: Mapping[str, Any]) -> dict[str, str]:
    """The values of a nested record, named by the keys on the way there; what is empty is left out."""
    return dict(_leaves(record, ""))


def _leaves(record: Mapping[str, Any], within: str) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{within}{key}.")
        elif value is not None and value != ():
            yield f"{within}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)


def _usual(runs: Sequence[Leaves]) -> dict[str, str]:
    """By name the value of most runs, where most have one; of the same number the first."""
    names = dict.fromkeys(name for run in runs for name in run)
    counts = {name: Counter(run.get(name, ABSENT) for run in runs) for name in names}
    most = {name: count.most_common(1)[0][0] for name, count in counts.items()}
    return {name: value for name, value in most.items() if value != ABSENT}


def _own(run: Leaves, usual: Leaves) -> dict[str, str]:
    """Where a run differs from most."""
    lacking = {name: ABSENT for name in usual if name not in run}
    return {name: value for name, value in run.items() if usual.get(name) != value} | lacking


def _outcome(run: Run) -> str:
    """What was measured besides what the table of runs says."""
    found = {
        "held_out": dict(run.held_out),
        "began": run.began,
        "last_step": dict(run.steps[-1]) if run.steps else {},
        "error": run.error,
    }
    return _lines(leaves_of(found))


def _lines(leaves: Leaves) -> str:
    return "\n".join(f"{name}: {value}" for name, value in leaves.items())
