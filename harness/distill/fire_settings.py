"""The settings of FiRe-OPD (see `fire`), each with its flag of `advisor distill`. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advisor.errors import InputError
from advisor.options import option

FILTER_SCOPES = ("step", "micro_batch")
WEIGHT_SCOPES = ("trajectory", "step", "micro_batch")


@dataclass(frozen=True, kw_only=True)
class Fire:
    """Settings of FiRe-OPD; with alpha = beta = percentile = 0 it is plain on-policy distillation."""

    alpha: float = option(
        1.0, low=0.0, help="weight of tokens that the teacher is sure of (default: {default})"
    )
    """Weight of the teacher's confidence, 0 or more."""
    beta: float = option(
        1.0, low=0.0, help="weight of tokens that the student is unsure of (default: {default})"
    )
    """Weight of the student's confusion, 0 or more."""
    percentile: float = option(
        20.0, low=0.0, high=100.0, help="percent of rollouts left out (default: {default})"
    )
    """Share of rollouts, in percent, below which the teacher's score leaves one out; 0 keeps all."""
    filter_scope: str = option(
        "step", choices=FILTER_SCOPES,
        help="rollouts ranked together; micro_batch as in the released code (default: {default})",
    )  # fmt: skip
    """Rollouts that are ranked together: those of the optimiser step, or of a micro-batch. The released code
    does the latter, and its scripts set one rollout a micro-batch: then nothing is ever left out."""
    filter_per_teacher: bool = option(False, help="rank the rollouts of each teacher by themselves")
    """Rank the rollouts of each teacher by themselves: scores of two teachers stand on two scales."""
    weight_scope: str = option(
        "trajectory", choices=WEIGHT_SCOPES,
        help="over what weights are normalised (default: {default})",
    )  # fmt: skip
    """Over what the largest entropy and the mean weight are taken: the rollout (the paper's Eq. 8, and the
    released scripts, with their one rollout a micro-batch), the optimiser step, or the micro-batch."""

    @property
    def by_forward(self) -> bool:
        """Whether how a step is cut into micro-batches changes what is trained."""
        return "micro_batch" in (self.filter_scope, self.weight_scope)

    def __post_init__(self) -> None:
        """Raise InputError where a setting means nothing."""
        for name, low, high in (
            ("alpha", 0, math.inf),
            ("beta", 0, math.inf),
            ("percentile", 0, 100),
        ):
            value = getattr(self, name)
            if not (low <= value <= high and math.isfinite(value)):
                raise InputError(f"fire: {name} = {value:g} lies outside [{low:g}, {high:g}]")
        for name, choices in (("filter_scope", FILTER_SCOPES), ("weight_scope", WEIGHT_SCOPES)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"fire: {name} {getattr(self, name)!r}: use {' or '.join(choices)}"
                )


PLAIN = Fire(alpha=0.0, beta=0.0, percentile=0.0)
"""On-policy distillation without a filter and with equal weights."""


def fire_settings(method: str, given: Mapping[str, Any]) -> Fire | None:
    """The settings of a method, "fire" or "opd"; None is plain on-policy distillation.

    Args:
        method: what is minimised.
        given: fields of `Fire` that the user gave.

    Raises:
        InputError: a setting of FiRe-OPD without it.
    """
    if method == "fire":
        return Fire(**given)
    if given:
        raise InputError(f"--fire_{next(iter(given))} goes with --method fire")
    return None
