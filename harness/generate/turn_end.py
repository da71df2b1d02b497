"""How the turns of a dataset end, as text and as tokens, and what sampling leaves of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advisor.chat.template import ChatTemplate
from advisor.data.dataset import SFTDataset
from harness.generate.decoding import as_set, terminators_of, turn_ends

RENDERED = ("tokenizer", "file", "string")
"""Kinds of `DatasetInfo.template` that have a text in jinja."""


@dataclass(frozen=True, kw_only=True)
class TurnEnd:
    """What ends a turn, where it is no token of its own and where it is."""

    text: str = ""
    """Several ordinary tokens; empty where one token ends a turn."""
    pieces: frozenset[int] = frozenset()
    """Tokens of it at which our own sampling stops, and nobody else's should."""
    tokens: frozenset[tuple[int, ...]] = frozenset()
    """The terminators of the dataset's turns."""

    def cut_off(self, text: str, *, within: bool = False) -> str:
        """A text up to where the turn ends.

        Args:
            text: an answer, without special tokens.
            within: whether sampling stopped at one of `pieces`: then the text may end in the terminator's
                beginning, which goes as well.
        """
        if not self.text:
            return text
        before, whole, _ = text.partition(self.text)
        lengths = range(len(self.text), 0, -1) if within and not whole else ()
        begun = next((n for n in lengths if text.endswith(self.text[:n])), 0)
        return before[: len(before) - begun]

    def completed(self, answer: Sequence[int]) -> list[int]:
        """An answer with the rest of the terminator that it ends in the middle of."""
        begun = [
            (size, -len(end), end)
            for end in self.tokens
            for size in range(1, len(end) + 1)
            if tuple(answer[-size:]) == end[:size]
        ]
        size, _, end = max(begun, default=(0, 0, ()))
        return [*answer, *end[size:]]

    def length(self, answer: Sequence[int]) -> int:
        """Tokens of the terminator that an answer ends in; 0 where it ends in none of the dataset's."""
        found = (len(end) for end in self.tokens if tuple(answer[-len(end) :]) == end)
        return max(found, default=0)


ONE_TOKEN = TurnEnd()
"""Of turns that a single token ends."""


def turn_end_of(dataset: SFTDataset) -> TurnEnd:
    """How the turns of a dataset end."""
    info, tokenizer = dataset.info, dataset.tokenizer
    tokens = frozenset(terminators_of(dataset))
    if info.template not in RENDERED:
        return TurnEnd(tokens=tokens)
    text = ChatTemplate(tokenizer, "string", info.template_text, info.eos_token).terminator
    if not text or len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1:
        return TurnEnd(tokens=tokens)
    pieces = frozenset(turn_ends(dataset) - as_set(tokenizer.eos_token_id))
    return TurnEnd(text=text, pieces=pieces, tokens=tokens)
