"""Rows that are tokenised already: token ids with labels or masks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from advisor.errors import InputError
from advisor.values import LABELS, TOKEN_IDS, Kind, parse

MASKS = ("completion_mask", "assistant_masks")


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A row that is tokenised already."""

    input_ids: list[int]
    """Token ids, checked to be integers of 0 or more."""
    labels: list[int]
    """The id where the token is a target, else -100; not shifted."""
    weight: float = 1.0
    """Of all its targets."""


def reader(have: set[str]) -> tuple[Callable[[Mapping[str, Any]], Tokens], tuple[str, ...]]:
    """How a row is read that has these columns, `input_ids` among them; and the columns read."""
    masks = [m for m in MASKS if m in have and "labels" not in have]
    uses = [c for c in ("labels", *masks, "attention_mask") if c in have]

    def read(row: Mapping[str, Any]) -> Tokens:
        ids = _ids(row["input_ids"], "input_ids", TOKEN_IDS)
        columns = {c: _ids(row[c], c, LABELS if c == "labels" else TOKEN_IDS) for c in uses}
        for name, values in columns.items():
            if len(values) != len(ids):
                raise InputError(f"{name} has {len(values)} entries, input_ids has {len(ids)}")
        marked = [i if all(columns[m][t] for m in masks) else -100 for t, i in enumerate(ids)]
        labels = columns.get("labels", marked)
        if any(b not in (a, -100) for a, b in zip(ids, labels, strict=True)):
            raise InputError(
                "labels must repeat input_ids or be -100 at the same position (not shifted by one)"
            )
        # What the model must not attend to is padding.
        kept = [t for t, bit in enumerate(columns.get("attention_mask", [1] * len(ids))) if bit]
        return Tokens(input_ids=[ids[t] for t in kept], labels=[labels[t] for t in kept])

    return read, ("input_ids", *uses)


def _ids(value: object, column: str, kind: Kind[list[int]]) -> list[int]:
    if value is None:
        return []
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, list) and column not in ("input_ids", "labels"):
        value = [int(bit) if isinstance(bit, bool) else bit for bit in value]
    return parse(kind, value, column)


def check_vocabulary(tokens: Tokens, size: int) -> None:
    """Refuse ids that the tokenizer has no entry for; `size` is one more than its largest id.

    Raises:
        InputError: Names the first such id and its position.
    """
    largest = max(tokens.input_ids, default=0)
    if largest >= size:
        place = tokens.input_ids.index(largest)
        raise InputError(
            f"input_ids holds {largest} (token {place} of those attended to), but the tokenizer's "
            f"largest id is {size - 1}: the rows were tokenised with another tokenizer; give MODEL "
            "the one they were made for, or the rows as text"
        )
