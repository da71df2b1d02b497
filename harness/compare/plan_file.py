"""The plan of `advisor recommend --json`: which runs it means to make, and which of them have no scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Required

from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

from advisor.errors import InputError
from advisor.files import read_json
from advisor.values import Kind, parse
from harness.compare.scored_arm import arm_named
from harness.records.arm import DEMONSTRATIONS, Arm

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SAME = 1e-3
"""Share by which learning rates may differ that are one: files round them."""
REMEDY = "write it with advisor recommend MODEL DATASET --json > plan.json"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run that a plan means to make."""

    arm: Arm
    """With the temperature at which it is to be scored, where the plan says it."""
    below: float | None = None
    """It is made where the best run before it scores below this, points; None: in any case."""


class PlannedRun(TypedDict, total=False):
    """A run as a plan has it; other keys are let pass."""

    objective: Required[str]
    targets: str | None
    learning_rate: float | None
    decoding: float | None
    below: float | None


def _runs() -> TypeAdapter[list[PlannedRun]]:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(list[PlannedRun], config=ConfigDict(strict=True, extra="allow"))


RUNS: Kind[list[PlannedRun]] = Kind(_runs)


def read_plan(path: Path | str) -> list[Planned]:
    """The runs that a plan means to make, in its order.

    Args:
        path: of what `recommend --json` printed, with `plan.runs`.

    Raises:
        InputError: it cannot be read, has no plan, or a run of it is something else.
    """
    try:
        content = read_json(Path(path))
    except OSError as error:
        raise InputError(f"--plan {path}: {error.strerror}: {REMEDY}") from None
    except ValueError as error:
        raise InputError(f"--plan {path}: not JSON ({error}): {REMEDY}") from None
    plan = content.get("plan") if isinstance(content, dict) else None
    if not isinstance(plan, dict) or not plan.get("runs"):
        raise InputError(f"--plan {path}: has no plan.runs: {REMEDY}")
    runs = parse(RUNS, plan["runs"], f"--plan {path}: plan.runs")
    return list(dict.fromkeys(map(_planned, runs)))


def _planned(run: PlannedRun) -> Planned:
    named = Arm(objective=run["objective"], targets=run.get("targets") or DEMONSTRATIONS)
    rate, heat = run.get("learning_rate"), run.get("decoding")
    arm = arm_named(named.method, learning_rate=rate, decoding=heat)
    return Planned(arm=arm, below=run.get("below"))


def missing(planned: Sequence[Planned], points: Mapping[Arm, float | None]) -> list[Arm]:
    """The runs of a plan that are due and that no arm with scores is.

    What scores do not say, a learning rate or a temperature, is taken for that of the plan. A run that hangs
    on those before it is due once one of these is there and none scores enough.

    Args:
        planned: the plan.
        points: score of every arm that has scores; None where they are no shares.

    Raises:
        InputError: scores do not say a learning rate of which the plan has several.
    """
    for arm in points:
        rates = {p.arm.learning_rate for p in planned if p.arm.method == arm.method}
        if arm.learning_rate is None and len(rates) > 1:
            raise InputError(
                f"the scores of {arm.method} do not say its learning rate, of which the plan has "
                f"{len(rates)}: give it in a column learning_rate"
            )
    found, before = [], list[float]()
    for run in planned:
        own = [score for arm, score in points.items() if _is_of(run.arm, arm)]
        if not own and (run.below is None or (before and max(before) < run.below)):
            found.append(run.arm)
        before += [score for score in own if score is not None]
    return found


def _is_of(wanted: Arm, arm: Arm) -> bool:
    pairs = ((wanted.learning_rate, arm.learning_rate), (wanted.decoding, arm.decoding))
    return wanted.method == arm.method and all(
        first is None or second is None or math.isclose(first, second, rel_tol=SAME)
        for first, second in pairs
    )
