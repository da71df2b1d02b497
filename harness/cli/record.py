"""The record of a recommendation on disk: the whole answer, and the settings that gave it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.files import publish

PAGE = ".html"
"""How the name of a page ends."""


def record_path(output_path: str) -> Path:
    """The file to write, its folder made now: what cannot be written is refused before the work.

    A path that ends in .json or .html is the file; any other is a folder, in which the file gets the time as
    name.
    """
    path = Path(output_path)
    if path.suffix not in (".json", PAGE):
        path = path / f"recommendation_{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_path {output_path}: {error.strerror}") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"--output_path {output_path}: {path} cannot be written")
    return path


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
