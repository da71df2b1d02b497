"""Calls, tools and thoughts in the many forms that rows hold them to one form.

The form is that of transformers and TRL: `tool_calls` with `function`, `name` and `arguments` as an
object. What OpenAI wrote before (`function_call`), arguments as JSON text and the nulls that Arrow
puts into nested structures are read as what they mean.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from advisor.chat.remarks import NULLS
from advisor.chat.template import THOUGHT_KEYS, Conversation
from advisor.errors import InputError
from advisor.files import parse_json

Message = dict[str, Any]
OTHER_CALLS = ("function_call", "function_calls", "tool_call", "toolCalls")
"""Keys of a message that hold its calls, besides `tool_calls`."""
ARGUMENTS = ("arguments", "parameters", "args", "input")
"""Keys of a call that hold its arguments: OpenAI's, Llama's, LangChain's and Anthropic's."""
PLACES = ("id", "type", "index", "call_id", "tool_call_id")
"""Keys of a call that say nothing."""
CALL_TYPES = ("tool_call", "tool_use")
"""What LangChain and Anthropic call the type of a call of a function."""


def tidy(conversation: Conversation) -> Conversation:
    """The conversation with calls in one form and without empty keys; InputError for a broken call."""
    messages = [_tidy_message(k, m) for k, m in enumerate(conversation.messages)]
    calls = [call for m in messages for call in m.get("tool_calls", ())]
    found = (NULLS,) if any(_has_nulls(call["function"]["arguments"]) for call in calls) else ()
    for call in calls:
        call["function"]["arguments"] = _parsed(without_nulls(call["function"]["arguments"]))
    return replace(conversation, messages=messages, remarks=(*conversation.remarks, *found))


def _tidy_message(k: int, message: Mapping[str, Any]) -> Message:
    kept = {key: value for key, value in message.items() if value is not None}
    if kept.get("role") == "function":  # OpenAI's earlier name of a tool's turn
        kept["role"] = "tool"
    calls = _calls(k, kept)
    if isinstance(kept.get("thought"), str) and not any(kept.get(key) for key in THOUGHT_KEYS):
        kept[THOUGHT_KEYS[0]] = kept.pop("thought")
    for key in THOUGHT_KEYS:
        if key in kept and not isinstance(kept[key], str):
            raise InputError(f"{key} of turn {k} is {type(kept[key]).__name__}, not text")
        if key in kept and not kept[key].strip():
            del kept[key]
    if calls:
        kept["tool_calls"] = [_call(k, call) for call in calls]
    return kept


def _calls(k: int, message: Message) -> list[Any]:
    """Take the calls out of a message, under whichever of their names they stand."""
    found = message.pop("tool_calls", None) or []
    if not isinstance(found, list):
        raise InputError(f"tool_calls of turn {k} is no list of calls")
    for key in OTHER_CALLS:
        more = message.pop(key, None)
        if more and found and more != found:
            raise InputError(f"turn {k} has tool_calls and {key}, which differ; keep one of them")
        found = found or (more if isinstance(more, list) else [more] if more else [])
    return list(found)


def _call(k: int, call: object) -> Message:
    """One call in the nested form, its id, type and index kept; InputError for what has no place."""
    call = _json(call)
    call = call if isinstance(call, dict) else {}
    inner = call.get("function")
    if isinstance(inner, str):  # {"function": NAME, "arguments": ...}
        inner = {"name": inner}
    given = [*call.items(), *(inner.items() if isinstance(inner, dict) else ())]
    said: Message = {}
    for key, value in given:
        key = "arguments" if key in ARGUMENTS else key
        if key == "function" or not value:
            continue
        if key not in (*PLACES, "name", "arguments"):
            raise InputError(f"a call of turn {k} has {key!r}, which is not read; leave it out")
        if key != "type" and said.get(key, value) != value:
            raise InputError(f"a call of turn {k} has two values of {key}; keep one of them")
        said[key] = value
    name = said.get("name")
    if not isinstance(name, str):
        raise InputError(f"a call of turn {k} has no name; it needs function: name, arguments")
    outer = {key: call[key] for key in ("id", "index") if call.get(key) is not None}
    kind = str(call.get("type") or "function")
    kind = "function" if kind in CALL_TYPES else kind
    function = {"name": name, "arguments": said.get("arguments", {})}
    return {**outer, "type": kind, "function": function}


def _json(value: object) -> object:
    """The value that a JSON text holds, or the value itself."""
    if isinstance(value, str):
        try:
            return parse_json(value)
        except json.JSONDecodeError:
            return value
    return value


def _parsed(arguments: object) -> object:
    """Arguments as an object where their text is one; other text stays text."""
    if isinstance(arguments, str) and not arguments.strip():
        return {}
    found = _json(arguments)
    return found if isinstance(found, dict) else arguments


def _has_nulls(value: object) -> bool:
    if isinstance(value, dict):
        return any(v is None or _has_nulls(v) for v in value.values())
    return isinstance(value, list) and any(_has_nulls(v) for v in value)


def without_nulls(value: Any) -> Any:
    """A nested value without the keys that hold null."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def read_tools(value: object) -> list[Any] | None:
    """The tools of a row: a list, one object, or either as JSON text; None where there are none."""
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.strip() else None
        except json.JSONDecodeError as error:
            raise InputError(f"the tools column is not JSON ({error.msg})") from error
    if isinstance(value, dict):
        held = next((value[key] for key in ("tools", "functions") if value.get(key)), None)
        value = held if isinstance(held, list) else [value]
    if not value:
        return None
    if not isinstance(value, list):
        raise InputError("the tools column must be a list of JSON schemas")
    tools = [without_nulls(_json(tool)) for tool in value]
    if not all(
        isinstance(t, dict) and ("name" in t or "function" in t or "type" in t) for t in tools
    ):
        raise InputError("the tools column must hold objects with name or function")
    return tools


def thoughts(message: Mapping[str, Any]) -> list[str]:
    """The thoughts that stand beside a message's content, each once."""
    found = [str(message[key]).strip() for key in THOUGHT_KEYS if message.get(key)]
    return list(dict.fromkeys(filter(None, found)))


def spellings(conversation: Conversation) -> Iterator[Conversation]:
    """The conversation, then others that say the same: templates differ in what they read.

    A call without text has the content "", null or none; arguments are an object or JSON text; a
    tool's schema lies under `function` or not.
    """
    yield conversation
    seen = [(conversation.messages, conversation.tools)]
    nested = conversation.tools and [_nested(tool) for tool in conversation.tools]
    if nested == conversation.tools and not any(m.get("tool_calls") for m in seen[0][0]):
        return
    tool_forms = [conversation.tools] + ([nested] if nested != conversation.tools else [])
    for tools, text, empty in product(tool_forms, (False, True), ("", None, "absent")):
        messages = [_respelled(m, text, empty) for m in conversation.messages]
        if (messages, tools) not in seen:
            seen.append((messages, tools))
            yield replace(conversation, messages=messages, tools=tools)


def _nested(tool: Any) -> Any:
    return (
        tool if "function" in tool or "name" not in tool else {"type": "function", "function": tool}
    )


def _respelled(message: Message, text: bool, empty: str | None) -> Message:
    if not message.get("tool_calls"):
        return message
    other = dict(message)
    if text:
        other["tool_calls"] = [_as_text(call) for call in message["tool_calls"]]
    if not str(message.get("content") or "").strip():
        other["content"] = empty
        if empty == "absent":
            del other["content"]
    return other


def _as_text(call: Message) -> Message:
    function = call["function"]
    if isinstance(function["arguments"], str):
        return call
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}


def shape(conversation: Conversation) -> tuple[object, ...]:
    """What a template may branch on besides the words: roles, keys, which turns are targets."""
    turns = (
        (
            m["role"],
            str(m.get("content") or "").count("</think>"),
            bool(str(m.get("content") or "").strip()),
            tuple(key for key in THOUGHT_KEYS if m.get(key)),
            tuple(isinstance(c["function"]["arguments"], str) for c in m.get("tool_calls", ())),
        )
        for m in conversation.messages
    )
    tools = tuple("function" in tool for tool in conversation.tools or ())[:1]
    return (
        *turns,
        tuple(conversation.targets()),
        tools,
        repr(sorted(conversation.options.items())),
    )


def stand_in(conversation: Conversation) -> Conversation:
    """The same conversation in words that occur nowhere else, to see where a template puts them."""
    return replace(
        conversation,
        messages=[
            _stand_in(k, m, conversation.messages) for k, m in enumerate(conversation.messages)
        ],
    )


def _stand_in(k: int, message: Message, messages: Sequence[Message]) -> Message:
    other = dict(message)
    content = str(message.get("content") or "")
    if content.strip():
        parts = content.count("</think>")
        said = "".join(f"<think>\nzq{k}deliberation{n}qz\n</think>\n\n" for n in range(parts))
        other["content"] = said + f"zq{k}{message['role']}qz"
    for n, key in enumerate(key for key in THOUGHT_KEYS if message.get(key)):
        same = thoughts(message)
        other[key] = f"zq{k}reasoning{n if len(same) > 1 else 0}qz"
    if message.get("tool_calls"):
        other["tool_calls"] = [_stand_in_call(k, n, c) for n, c in enumerate(message["tool_calls"])]
    return other


def _stand_in_call(k: int, n: int, call: Message) -> Message:
    function = call["function"]
    arguments: object = f"zq{k}call{n}textqz"
    if not isinstance(function["arguments"], str):
        arguments = {"place": f"zq{k}call{n}placeqz", "count": 70000 + 100 * k + n}
    return {**call, "function": {**function, "arguments": arguments}}
