"""Columns that no format has: what they look like, and the flag or the recipe that mends it."""

from collections.abc import Mapping, Sequence
from typing import Any

from advisor.values import is_messages, listed

PROMPT_WORDS = ("question", "prompt", "instruction", "problem", "query", "input")
COMPLETION_WORDS = ("completion", "answer", "response", "output", "solution", "chosen", "target")


def unknown(columns: Sequence[str], sample: Mapping[str, Any], *, single: bool) -> str:
    """Why no format fits, with the flags or the recipe that mend it."""
    start = f"no known format has the columns {listed(columns)}"
    nested = [c for c in columns if is_messages(sample.get(c))]
    if nested and (found := _nested(nested[0], sample[nested[0]], columns, nested, single=single)):
        return f"{start}: {found}"
    if len(columns) == 1 and isinstance(inner := sample[columns[0]], Mapping):
        return (
            f"{start}: {columns[0]!r} holds an object with {listed(list(map(str, inner)))}; write "
            f"that by itself, e.g. jq -c .{columns[0]} FILE > rows.jsonl"
        )
    prompt = _guess(columns, PROMPT_WORDS)
    completion = _guess([c for c in columns if c != prompt], COMPLETION_WORDS)
    if prompt and completion:
        return f"{start}; try --prompt_field {prompt} --completion_field {completion}"
    return f"{start}; name them with --prompt_field COLUMN --completion_field COLUMN"


def _nested(
    column: str,
    cell: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    nested: Sequence[str],
    *,
    single: bool,
) -> str | None:
    """What a column is that holds a list of objects."""
    keys = list(cell[0])
    if {"role", "content"} <= set(keys) or {"from", "value"} <= set(keys):
        return f"{column!r} holds messages; rename that column to messages"
    if "output" in keys:
        return (
            f"{column!r} nests {listed(keys)}; write one row per instance, e.g. "
            f"jq -c '. as $r | .{column}[] | {{instruction: $r.instruction, input, output}}'"
            " FILE > flat.jsonl"
        )
    if single and len(columns) - len(nested) <= len(nested):
        return (
            f"{column!r} holds a list of rows; write them by themselves, e.g. "
            f"jq -c '.. | .{column}? // empty | .[]' FILE > rows.jsonl"
        )
    return None


def _guess(columns: Sequence[str], words: Sequence[str]) -> str | None:
    for word in words:
        for column in columns:
            if word in column.lower():
                return column
    return None
