"""Where a name leads on the disk, and files that are whole or not there.

Answers, records, figures and pages are written through `publish`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from advisor.errors import InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Numbers of the errors of a disk that takes no more."""
_WRITER = re.compile(r"PytorchStreamWriter|inline_container|unexpected pos")
"""In the errors of torch, which does not say why."""
_NUMBER = re.compile(r"\(os error (\d+)\)")
"""In those of safetensors."""
_LONG = re.compile(r"\d{309}")
"""A text without it has no integer beyond the floats, of which the largest is 1.8e308."""


def find(name: str) -> tuple[Path, str | None]:
    """The path that a name may be, and whether a `file` or a `folder` is there.

    Raises:
        InputError: a name that no path can have: too long, or another user's unknown home.
    """
    try:
        path = Path(name).expanduser()
        return path, "folder" if path.is_dir() else "file" if path.is_file() else None
    except (OSError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).strip(".")
        raise InputError(f"{name}: cannot be a path ({reason})") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file: the one way in which files of others are opened.

    Raises:
        OSError: it cannot be read.
        ValueError: as of `parse_json`, or it is not UTF-8.
    """
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(
    text: str,
    hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    decimal: Callable[[str], float] | None = None,
) -> Any:
    """The value of a JSON text: json, with every refusal of a text as the one kind that readers expect.

    Args:
        text: of others.
        hook: makes an object of its keys and values.
        decimal: makes a number of what has a point or an exponent.

    Raises:
        JSONDecodeError: it is not JSON, is nested too deeply, or has an integer beyond the floats.
    """
    integer = _within_floats if _LONG.search(text) else None
    try:
        return json.loads(text, object_pairs_hook=hook, parse_int=integer, parse_float=decimal)
    except RecursionError:
        why = "it is nested too deeply"
    except OverflowError as error:
        why = str(error)
    refusal = json.JSONDecodeError(why, text, 0)
    refusal.args = (why,)  # without a place, which is not known
    raise refusal from None


def _within_floats(digits: str) -> int:
    """An integer that arithmetic with floats bears; Python's own have no bound, and fail there."""
    if len(digits.lstrip("-")) >= 309:
        raise OverflowError("it has an integer of 309 digits or more")
    return int(digits)


def output_file(output: str, *, flag: str, dataset: str | None) -> Path:
    """A file to write, its folder made now: what must not or cannot be written is refused before the work.

    Args:
        output: where it goes, as the user typed it.
        flag: that named it, for the refusal.
        dataset: path or hub id of what is read: a file or folder of the user's is never written over. None:
            nothing is read.

    Raises:
        InputError: it cannot be written, or it is the dataset or lies within it.
    """
    path, there = find(output)
    source, kind = find(dataset) if dataset is not None else (path, None)
    if kind and _is_in(path, source):
        where = f"lies within DATASET {dataset}" if kind == "folder" else "is DATASET itself"
        raise InputError(f"{flag} {output} {where}: give another path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{flag} {output}: {error.strerror}: give another path") from None
    if there == "folder" or not os.access(path.parent, os.W_OK):
        raise InputError(f"{flag} {output} cannot be written: give the path of a file")
    return path


def check_folder(output: str, *, flag: str, dataset: str, models: Iterable[str]) -> None:
    """Refuse a folder to write a model into that must not or cannot be written; nothing is made.

    Args:
        output: the folder, as the user typed it.
        flag: that named it, for the refusal.
        dataset: path or hub id of what is read: in a folder, all of its files are.
        models: folders or hub ids of what is loaded: those are not written over.

    Raises:
        InputError: it cannot be made, is a model's folder, or is the dataset's folder or lies within it.
    """
    path, _ = find(output)
    try:
        there = next(place for place in (path, *path.parents) if place.exists())
    except OSError as error:
        raise InputError(f"{flag} {output}: {error.strerror}: give another folder") from None
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "cannot be written" if there.is_dir() else "is not a folder"
        raise InputError(f"{flag} {output}: {there} {why}: give another folder")
    source, kind = find(dataset)
    if kind == "folder" and _is_in(path, source):
        raise InputError(f"{flag} {output} lies within DATASET {dataset}: give another folder")
    for model in models:
        folder, kind = find(model)
        if kind == "folder" and path.exists() and path.samefile(folder):
            raise InputError(f"{flag} {output} is the folder of model {model}: give another folder")


def make_folder(output: str, *, flag: str) -> None:
    """Make a folder that `check_folder` has let pass; InputError where that fails after all."""
    try:
        find(output)[0].mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{flag} {output}: {error.strerror}: give another folder") from None


def unwritten(error: BaseException) -> str | None:
    """Why a file could not be written, where that is what an error says, whatever wrote it; else None."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in NO_ROOM else None
    text = str(error)
    if found := _NUMBER.search(text):
        return os.strerror(int(found[1])) if int(found[1]) in NO_ROOM else None
    return "is the disk full?" if _WRITER.search(text) else None


def _is_in(path: Path, source: Path) -> bool:
    """Whether a path, or what it links to, is what is there at `source` or lies within it."""
    target, name = path.resolve(), path.parent.resolve() / path.name
    places = (target, *target.parents, *name.parents)
    return any(place.exists() and place.samefile(source) for place in places)


def cells_in_lines(whole: dict[str, Any]) -> bytes:
    """JSON of an object whose list `cells` has a line an entry, so that a change of one is a line's."""
    cells = ",\n  ".join(json.dumps(cell) for cell in whole["cells"])
    rest = {key: value for key, value in whole.items() if key != "cells"}
    head = json.dumps(rest, indent=1).removesuffix("\n}")
    return (head + ',\n "cells": [\n  ' + cells + "\n ]\n}\n").encode()


def publish(path: Path, content: bytes, *, subject: str, remedy: str) -> None:
    """Write a file under a temporary name and rename it, so that it is whole also after a power cut.

    Raises:
        InputError: "SUBJECT cannot be written (why): REMEDY".
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{subject} cannot be written ({error.strerror}): {remedy}") from None
    finally:
        with contextlib.suppress(OSError):  # of a folder that went away: said already
            temporary.unlink(missing_ok=True)
