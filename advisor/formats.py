"""Columns to conversations: which format a dataset has, and how one of its rows is read.

Formats are tried in one order and the first whose columns are all there wins; a dataset that none
fits is refused with the columns it has and the flags that name them.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.calls import read_tools
from advisor.errors import InputError
from advisor.prompts import start_of_completion
from advisor.remarks import PROMPT_REPEATED
from advisor.template import Conversation, Passage

Row = Mapping[str, Any]
PAIRS = (
    ("prompt", "response"),
    ("query", "response"),
    ("question", "answer"),
    ("question", "solution"),
    ("problem", "solution"),
    ("problem", "answer"),
    ("input", "output"),
    ("text", "code"),
)
OPTIONS = "chat_template_kwargs"
MASKS = ("completion_mask", "assistant_masks")
PROMPT_WORDS = ("question", "prompt", "instruction", "problem", "query", "input")
COMPLETION_WORDS = ("completion", "answer", "response", "output", "solution", "chosen", "target")
ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
}
KNOWN_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", "ipython"})


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A row that is tokenised already."""

    input_ids: list[int]
    """Token ids, checked to be integers of 0 or more."""
    labels: list[int]
    """The id where the token is a target, else -100; not shifted."""


Content = Conversation | Passage | Tokens


@dataclass(frozen=True, kw_only=True)
class Format:
    """How the rows of one dataset are read."""

    name: str
    """As `advisor validate` prints it."""
    read: Callable[[Row], Content]
    """One source row to what it says; InputError without the row's number."""
    uses: tuple[str, ...]
    """Columns that are read."""
    whole: bool = False
    """Whether a row is one text that is a target from beginning to end."""


def detect(
    columns: Sequence[str],
    sample: Row,
    prompt_field: str | None = None,
    completion_field: str | None = None,
    *,
    single: bool = False,
) -> Format:
    """The format of a dataset with these columns; InputError names the way out if none fits.

    Args:
        columns: Of the source.
        sample: One of its rows.
        prompt_field: Column of the prompt, where its name is not a known one.
        completion_field: Column of the completion; alone, the whole text is the target.
        single: Whether the sample is the only row, which may hold the others.
    """
    if prompt_field or completion_field:
        return _by_fields(columns, prompt_field, completion_field)
    have = set(columns)
    if "input_ids" in have:
        return _tokenised(have)
    for name, needed, optional, read in _TABLE:
        if have.issuperset(needed):
            uses = (*needed, *(c for c in optional if c in have))
            return Format(name=name, read=read, uses=uses)
    for prompt, completion in PAIRS:
        if prompt in have and completion in have:
            return _pair(f"{prompt}/{completion}", prompt, completion, have)
    if "text" in have:
        return Format(name="text", read=_text, uses=("text",), whole=True)
    raise InputError(_unknown(columns, sample, single=single))


def _by_fields(columns: Sequence[str], prompt: str | None, completion: str | None) -> Format:
    for flag, name in (("--prompt_field", prompt), ("--completion_field", completion)):
        if name is None and flag == "--completion_field":
            raise InputError(
                f"--prompt_field needs --completion_field; the columns are {_listed(columns)}"
            )
        if name is not None and name not in columns:
            near = difflib.get_close_matches(name, columns, n=3, cutoff=0.5)
            hint = f"did you mean {_listed(near)}? " if near else ""
            raise InputError(
                f"no column {name!r} ({flag}); {hint}The columns are {_listed(columns)}"
            )
    if prompt is None and completion is not None:
        return Format(
            name=f"text ({completion})",
            read=lambda row: Passage(prompt="", completion=as_text(row, completion)),
            uses=(completion,),
            whole=True,
        )
    assert prompt is not None and completion is not None
    if (prompt, completion) == ("prompt", "completion"):
        return Format(
            name="prompt/completion", read=_prompt_and("completion"), uses=(prompt, completion)
        )
    if prompt == completion:
        raise InputError(f"--prompt_field and --completion_field both name {prompt!r}")
    return _pair(f"fields {prompt}/{completion}", prompt, completion, set(columns))


def _pair(name: str, prompt: str, completion: str, have: set[str]) -> Format:
    def read(row: Row) -> Conversation:
        if _is_messages(row[prompt]) or _is_messages(row[completion]):
            return _two_parts(row, row[prompt], row[completion])
        return _turns(row, as_text(row, prompt), as_text(row, completion))

    extra = (c for c in ("system", "history", "tools") if c in have)
    return Format(name=name, read=read, uses=(prompt, completion, *extra))


def _turns(row: Row, user: str, assistant: str) -> Conversation:
    """System, history, user and assistant turns of an instruction row."""
    messages = []
    if system := as_text(row, "system"):
        messages.append({"role": "system", "content": system})
    for pair in row.get("history") or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError("history must be a list of [user, assistant] pairs")
        messages.append({"role": "user", "content": _content(pair[0])})
        messages.append({"role": "assistant", "content": _content(pair[1])})
    messages.append({"role": "user", "content": user})
    messages.append({"role": "assistant", "content": assistant})
    return Conversation(messages=messages)


def _instruction(extra: str, completion: str) -> Callable[[Row], Conversation]:
    def read(row: Row) -> Conversation:
        parts = [as_text(row, "instruction"), as_text(row, extra)]
        return _turns(row, "\n".join(p for p in parts if p), as_text(row, completion))

    return read


def _talk(column: str) -> Callable[[Row], Conversation]:
    """Reads a column of messages; as TRL does, `messages` without the system column."""

    def read(row: Row) -> Conversation:
        messages = _message_list(row[column], column)
        system = "" if column == "messages" else as_text(row, "system")
        if system and messages and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": system})
        tools = read_tools(row.get("tools"))
        return Conversation(messages=messages, tools=tools, options=_options(row))

    return read


def _prompt_and(column: str) -> Callable[[Row], Content]:
    """Reads a prompt and a completion, each of them text or messages."""

    def read(row: Row) -> Content:
        prompt, completion = row["prompt"], row[column]
        if _is_messages(prompt) or _is_messages(completion):
            return _two_parts(row, prompt, completion)
        return Passage(prompt=as_text(row, "prompt"), completion=as_text(row, column))

    return read


def _two_parts(row: Row, prompt: object, completion: object) -> Conversation:
    """A prompt and a completion of which at least one is a list of messages."""
    head, rest = _part(prompt, "user"), _part(completion, "assistant")
    begun = start_of_completion(head, rest)
    repeated = (PROMPT_REPEATED,) if begun else ()
    return Conversation(
        messages=rest if begun else head + rest,
        first=begun or len(head),
        tools=read_tools(row.get("tools")),
        options=_options(row),
        remarks=repeated,
    )


def _part(value: object, role: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return _message_list(value, "prompt" if role == "user" else "completion")


def _options(row: Row) -> dict[str, Any]:
    options = row.get(OPTIONS) or {}
    if not isinstance(options, dict):
        raise InputError(f"{OPTIONS} must be an object, not {_shown(options)}")
    return dict(options)


def _message_list(value: object, column: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{column} must be a list of messages, not {_shown(value)}")
    return [_message(m, column) for item in value for m in _sides(item)]


def _sides(item: object) -> list[object]:
    """ms-swift writes a user's turn and its answer as one object."""
    if not isinstance(item, dict) or not {"human", "assistant"} <= set(item):
        return [item]
    return [{"from": side, "value": item[side]} for side in ("human", "assistant")]


def _message(value: object, column: str) -> dict[str, Any]:
    """One message with TRL's keys and roles, from role/content or from/value."""
    if not isinstance(value, dict):
        raise InputError(f"{column} must hold messages with role and content, not {_shown(value)}")
    message = {k: v for k, v in value.items() if k not in ("from", "value") and v is not None}
    role = value.get("role") or value.get("from")
    content = value.get("content", value.get("value"))
    role = ROLES.get(str(role), role)
    if role not in KNOWN_ROLES:
        raise InputError(
            f"{column} has a message of role {_shown(role)}; known are "
            + _listed(sorted(KNOWN_ROLES | set(ROLES)))
        )
    return {**message, "role": role, "content": _content(content)}


def _content(value: object) -> str:
    """Text of a message, whose content may be a list of text parts."""
    if isinstance(value, list):
        if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in value):
            raise InputError("a message has parts that are not text; only text is read")
        return "".join(p["text"] for p in value)
    text = _scalar(value)
    if text is None:
        raise InputError(f"a message's content is {_shown(value)}, not text")
    return text


def _scalar(value: object) -> str | None:
    """Text of a single value, as JSON writes it; empty for null and NaN, None for no such value."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) else None


def _text(row: Row) -> Passage:
    return Passage(prompt="", completion=as_text(row, "text"))


def _tokenised(have: set[str]) -> Format:
    masks = [m for m in MASKS if m in have and "labels" not in have]
    uses = [c for c in ("labels", *masks, "attention_mask") if c in have]

    def read(row: Row) -> Tokens:
        ids = _ids(row["input_ids"], "input_ids", least=0)
        columns = {c: _ids(row[c], c, least=-100 if c == "labels" else 0) for c in uses}
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

    return Format(name="tokenised", read=read, uses=("input_ids", *uses))


def _ids(value: object, column: str, *, least: int) -> list[int]:
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(
        isinstance(i, int) and i >= least for i in value
    ):
        raise InputError(f"{column} must be a list of integers of {least} or more")
    return [int(i) for i in value]


def _is_messages(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def as_text(row: Row, column: str) -> str:
    """Text of a cell: strings and numbers as they are, lists of strings joined by newlines."""
    value = row.get(column)
    text = _scalar(value)
    if text is not None:
        return text
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return "\n".join(value)
    raise InputError(
        f"column {column!r} holds {_shown(value)}, not text; write it as text, or name another "
        "column with --prompt_field and --completion_field"
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _unknown(columns: Sequence[str], sample: Row, *, single: bool) -> str:
    """Why no format fits, with the flags or the recipe that mend it."""
    start = f"no known format has the columns {_listed(columns)}"
    if nested := [c for c in columns if _is_messages(sample.get(c))]:
        keys = list(sample[nested[0]][0])
        if {"role", "content"} <= set(keys) or {"from", "value"} <= set(keys):
            return f"{start}: {nested[0]!r} holds messages; rename that column to messages"
        if "output" in keys:
            return (
                f"{start}: {nested[0]!r} nests {_listed(keys)}; write one row per instance, e.g. "
                f"jq -c '. as $r | .{nested[0]}[] | {{instruction: $r.instruction, input, output}}'"
                " FILE > flat.jsonl"
            )
        if single and len(columns) - len(nested) <= len(nested):
            return (
                f"{start}: {nested[0]!r} holds a list of rows; write them by themselves, e.g. "
                f"jq .{nested[0]} FILE > rows.json"
            )
    prompt = _guess(columns, PROMPT_WORDS)
    completion = _guess([c for c in columns if c != prompt], COMPLETION_WORDS)
    if prompt and completion:
        return f"{start}; try --prompt_field {prompt} --completion_field {completion}"
    return f"{start}; name them with --prompt_field COLUMN --completion_field COLUMN"


def _guess(columns: Sequence[str], words: Sequence[str]) -> str | None:
    for word in words:
        for column in columns:
            if word in column.lower():
                return column
    return None


_TABLE: tuple[tuple[str, tuple[str, ...], tuple[str, ...], Callable[[Row], Content]], ...] = (
    ("messages", ("messages",), ("tools", OPTIONS), _talk("messages")),
    ("conversations", ("conversations",), ("system", "tools", OPTIONS), _talk("conversations")),
    ("conversation", ("conversation",), ("system", "tools", OPTIONS), _talk("conversation")),
    ("prompt/completion", ("prompt", "completion"), ("tools", OPTIONS), _prompt_and("completion")),
    ("preference", ("prompt", "chosen", "rejected"), ("tools", OPTIONS), _prompt_and("chosen")),
    ("preference", ("chosen", "rejected"), ("tools", OPTIONS), _talk("chosen")),
    (
        "alpaca",
        ("instruction", "output"),
        ("input", "system", "history"),
        _instruction("input", "output"),
    ),
    (
        "dolly",
        ("instruction", "response"),
        ("context", "system", "history"),
        _instruction("context", "response"),
    ),
)
