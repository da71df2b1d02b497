"""Valid files to broken ones, by a seed: values, keys and bytes that nobody meant to write."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

Change = Callable[[Any, Any, random.Random], None]
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**63, 10**400, -0.0, 0.5, 1e308, float("nan"), float("inf"), "", " ",
    "a", "0", "1e999", "\ud800", "\x00", "\u2028", "..", "/", "%s", "{", "<|im_end|>", "x" * 5000, [], {},
    [[]], [{}], ["a", "b"], [1, 2], {"": None}, {"a": {"b": [1]}}, {"role": "user", "content": "a"},
    {"schema": 1}, [None],
)  # fmt: skip
"""What a value becomes."""
DEEP = 3000
"""Nestings beyond what Python's recursion bears."""
PIECES = (
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r\n", b"\n\n", b",", b"\t", b'"', b"'", b"{", b"}",
    b"[", b"]", b":", b"-", b"&a", b"*a", b"!!", b"!!python/object:a.b", b"? ", b"#", b"null", b"NaN",
    b"-Infinity", b"9" * 5000, b"\\ud800", b"\xc3", b"\xe2\x80\xa8", b"[" * DEEP, b'{"a":' * DEEP,
    b"1e999", b"\x1f\x8b", b"PAR1",
)  # fmt: skip
"""What is put between bytes."""


def broken(content: bytes, draw: random.Random) -> bytes:
    """A file with one to three faults; of JSON, mostly within its values."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        try:
            whole = [json.loads(content)] if draw.random() < 0.5 else _lines(content)
        except (ValueError, RecursionError):
            whole = []
        in_values = whole and draw.random() < 0.8
        content = _in_values(whole, draw) if in_values else _in_bytes(content, draw)
    return content


def _lines(content: bytes) -> list[Any]:
    return [json.loads(line) for line in content.splitlines()]


def _in_values(whole: list[Any], draw: random.Random) -> bytes:
    """Files of JSON, one value or one a line, with one place changed."""
    places = [place for value in [whole] for place in _places(value)]
    holder, key = draw.choice(places)
    change: Change = draw.choice((_set, _set, _set, _drop, _rename, _swap, _nest))
    change(holder, key, draw)
    return "\n".join(json.dumps(value) for value in whole).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every list and object within a value, with each of its positions or keys."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        holder = todo.pop()
        keys: Sequence[Any] = list(holder) if isinstance(holder, dict) else range(len(holder))
        found += [(holder, key) for key in keys]
        todo += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    return found


def _set(holder: Any, key: Any, draw: random.Random) -> None:
    holder[key] = draw.choice(VALUES)


def _drop(holder: Any, key: Any, draw: random.Random) -> None:
    del draw, holder[key]


def _rename(holder: Any, key: Any, draw: random.Random) -> None:
    if isinstance(holder, dict):
        holder[draw.choice((key + "s", key.upper(), "", "schema", "\ud800"))] = holder.pop(key)
    else:
        holder.append(holder[key])


def _swap(holder: Any, key: Any, draw: random.Random) -> None:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    other = draw.choice(keys)
    holder[key], holder[other] = holder[other], holder[key]


def _nest(holder: Any, key: Any, draw: random.Random) -> None:
    inner = holder[key]
    holder[key] = draw.choice(([inner], {"a": inner}, str(inner), [inner, inner]))


def _in_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes put in, changed, left out or doubled at a place, or the rest of the file left out."""
    start = draw.randrange(len(content) + 1)
    end = min(len(content), start + draw.choice((0, 0, 1, 2, 8, 64)))
    piece = draw.choice((*PIECES, content[start:end] * 2, bytes([draw.randrange(256)])))
    rest = b"" if draw.random() < 0.1 else content[end:]
    return content[:start] + piece + rest
