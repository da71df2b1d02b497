"""Messages in their many spellings to TRL's: role and content, with calls as calls.

The spellings are role/content (OpenAI), from/value (ShareGPT) and one object for a user's turn and its
answer (ms-swift, xtuner). What stands in two spellings and differs is refused.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from advisor.chat.calls import ARGUMENTS, PLACES
from advisor.chat.template import THOUGHT_KEYS
from advisor.errors import InputError
from advisor.files import parse_json
from advisor.values import TURNS, given, listed, parse, scalar, shown

CALL_ROLES = ("function_call", "tool_call")
"""Roles of a turn that is a call, written as JSON: LLaMA-Factory's and ms-swift's."""
ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    **dict.fromkeys(CALL_ROLES, "assistant"),
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
KNOWN_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", "ipython"})
SIDES = (("human", "assistant"), ("input", "output"))
"""Keys of an object that holds a user's turn and its answer."""
CALLS = {"role", "content", "tool_calls"}
READ = frozenset(
    ("role", "content", "refusal", "tool_calls", "name", "tool_call_id", "id", *THOUGHT_KEYS)
)
"""Keys of a tidy message that are read, or say nothing."""


def message_list(value: object, column: str) -> list[dict[str, Any]]:
    """The messages of a cell; InputError where it holds something else."""
    value = from_json(value, column)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{column} must be a list of messages, not {shown(value)}")
    turns = parse(TURNS, value, column)
    found: list[dict[str, Any]] = []
    written = False
    for side in (side for item in turns for side in _sides(item)):
        message, before = _message(side, column), written
        written = message.keys() == CALLS and (side.get("role") or side.get("from")) in CALL_ROLES
        if before and written:  # ms-swift writes parallel calls as turns one after another
            message["tool_calls"] = found.pop()["tool_calls"] + message["tool_calls"]
        found.append(message)
    return found


def from_json(value: object, column: str) -> object:
    """A list that a table holds as JSON text."""
    if not isinstance(value, str) or value.lstrip()[:1] != "[":
        return value
    try:
        return parse_json(value)
    except json.JSONDecodeError as error:
        raise InputError(f"{column} holds text that is no JSON ({error.msg})") from error


def entries(value: object, column: str) -> list[Any] | None:
    """The entries of a cell that is a list, its JSON text, or one list for each of their keys, as in Arrow.

    None for anything else.
    """
    value = from_json(value, column)
    if isinstance(value, Mapping) and all(isinstance(part, list) for part in value.values()):
        columns = zip(*value.values(), strict=False)
        return [dict(zip(value, entry, strict=True)) for entry in columns]
    return value if isinstance(value, list) else None


def unread(messages: Sequence[Mapping[str, Any]], template: str) -> Iterator[str]:
    """Filled keys of messages that neither the tool nor the template's text reads."""
    for message in messages:
        for key, value in message.items():
            if key in READ or not given(value):
                continue
            if not re.search(rf"""[.'"]{re.escape(key)}\b""", template):
                yield key


def _sides(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The turns of an object that holds a user's and its answer; its marks are the answer's."""
    sides = next((pair for pair in SIDES if {*pair} <= item.keys()), None)
    if sides is None or item.get("role") or item.get("from"):
        return [item]
    user, answer = sides
    rest = {k: v for k, v in item.items() if k not in (user, answer, "system")}
    head = [{"from": "system", "value": item["system"]}] if given(item.get("system")) else []
    return [
        *head,
        {"from": "human", "value": item[user]},
        {**rest, "from": "assistant", "value": item[answer]},
    ]


def _message(value: dict[str, Any], column: str) -> dict[str, Any]:
    """One message with TRL's keys and roles, nulls being nothing."""
    message = {k: v for k, v in value.items() if k not in ("from", "value") and v is not None}
    roles = [value[key] for key in ("role", "from") if value.get(key)]
    said = list(dict.fromkeys(ROLES.get(str(role), role) for role in roles))
    role = said[0] if said else None
    if role not in KNOWN_ROLES:
        raise InputError(
            f"{column} has a message of role {shown(role)}; known are "
            + listed(sorted(KNOWN_ROLES | set(ROLES)))
        )
    texts = [content_text(value[key]) for key in ("content", "value") if given(value.get(key))]
    if len(said) > 1 or len(set(texts)) > 1:
        both = "role and from" if len(said) > 1 else "content and value"
        raise InputError(f"{column} has a message with {both}, which differ; keep one of them")
    text = texts[0] if texts else ""
    calls = _written_calls(text) if roles[0] in CALL_ROLES and "tool_calls" not in message else None
    if calls:
        return {**message, "role": role, "content": "", "tool_calls": calls}
    if parts := _weighted_parts(value.get("content") or value.get("value")):
        spans = entries(message.get("spans", []), f"{column}, spans")
        if spans is None:
            raise InputError(
                f"{column} has a message with spans {shown(message['spans'])}, not a list; write start, end "
                "and weight of every stretch"
            )
        message["spans"] = [*spans, *parts]
    return {**message, "role": role, "content": text}


def _weighted_parts(content: object) -> list[dict[str, Any]]:
    """The parts of a content that have a `weight` of their own, as spans of its text."""
    found, end = [], 0
    for part in content if isinstance(content, list) else ():
        start, end = end, end + len(part["text"])
        if part.get("weight") is not None and part["text"]:
            found.append({"start": start, "end": end, "weight": part["weight"]})
    return found


def _written_calls(text: str) -> list[dict[str, Any]] | None:
    """The calls that a text is the JSON of; None for another text."""
    try:
        found = parse_json(text)
    except json.JSONDecodeError:
        return None
    calls = found if isinstance(found, list) else [found]
    known = {"name", "function", *ARGUMENTS, *PLACES}
    fit = (isinstance(c, dict) and isinstance(c.get("name"), str) and c["name"] for c in calls)
    return calls if calls and all(fit) and all(c.keys() <= known for c in calls) else None


def content_text(value: object) -> str:
    """Text of a message, whose content may be a list of text parts."""
    if isinstance(value, list):
        if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in value):
            raise InputError("a message has parts that are not text; only text is read")
        return "".join(p["text"] for p in value)
    text = scalar(value)
    if text is None:
        raise InputError(f"a message's content is {shown(value)}, not text")
    return text
