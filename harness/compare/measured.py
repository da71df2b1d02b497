"""One run of one arm on one task, how it was evaluated, and the refusal of arms evaluated differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from advisor.errors import InputError
from harness.records.runs import Score

OF_THE_PROMPT = (
    "chat_template_sha",
    "system_instruction_sha",
    "fewshot_as_multiturn",
    "fewshot_seed",
    "doc_to_text",
    "description",
    "target_delimiter",
    "fewshot_delimiter",
    "gen_prefix",
)
"""Conditions that do nothing but make the prompt: where the prompts are the same, they may differ."""
LONGEST = 40
"""Characters of a value that a refusal shows."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run of one arm on one task."""

    setting: str
    """Model, dataset and training, as far as they tell settings apart; empty where there is one."""
    arm: str
    """Label."""
    seed: int
    """0 where it is not known."""
    score: Score
    """On test documents."""
    conditions: Mapping[str, Any]
    """How it was evaluated, by lm-eval's names; None, or no entry, where it is not known."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Hash of the prompt by document; empty where it is not known."""


def refuse_differing(members: Sequence[Measured]) -> None:
    """See that runs that are to be compared were evaluated alike.

    Raises:
        InputError: they were not; it names the condition and two of the arms.
    """
    names = list(dict.fromkeys(name for m in members for name in m.conditions))
    for name in names:
        known = [m for m in members if m.conditions.get(name) is not None]
        for first, second in pairwise(known):
            told = (first.conditions[name], second.conditions[name])
            if told[0] != told[1] and not (name in OF_THE_PROMPT and _same_prompts(first, second)):
                raise InputError(_refusal(first, second, name, told))
    for first, second in pairwise([m for m in members if m.prompts]):
        if _same_prompts(first, second) is False:
            raise InputError(
                f"{first.score.task}: {first.arm} and {second.arm} were given different prompts for the same "
                "documents (few-shot examples, template or instruction): evaluate both in the same way"
            )


def _same_prompts(first: Measured, second: Measured) -> bool | None:
    """Whether the documents that both have were asked in the same words; None: not known."""
    shared = first.prompts.keys() & second.prompts.keys()
    if not shared:
        return None
    return all(first.prompts[name] == second.prompts[name] for name in shared)


def _refusal(first: Measured, second: Measured, name: str, told: tuple[Any, Any]) -> str:
    shown = [" ".join(str(value).split()) for value in told]
    if any(len(text) > LONGEST for text in shown):
        what = f"different {name}"
    else:
        what = f"different {name}, {first.arm} with {shown[0]} and {second.arm} with {shown[1]}"
    return (
        f"{first.score.task}: {first.arm} and {second.arm} were evaluated with {what}: evaluate both in the "
        "same way, or leave one out"
    )
