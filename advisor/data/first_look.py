"""What can be refused of a dataset before torch and datasets are imported, in the reader's own words.

`look` calls the functions that the reader (`advisor/data/sources.py`, `dataset.py`) calls. It refuses nothing
that the reader accepts: what it does not see through, it lets pass.
"""

import json
from pathlib import Path
from typing import Any

from advisor.chat.template_source import given_source
from advisor.data import data_files as files
from advisor.data.delimited import csv_layout
from advisor.data.formats import Format, Row, detect
from advisor.data.json_rows import read_json, table
from advisor.errors import InputError
from advisor.files import parse_json
from advisor.options import DataOptions

LARGEST = 2**25
"""Bytes of a JSON file that is read whole where its first row alone is of no known format."""
BEGINNING = 2**20
"""Bytes in which the first row has to end to be looked at."""


def look(source: str, options: DataOptions) -> None:
    """Look at the first row of a local file, or at the kind of a folder.

    Raises:
        InputError: A path that leads nowhere, no data, columns of no known format, a template file that
            cannot be read.
    """
    path, there = files.locate(source)
    if there == "folder":
        files.check_folder(path)
    if there != "file":
        return
    builder = files.builder_of(path)
    if not path.stat().st_size:
        files.check_file(path)
    if files.kind_of(path)[1]:
        return
    files.check_pointer(path)
    format = _format(path, builder, options)
    if format is None or format.name == "tokenised":  # token ids are not rendered
        return
    if options.chat_template not in (None, "none"):
        given_source(str(options.chat_template))


def _format(path: Path, builder: str, options: DataOptions) -> Format | None:
    """The format of a file; None where that is for the reader to tell."""
    fields = options.fields
    try:
        if builder == "csv":
            names = csv_layout(path, options.delimiter)[1]
            return detect(names, dict.fromkeys(names, ""), *fields)
        return _of_json(path, fields) if builder == "json" else None
    except InputError:
        raise
    except Exception:  # what is wrong with such a file is the reader's to say
        return None


def _of_json(path: Path, fields: tuple[str | None, ...]) -> Format | None:
    """The format that the first row speaks for; the rows together have the last word."""
    first = _first_row(path)
    if first is not None:
        try:
            return detect(tuple(first), first, *fields)
        except InputError:
            pass  # a later row may have the other columns
    if path.stat().st_size > LARGEST:
        return None
    files.check_file(path)
    parts, _ = read_json(path)
    rows = table(parts[""], path.name) if set(parts) == {""} else []
    if not rows:
        return None
    return detect(tuple(rows[0]), rows[0], *fields, single=len(rows) == 1)


def _first_row(path: Path) -> Row | None:
    """The first object of an array, or of several lines that are one each; None for other files."""
    with path.open("rb") as file:
        text = file.read(BEGINNING).decode("utf-8-sig", errors="ignore").lstrip()
    found: Any
    try:
        if text.startswith("["):
            found, _ = json.JSONDecoder().raw_decode(text[1:].lstrip())
        else:
            line, _, rest = text.partition("\n")
            found = parse_json(line) if rest.lstrip().startswith("{") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
