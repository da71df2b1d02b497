"""Scores of one run of one arm, as `advisor decide` takes them, and how an arm is named in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from advisor.errors import InputError
from harness.compare.measured import Measured
from harness.records.arm import BASE, Arm, arm_of
from harness.study.methods import read_method


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One run of one arm on one part of one task."""

    arm: Arm
    """With the temperature at which it was decoded: every decoding of a checkpoint is an arm."""
    measured: Measured
    """Its scores; their part is "development", "test", or "all" where no part was given."""


def arm_named(
    text: str, *, learning_rate: float | None = None, decoding: float | None = None
) -> Arm:
    """The arm of a name in a file: a method where it is one (`dft` is `neg_p`), else the text as it is.

    Args:
        text: of the name; "base" is the untouched model.
        learning_rate: None: not known.
        decoding: temperature, 0 for greedy; None: not known.
    """
    name = text.strip()
    if name.lower() == BASE:
        return Arm(objective=BASE, decoding=decoding)
    try:
        return arm_of(read_method(name).label, learning_rate=learning_rate, decoding=decoding)
    except InputError:
        return Arm(objective=name, learning_rate=learning_rate, decoding=decoding)


def texts_of(arms: Iterable[Arm]) -> dict[Arm, str]:
    """Arms to distinct texts; a learning rate or a temperature that all have in common is not said."""
    found = list(dict.fromkeys(arms))
    several_rates = len({arm.learning_rate for arm in found if arm.objective != BASE}) > 1
    several_heats = len({arm.decoding for arm in found}) > 1
    return {arm: text_of(arm, rate=several_rates, heat=several_heats) for arm in found}


def text_of(arm: Arm, *, rate: bool = True, heat: bool = True) -> str:
    """An arm as a reader calls it, with its learning rate and temperature where these are known."""
    text = arm.method
    if rate and arm.learning_rate is not None:
        text += f" @ {arm.learning_rate:g}"
    if heat and arm.decoding is not None:
        text += f" at temperature {arm.decoding:g}"
    return text


def as_data(arm: Arm) -> Mapping[str, Any]:
    """An arm as `recommend --json` writes one of a plan."""
    names = ("objective", "targets", "learning_rate", "decoding")
    return {name: getattr(arm, name) for name in names}
