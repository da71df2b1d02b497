"""The tokens in which rows are trained on, for the prompts and choices by which they are scored.

lm-eval takes texts and makes tokens of them anew, which need not be those that were trained on: a tokenizer
may put a piece of space behind every special token, or what begins a sequence before a chat that has none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TrainedTokens:
    """Token ids by the text in which a task has them; of one text with several ids, the first."""

    prompts: dict[str, Ids] = field(default_factory=dict)
    """Of all that precedes an answer."""
    choices: dict[str, Ids] = field(default_factory=dict)
    """Of what may follow it, where that is chosen and not generated."""
    rooms: dict[str, int] = field(default_factory=dict)
    """The most tokens of an answer, by the prompt, where that is less than the task's."""

    def pair(self, prompt: str, choice: str) -> tuple[list[int], list[int]] | None:
        """The ids of a prompt and of a choice; None where either is another task's."""
        if prompt not in self.prompts or choice not in self.choices:
            return None
        return list(self.prompts[prompt]), list(self.choices[choice])


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A row of the user's: a prompt, and what answers it."""

    prompt: str
    """Empty where nothing but what begins a sequence precedes the answer."""
    completion: str
    """The answer, without what ends it."""
    before: Ids
    """Token ids of the prompt, or of what begins the sequence."""
    ids: Ids
    """Token ids of the completion."""
    length: int
    """Number of these and of those that end it."""

    @property
    def texts(self) -> tuple[str, str]:
        """Prompt and completion."""
        return self.prompt, self.completion


def of_prompts(rows: Sequence[Answered]) -> TrainedTokens:
    """The tokens of prompts that are answered freely."""
    return TrainedTokens(prompts={row.prompt: row.before for row in reversed(rows)})


def of_choices(
    rows: Sequence[Answered],
    pairs: Sequence[tuple[str, str]],
    decode: Callable[[Sequence[int]], str],
) -> TrainedTokens:
    """The tokens of contexts and choices that were made of rows.

    Space between both belongs to the choice, as in lm-eval. A choice that ends within a token has all of it;
    a context that does is left out, so that lm-eval makes tokens of it and of what follows.

    Args:
        rows: as they are trained on.
        pairs: of every row, its context, which may take in the beginning of the completion, and its choice.
        decode: token ids to text.
    """
    found = TrainedTokens()
    for row, (context, choice) in zip(rows, pairs, strict=True):
        taken = "" if row.prompt.strip() else context
        text = taken.rstrip()
        begin, end = (_count(row.ids, part, decode) for part in (text, taken + choice))
        if decode(row.ids[:begin]) == text:
            found.prompts.setdefault(context, row.before + row.ids[:begin])
        found.choices.setdefault(choice, row.ids[begin:end])
    return found


def _count(ids: Ids, text: str, decode: Callable[[Sequence[int]], str]) -> int:
    """How many of the first tokens it takes to have a text."""
    return bisect_left(range(len(ids)), len(text), key=lambda n: len(decode(ids[:n])))
