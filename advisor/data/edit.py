"""Rows of a dataset with another prompt or another completion, in the format that they have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from advisor.chat.messages import ROLES, SIDES, from_json
from advisor.chat.template import Passage
from advisor.data.formats import Format, Row
from advisor.data.row_marks import LeftOut, is_untrained
from advisor.data.row_weights import SPANS, TURN_WEIGHTS, WEIGHT, is_weighted
from advisor.data.tokenised import Tokens
from advisor.errors import InputError

TALKS = ("messages", "conversations", "conversation")
"""Formats of which one column holds a prompt and its completion as one list of messages."""
BLANKED = {"alpaca": "input", "dolly": "context"}
"""Columns that belong to the question, by format: another question takes the place of both."""
SAID = ("role", "from", "content", "value", *(key for pair in SIDES for key in pair), *TURN_WEIGHTS)
"""What stays of a message that is written anew: its calls, thoughts and spans were another answer's."""
PROBE = "an answer that replaces another"


def check_editable(name: str, format: Format, row: Row) -> None:
    """Refuse a format without prompts, and one whose answers cannot be replaced, as a first row shows.

    Raises:
        InputError: says so.
    """
    if format.whole or "input_ids" in format.uses:
        raise InputError(
            f"{name}: rows of format {format.name} have no prompt as text: give a dataset with prompts and "
            "completions"
        )
    if not question_and_answer(row, format)[1]:
        return  # this row has no answer; others may
    try:
        again = question_and_answer(with_completion(row, format, PROBE), format)[1]
    except InputError:
        again = ""
    if again.strip() != PROBE:
        raise InputError(
            f"{name}: the last answer of a row of format {format.name} cannot be replaced by another: give "
            "rows with messages in one column, or with a prompt and a completion"
        )


def question_and_answer(row: Row, format: Format) -> tuple[str, str]:
    """The text of the last target and of the question that it answers; empty where there is none."""
    content = format.read(row)
    if isinstance(content, LeftOut):
        return "", ""
    assert not isinstance(content, Tokens)
    if isinstance(content, Passage):
        return content.prompt, content.completion
    targets = content.targets()
    if not targets:
        return "", ""
    before = content.messages[: targets[-1]]
    questions = [message["content"] for message in before if message["role"] == "user"]
    return (questions or [""])[-1], str(content.messages[targets[-1]].get("content") or "")


def with_completion(row: Row, format: Format, text: str) -> dict[str, Any]:
    """The row with another last target, between the white space that the old one stands in."""
    format = format.of(row)
    spans = {SPANS: None} if is_weighted(row.get(SPANS)) else {}  # of the old text
    if _is_one_list(format):
        return {**row, **spans, format.uses[0]: _in_list(row, format, "assistant", text)}
    column = format.uses[1]
    return {**row, **spans, column: _said(row[column], "assistant", text)}


def with_question(row: Row, format: Format, text: str) -> dict[str, Any]:
    """The row with another question before its last target."""
    format = format.of(row)
    if _is_one_list(format):
        return {**row, format.uses[0]: _in_list(row, format, "user", text)}
    prompt, completion = format.uses[:2]
    answered = _answer(row[completion])
    if answered is not None and _last(row[completion], "user", answered):
        return {**row, completion: _said(row[completion], "user", text, answered)}
    rest = BLANKED.get(format.name)
    blank = {rest: _in_form_of(row[rest], "")} if rest is not None and rest in row else {}
    return {**row, **blank, prompt: _said(row[prompt], "user", text)}


def _is_one_list(format: Format) -> bool:
    """Whether prompt and completion stand in one column."""
    return format.name in TALKS or (format.name, format.uses[0]) == ("preference", "chosen")


def _in_list(row: Row, format: Format, role: str, text: str) -> Any:
    """The messages with another last answer, or another question before it; as JSON text where they are."""
    column = format.uses[0]
    cell = from_json(row[column], column)
    found = _said(cell, role, text, _answer(cell) if role == "user" else None)
    return json.dumps(found, ensure_ascii=False) if isinstance(row[column], str) else found


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(part, Mapping) for part in cell)


def _answer(cell: Any) -> int | None:
    """How many messages there are up to and with the last answer; None where there is none."""
    found = _last(cell, "assistant", None) if _is_list(cell) else None
    return found[0] + 1 if found else None


def _said(cell: Any, role: str, text: str, before: int | None = None) -> Any:
    """A cell whose text, or whose last message of that role before another, says something else."""
    if isinstance(cell, Mapping):
        return _said([cell], role, text)[0]
    if not _is_list(cell):
        return _between(cell, text) if role == "assistant" else _in_form_of(cell, text)
    place = _last(cell, role, before)
    if place is None:
        raise InputError(f"no message of role {role} stands in {str(cell)[:60]}")
    number, key = place
    message = {k: v for k, v in cell[number].items() if k in SAID}
    message[key] = _in_form_of(message[key], text)
    return [*cell[:number], message, *cell[number + 1 :]]


def _between(cell: Any, text: str) -> Any:
    if not isinstance(cell, str):
        return _in_form_of(cell, text)
    bare = cell.strip()
    start = cell.find(bare) if bare else 0
    return cell[:start] + text + (cell[start + len(bare) :] if bare else "")


def _in_form_of(old: Any, text: str) -> Any:
    """The text as the old one is written: a string, a list of strings, or a list of text parts."""
    if not isinstance(old, list) or not old:
        return text
    if not isinstance(old[0], Mapping):
        return [text]
    return [{**{key: part for key, part in old[0].items() if key != WEIGHT}, "text": text}]


def _last(
    messages: Sequence[Mapping[str, Any]], role: str, before: int | None
) -> tuple[int, str] | None:
    """Number and key of the last message of a role that says something, before another message."""
    for number in reversed(range(len(messages) if before is None else before)):
        key = _key(messages[number], role)
        if key is not None and messages[number].get(key):
            return number, key
    return None


def _key(message: Mapping[str, Any], role: str) -> str | None:
    """Where a message holds what that role says, as `formats` spells it; no untrained turn."""
    if role == "assistant" and is_untrained(message):
        return None
    said = message.get("role") or message.get("from")
    sides = next((pair for pair in SIDES if {*pair} <= message.keys()), None)
    if sides is not None and not said:
        return dict(zip(("user", "assistant"), sides, strict=True)).get(role)
    if ROLES.get(str(said), said) != role:
        return None
    return "content" if message.get("content") is not None else "value"
