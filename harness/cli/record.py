"""The record of a recommendation on disk: the whole answer, and the settings that gave it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.files import find, output_file, publish

FLAG, PAGE = "--output_path", ".html"
"""The flag, and how the name of a page ends."""
OTHERS = (".csv", ".htm", ".jsonl", ".md", ".pdf", ".txt", ".yaml", ".yml")
"""Endings of files, where they are no folder's: nothing is written in these formats."""


def record_path(output_path: str, dataset: str | None) -> Path:
    """The file to write, its folder made now: what must not or cannot be written is refused before the work.

    A path that ends in .json or .html is the file; any other is a folder, in which the file gets the time as
    name.

    Args:
        output_path: as the user typed it.
        dataset: path or hub id of what is read, which is never written over; None: nothing is.

    Raises:
        InputError: it cannot be written, is the dataset or lies within it, or ends as no record does.
    """
    path, there = find(output_path)
    if path.suffix in OTHERS and there != "folder":
        raise InputError(
            f"{FLAG} {output_path}: no record ends in {path.suffix}: give a name that ends in .json or "
            f"{PAGE}, or a folder"
        )
    if path.suffix not in (".json", PAGE):
        path = path / f"recommendation_{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json"
    return output_file(str(path), flag=FLAG, dataset=dataset)


def write_record(
    path: Path, answer: Mapping[str, Any], command: str, settings: Mapping[str, Any]
) -> None:
    """Write the answer to `path` and the resolved settings beside it, each whole or not at all.

    The settings file is one that `--config` takes; `command` stands in it as a comment.
    """
    import yaml

    texts = {
        path: json.dumps(answer, indent=2, ensure_ascii=False),
        path.with_suffix(".config.yaml"): f"# {command}\n{yaml.safe_dump(dict(settings))}",
    }
    for target, text in texts.items():
        publish(
            target, text.encode(), subject=f"--output_path {target}:", remedy="give another path"
        )
