"""Weights that a row gives its own targets: of the row, of a turn, of a stretch of characters; multiplied.

A weight multiplies what the objective makes of a target token. 0 is no target, 1 is what stands where no
weight does. The names are those of the field: `weight` of a row (proposed for TRL, huggingface/trl 5761) and
of a message (OpenAI, Mistral), `loss_scale` of a message (ms-swift), `weight` of a part of a content.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from advisor.chat.messages import entries
from advisor.chat.template import Span
from advisor.errors import InputError
from advisor.values import given, shown

WEIGHT, SPANS = "weight", "spans"
TURN_WEIGHTS = (WEIGHT, "loss_scale")
SMALLEST, LARGEST = 1e-9, 1e9
"""Of a weight that is not 0: the product of three is a number in float32 as well."""
RANGE = f"0, for what is not trained, or a number from {SMALLEST:g} to {LARGEST:g}"


def filled(value: object) -> bool:
    """Whether a cell says something: unlike `given`, NaN does, for a weight of NaN is a mistake."""
    return given(value) or isinstance(value, float)


def weight_of(value: object, what: str, mend: str = "") -> float:
    """The weight that a cell holds, as a number or as text; 1 where it is empty.

    Args:
        value: Of the cell.
        what: What has it, as the beginning of a refusal: `weight is`, `turn 1 has weight`.
        mend: What else may be done about it, as its end.

    Raises:
        InputError: No number, or one outside `RANGE`.
    """
    if not filled(value):
        return 1.0
    try:
        number = _number(value)
    except (ValueError, OverflowError):
        raise InputError(f"{what} {shown(value)}, no weight: write {RANGE}{mend}") from None
    if number != 0 and not SMALLEST <= number <= LARGEST:
        raise InputError(
            f"{what} {shown(value)}, outside the range of a weight: write {RANGE}{mend}"
        )
    return abs(number)


def _number(value: object) -> float:
    if isinstance(value, str):
        word = value.strip().lower()
        return float({"true": 1, "false": 0}.get(word, word))
    if isinstance(value, int | float):
        return float(value)
    raise ValueError


def turn_weight(message: Mapping[str, Any], k: int) -> float:
    """The weight of a turn, 1 where it has none.

    Raises:
        InputError: No weight, or two that differ.
    """
    found = {
        name: weight_of(message[name], f"turn {k} has {name}")
        for name in TURN_WEIGHTS
        if filled(message.get(name))
    }
    if len(set(found.values())) > 1:
        raise InputError(f"turn {k} has {' and '.join(found)}, which differ; keep one of them")
    return next(iter(found.values()), 1.0)


def spans_of(value: object, text: str, where: str) -> tuple[Span, ...]:
    """Stretches of a text with a weight each, in order; none where the cell holds other annotations.

    Args:
        value: A list of objects with `start`, `end` (counted in characters from 0, the end not included)
            and `weight`, or its JSON text. Where none of them has a weight it is not ours to read.
        text: What the stretches are of.
        where: The place, as the beginning of a refusal: `spans`, `turn 1, spans`.

    Raises:
        InputError: A stretch outside the text, empty or without a weight, or two that overlap.
    """
    if not is_weighted(value):
        return ()
    listed = enumerate(entries(value, SPANS) or ())
    found = sorted((_span(one, text, f"{where}[{n}]") for n, one in listed), key=lambda s: s.start)
    for one, other in pairwise(found):
        if other.start < one.end:
            raise InputError(
                f"{where} overlap: {one.start} to {one.end} and {other.start} to {other.end}; give every "
                "character one weight"
            )
    return tuple(found)


def is_weighted(value: object) -> bool:
    """Whether a cell is a list of stretches of which one has a weight, or its JSON text."""
    listed = entries(value, SPANS) or ()
    return any(isinstance(one, Mapping) and filled(one.get(WEIGHT)) for one in listed)


def _span(one: object, text: str, where: str) -> Span:
    if not isinstance(one, Mapping) or not filled(one.get(WEIGHT)):
        raise InputError(f"{where} lacks a weight; write start, end and weight of every stretch")
    start, end = one.get("start"), one.get("end")
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (start, end))
    if not whole or not 0 <= start < end <= len(text):  # type: ignore[operator]
        raise InputError(
            f"{where} goes from {shown(start)} to {shown(end)}: write start and end in characters of the "
            f"text, counted from 0, start < end <= {len(text)}"
        )
    assert isinstance(start, int) and isinstance(end, int)
    weight = weight_of(one[WEIGHT], f"{where} has weight")
    return Span(start=start, end=end, weight=weight, text=text[start:end])
