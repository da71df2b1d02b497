"""One JSON value to rows: an array, columns, pandas' layouts, or rows wrapped in an object.

What is not one of them is a row by itself. Every other reading than an array of rows is said in a note.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from advisor.data.formats import is_row
from advisor.errors import InputError
from advisor.values import given, is_messages

SPLITS = {
    "train": ("training",),
    "validation": ("valid", "val", "dev"),
    "test": ("testing", "eval"),
}
WRAPPERS = ("data", "rows", "examples", "items", "records", "dataset")
"""Keys that hold the rows of a file, beside what is said of it."""
SAID = ({"role", "content"}, {"from", "value"}, {"human", "assistant"})
"""Keys that messages have, in the three spellings."""
Shaped = tuple[dict[str, list[Any]], tuple[str, ...]]
"""Rows by split ("" where there are none), and what was assumed."""


def split_of(words: Sequence[str]) -> str | None:
    """The split that one of these words names."""
    return next((n for n in SPLITS if not {n, *SPLITS[n]}.isdisjoint(words)), None)


def shaped(found: Any, name: str) -> Shaped:
    """The rows of a JSON value.

    Raises:
        InputError: Columns of different lengths.
    """
    if not isinstance(found, dict) or not found:
        return {"": found or []}, ()
    for read in (_splits, _pandas, _wrapped, _columns):
        if (rows := read(found, name)) is not None:
            return rows
    return {"": [found]}, ()


def _are_rows(value: Any) -> bool:
    """Whether a list holds objects that are no messages."""
    return is_messages(value) and not any(keys <= set(value[0]) for keys in SAID)


def _splits(found: dict[str, Any], name: str) -> Shaped | None:
    named = {key: split_of([key.lower()]) for key in found}
    if not all(split and _are_rows(found[key]) for key, split in named.items()):
        return None
    rows: dict[str, list[Any]] = {}
    for key, split in named.items():
        rows.setdefault(str(split), []).extend(found[key])
    held = ", ".join(f"{len(own):,} under {key}" for key, own in found.items())
    return rows, (f"{name} holds its rows in an object: {held}.",)


def _wrapped(found: dict[str, Any], name: str) -> Shaped | None:
    held = [key for key in found if key.lower() in (*WRAPPERS, *SPLITS)]
    if len(held) != 1 or any(is_messages(v) for k, v in found.items() if k not in held):
        return None
    (key,) = held
    if is_row([k for k, v in found.items() if k != key and given(v)]):
        return None  # a row with a column of that name
    inner = found[key]
    if not _are_rows(inner) and not (isinstance(inner, dict) and len(found) == 1):
        return None
    rows, notes = shaped(inner, name)
    rest = ", ".join(k for k in found if k != key)
    note = f"The rows of {name} are those under {key}" + (f"; not used: {rest}." if rest else ".")
    return rows, (note, *notes)


def _columns(found: dict[str, Any], name: str) -> Shaped | None:
    """Columns as lists of the same length; a list of messages or of token ids is one row's."""
    if not found or not all(isinstance(v, list) for v in found.values()):
        return None
    if any(is_messages(v) and not _are_rows(v) for v in found.values()):
        return None
    if any(isinstance(i, int) for i in found.get("input_ids") or ()):
        return None
    lengths = {len(v) for v in found.values()}
    if lengths == {0}:
        return None
    if len(lengths) > 1:
        told = ", ".join(f"{k} {len(v):,}" for k, v in list(found.items())[:10])
        raise InputError(
            f"{name} holds columns of different lengths ({told}); give each the same number of entries"
        )
    return _transposed(found, lengths.pop(), name)


def _transposed(columns: Mapping[str, Sequence[Any]], length: int, name: str) -> Shaped:
    rows = [{key: column[i] for key, column in columns.items()} for i in range(length)]
    return {"": rows}, (
        f"{name} holds columns; they are read as {length:,} row{'s' * (length != 1)}.",
    )


def _pandas(found: dict[str, Any], name: str) -> Shaped | None:
    """What `DataFrame.to_json` writes: by column and index, by index and column, or split."""
    if {"columns", "data"} <= found.keys() and found.keys() <= {"columns", "data", "index"}:
        columns, data = found["columns"], found["data"]
        if isinstance(columns, list) and isinstance(data, list) and data:
            by_column = zip(columns, zip(*data, strict=True), strict=True)
            return _transposed({str(k): v for k, v in by_column}, len(data), name)
    cells = list(found.values())
    if not cells or not all(isinstance(v, dict) and v for v in cells):
        return None
    if all(key.isdigit() for key in found):
        return {"": cells}, (f"{name} holds an object of {len(cells):,} numbered rows.",)
    indices = list(cells[0])
    if all(list(v) == indices for v in cells) and all(i.isdigit() for i in indices):
        columns = {key: list(v.values()) for key, v in found.items()}
        return _transposed(columns, len(indices), name)
    return None
