"""The formats that records of runs have had; the content of an older one is brought up to the newest.

1. `objective` and `learning_rate` were fields of the specification, the objective as `--objectives` took it.
2. `arm` stands in their place, an object; `planned` says what the study meant to run.
3. CADFT's second stage is called resampling, which was rewriting, in arms, plans and what came of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from advisor.errors import InputError

SCHEMA = 3
"""Of the records that this version writes."""

Content = Mapping[str, Any]


def upgrade(content: Content) -> Content:
    """The content of a record in the newest format; what it says stays the same.

    Raises:
        InputError: of a format that this version does not know.
    """
    while (schema := content["schema"]) != SCHEMA:
        if schema not in _STEPS:
            raise InputError(
                f"format {schema!r} is not among the formats 1 to {SCHEMA}, which this version reads: update"
            )
        content = {**_STEPS[schema](content), "schema": schema + 1}
    return content


def first_id(spec: Any) -> str:
    """The id that a specification had in the first format: calibrations name studies by it."""
    fields = {
        "objective": spec.arm.method.replace("@resampled", "@rewritten"),
        "learning_rate": spec.arm.learning_rate,
        **{
            field.name: getattr(spec, field.name)
            for field in dataclasses.fields(spec)
            if field.name != "arm" and getattr(spec, field.name) != field.default
        },
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_TARGETS_THEN = {"dpo": "pairs", "opd": "rollouts", "fire": "rollouts"}
"""Of the methods that had targets of their own in the first format."""


def _to_2(content: Content) -> Content:
    spec = dict(content["spec"])
    objective, _, targets = spec.pop("objective").partition("@")
    own = _TARGETS_THEN.get(objective.partition("(")[0], "demonstrations")
    arm = {"objective": objective, "targets": targets or own}
    return {**content, "spec": {**spec, "arm": {**arm, "learning_rate": spec.pop("learning_rate")}}}


def _to_3(content: Content) -> Content:
    """CADFT's second stage under its name of today."""
    spec, planned, prior = content["spec"], content.get("planned"), content["prior"]
    arm = spec["arm"]
    found = {**content, "spec": {**spec, "arm": {**arm, "targets": _renamed(arm["targets"])}}}
    if planned:
        found["planned"] = {**planned, "objectives": [*map(_renamed, planned["objectives"])]}
    if prior and "rewriting" in prior:
        counts = {_renamed(name): count for name, count in prior["rewriting"].items()}
        rest = {name: what for name, what in prior.items() if name != "rewriting"}
        found["prior"] = {**rest, "resampling": counts}
    return found


def _renamed(text: str) -> str:
    return text.replace("rewritten", "resampled")


_STEPS: dict[int, Callable[[Content], Content]] = {1: _to_2, 2: _to_3}
