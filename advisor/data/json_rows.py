"""Rows of a JSON file as they are written: an array, an object, or an object on every line."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from advisor.data import data_files as files
from advisor.data.shapes import shaped
from advisor.errors import InputError
from advisor.files import parse_json
from advisor.values import decimal


def table(rows: list[Any], name: str) -> list[dict[str, Any]]:
    """Rows with the same columns each; a bare text is a row with the column `text`."""
    try:
        rows = [as_row(value, i) for i, value in enumerate(rows)]
    except InputError as error:
        raise InputError(f"{name}, {error}") from error
    columns = {key: None for row in rows for key in row}
    return [{column: row.get(column) for column in columns} for row in rows]


def as_row(value: Any, number: int) -> dict[str, Any]:
    """A row with the columns that it has itself; a bare text is a row with the column `text`."""
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"row {number} (counted from 0): not an object with named columns")
    return value


def read_json(file: Path) -> tuple[dict[str, list[Any]], Sequence[str]]:
    """Rows of a file that holds an array, an object, or an object on every line."""
    text = files.read_text(file)
    try:
        found = parse_json(text, _object, decimal)
    except json.JSONDecodeError:
        return {"": list(_json_lines(file, text))}, ()
    except _TwiceError as error:
        raise InputError(f"{file}: {error}") from error
    except ValueError as error:
        raise InputError(f"{file} cannot be read as json ({error})") from error
    files.check_listing(found, file)
    if found is None:
        return {"": []}, ()
    parts, notes = shaped(found, file.name)
    return {n: rows if isinstance(rows, list) else [rows] for n, rows in parts.items()}, notes


class _TwiceError(Exception):
    """An object holds one key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; json itself keeps the last of two values of one key without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _TwiceError(f"an object holds the key {twice!r} twice; keep one of them")
    return found


def _json_lines(file: Path, text: str) -> Iterator[Any]:
    """The value on each line; InputError names the first line that is broken."""
    for number, part in enumerate([text] if text.lstrip()[:1] == "[" else text.split("\n")):
        if part.strip():
            yield parse_line(part, number, file)


def parse_line(text: str, number: int, file: Path) -> Any:
    """The JSON value on a line, counted from 0.

    Raises:
        InputError: It is broken, too deeply nested, or holds a number that is too long.
    """
    try:
        return parse_json(text, _object, decimal)
    except _TwiceError as error:
        raise InputError(f"line {number + 1} of {file}: {error}") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"broken JSON on line {number + error.lineno} of {file}: {error.msg} "
            f"(column {error.colno})"
        ) from error
    except ValueError as error:
        raise InputError(f"line {number + 1} of {file} cannot be read as json ({error})") from error
