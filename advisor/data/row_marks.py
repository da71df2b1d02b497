"""What a row says of itself: which turns are trained, and whether it is a demonstration at all.

Turns carry `weight` (OpenAI, Mistral) or `loss_scale` (ms-swift), which are numbers (`row_weights.py`), and
`train` or `training` (Axolotl), `loss` (ms-swift) or `label`; rows carry the same, or KTO's `label` (TRL) and
`kto_tag` (LLaMA-Factory). A mark that cannot be read as yes or no is refused: trained or not, the guess would
be silent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.data.row_weights import SPANS, TURN_WEIGHTS, filled, is_weighted, spans_of, turn_weight
from advisor.errors import InputError
from advisor.values import given, shown

TURN_MARKS = ("train", "training", "loss", "label")
DETAILS = ("train_detail", "loss_mask")
"""Marks of parts of a turn in a form that is not read."""
UNREAD = ("mask", "masked", "trainable", "do_train", "ignore", "ignored")
"""Marks of turns that are not read: whether true means trained is not the same everywhere."""
MARKS = frozenset((*TURN_MARKS, *TURN_WEIGHTS, *DETAILS, *UNREAD))
JUDGEMENTS = ("label", "kto_tag")
"""Columns that say of an answer whether it is a good one."""
ROW_MARKS = ("train", "loss")
WORDS = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A row that is not to be trained, by its own word."""

    why: str
    """As it is counted: `marked label false`."""


def untrained(messages: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    """Indices of the assistant's turns that are marked as no target.

    Raises:
        InputError: A mark that is neither yes nor no, marks that disagree, or another's turn that is
            marked for training.
    """
    skip = set()
    for k, message in enumerate(messages):
        own = [name for name in TURN_WEIGHTS if filled(message.get(name))][:1]
        marks = {name: message[name] for name in TURN_MARKS if given(message.get(name))}
        said = {name: turn_weight(message, k) > 0 for name in own}
        said |= {name: _turn_mark(name, value, k) for name, value in marks.items()}
        detail = [name for name in DETAILS if given(message.get(name))]
        if detail:
            raise InputError(
                f"turn {k} marks parts of itself with {detail[0]}, which is not read; write spans, a list of "
                "objects with start, end and weight"
            )
        if other := [name for name in UNREAD if given(message.get(name))]:
            raise InputError(
                f"turn {k} has {other[0]} {shown(message[other[0]])}, which is not read; say with "
                "train (true or false) or weight (0 or more) whether the turn is trained"
            )
        if len(set(said.values())) > 1:
            both = " and ".join(f"{name} {shown(message[name])}" for name in said)
            raise InputError(f"turn {k} has {both}, which disagree; keep one of them")
        if message["role"] == "assistant":
            skip |= {k} if False in said.values() else set()
        elif name := _asks(message, said, k):
            raise InputError(
                f"turn {k}, of role {message['role']}, has {name} {shown(message[name])}: only the "
                "assistant's turns can be targets; leave the mark out of the others"
            )
    return frozenset(skip)


def _asks(message: Mapping[str, Any], said: Mapping[str, bool], k: int) -> str | None:
    """The mark with which a turn of another than the assistant asks to be trained; a weight of 1 does not."""
    spans = spans_of(message.get(SPANS), str(message.get("content") or ""), f"turn {k}, {SPANS}")
    if any(span.weight not in (0, 1) for span in spans):
        return SPANS
    weighed = turn_weight(message, k) not in (0, 1)
    return next(
        (name for name, yes in said.items() if yes and (weighed or name not in TURN_WEIGHTS)), None
    )


def unmarked(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages without their marks, which are no part of what was said."""
    return [
        {k: v for k, v in m.items() if k not in MARKS and not (k == SPANS and is_weighted(v))}
        for m in messages
    ]


def is_untrained(message: Mapping[str, Any]) -> bool:
    """Whether one turn, of the assistant, is marked as no target."""
    return bool(untrained([{**message, "role": "assistant"}]))


def _turn_mark(name: str, value: object, k: int) -> bool:
    known = _yes_or_no(value)
    if known is None:
        raise InputError(
            f"turn {k} has {name} {shown(value)}, which is neither 0 nor 1, true nor false"
        )
    return known


def _yes_or_no(value: object) -> bool | None:
    """What a mark says; None where it is something else. 0 and 1 may be numbers or text."""
    if isinstance(value, str):
        word = value.strip().lower()
        number = {"0": False, "1": True, "0.0": False, "1.0": True}
        return WORDS.get(word, number.get(word))
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    return None


def judged(
    row: Mapping[str, Any], columns: Sequence[str] = (*JUDGEMENTS, *ROW_MARKS), *, named: bool
) -> LeftOut | None:
    """A row that is not a demonstration, with the reason; None for one that is.

    Args:
        row: `label` and `kto_tag` (true or false), `train` and `loss` say what it is.
        columns: Those of them that are looked at.
        named: Whether the user named the columns that are read: then only true and false count, since
            a number may be anything.

    Raises:
        InputError: A label of 0 or 1, which may be KTO's or a class.
    """
    for column in columns:
        value = row.get(column)
        if not given(value) or not _means(column, value, named=named):
            continue
        if _yes_or_no(value) is False:
            return LeftOut(why=f"marked {column} {_word(value)}")
    return None


def reads(column: str, value: object, *, named: bool) -> bool:
    """Whether a column of this name, with such a value in its first row, says what is trained."""
    if column not in (*JUDGEMENTS, *ROW_MARKS):
        return False
    if not given(value) or _word(value) in WORDS:
        return True
    return not named and _is_bit(column, value)


def _means(column: str, value: object, *, named: bool) -> bool:
    """Whether the value speaks of training; refuses what may or may not."""
    if _word(value) in WORDS:
        return True
    if named:
        return False
    if column in ("train", "loss"):
        return _is_bit(column, value)
    if _yes_or_no(value) is not None:
        raise InputError(
            f"{column} is {shown(value)}: write true or false if it says whether the answer is a "
            "good one (KTO), else rename the column, or name the columns to read with "
            "--prompt_field and --completion_field"
        )
    return False


def _is_bit(column: str, value: object) -> bool:
    """Whether `train` or `loss` is 0 or 1; else it is the name of a split, or a loss measured."""
    measured = column == "loss" and isinstance(value, float)
    return column in ("train", "loss") and not measured and _yes_or_no(value) is not None


def _word(value: object) -> str:
    return str(value).strip().lower()
