"""The settings of SDFT (see `self_teaching`), each with its flag of `advisor distill`. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advisor.errors import InputError
from advisor.options import option

IN_CONTEXT = """{question}

This is an example for a response to the question:
{answer}

Now answer with a response of your own, including the thinking process."""
"""The teacher's question in a chat, as published."""


@dataclass(frozen=True, kw_only=True)
class SelfTeaching:
    """Settings of SDFT; the defaults are those of the authors' code."""

    ema: float = option(
        0.01, low=0.0, high=1.0,
        help="share of the student's weights that the teacher takes over after every step; 0 leaves it as "
        "the model before training (default: {default})",
    )  # fmt: skip
    skip: int = option(
        3, low=0,
        help="first tokens of an answer that are not trained on: there a teacher speaks of its demonstration "
        "(default: {default})",
    )  # fmt: skip
    reverse: bool = option(
        False,
        help="the reverse KL, of the student from the teacher (default: the forward one, as released)",
    )


def self_settings(method: str, given: Mapping[str, Any]) -> SelfTeaching | None:
    """The settings of a method, None where it is not "sdft".

    Args:
        method: what is minimised.
        given: fields of `SelfTeaching` that the user gave.

    Raises:
        InputError: a setting of SDFT without it.
    """
    if method == "sdft":
        return SelfTeaching(**given)
    if given:
        raise InputError(f"--sdft_{next(iter(given))} goes with --method sdft")
    return None


def in_context(question: str, answer: str) -> str:
    """The question that the teacher is asked in a chat."""
    return IN_CONTEXT.format(question=question, answer=answer)
