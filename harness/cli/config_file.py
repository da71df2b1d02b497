"""The YAML file that can stand for flags: its keys are their names, and flags on the command line win."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from advisor.names import did_you_mean


def with_config(
    file: str, parser: argparse.ArgumentParser, words: list[str], *, open_keys: bool
) -> tuple[list[str], list[str]]:
    """The words of a command with those of the YAML file put before the flags, which so win.

    The words of open keys are apart, to be put before the words that the command does not know: argparse
    would take the items of their lists for the command's arguments.

    Args:
        file: the YAML file.
        parser: of the command.
        words: the command and what follows.
        open_keys: whether a key that is no flag of the command is handed on.

    Raises:
        InputError: a file that cannot be read, or a key that is none.
    """
    given: list[str] = []
    handed_on: list[str] = []
    actions = {action.dest: action for action in parser._actions}
    typed = {
        action.dest
        for word in words[1:]
        if (action := parser._option_string_actions.get(word.partition("=")[0])) is not None
    }
    for name, value in _read_yaml(Path(file)).items():
        key = str(name).replace("-", "_")
        action = actions.get(key)
        if action is None and not open_keys:
            near = did_you_mean(key, actions)
            hint = f", {near}" if near else ""
            raise InputError(f"--config {file}: unknown key {name!r}{hint}")
        if key in ("help", "config") or (action is not None and not action.option_strings):
            raise InputError(f"--config {file}: {name} belongs on the command line")
        if key in typed:  # a flag that may be given several times would be added to
            continue
        found = given if action else handed_on
        found += _as_words(key, value, switch=action is not None and action.nargs == 0)
    # The flag behind them keeps a list from taking the command's arguments for its own.
    return [words[0], *given, f"--config={file}", *words[1:]], handed_on


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"--config {path}: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise InputError(f"--config {path}: expected `name: value` lines")
    return settings


def _as_words(key: str, value: Any, *, switch: bool) -> list[str]:
    """`key: value` of a YAML file as the words of a flag."""
    if value is None:
        return []
    if switch:
        if not isinstance(value, bool):
            raise InputError(f"{key}: expected true or false, got {value!r}")
        return [f"--{key}"] if value else []
    if isinstance(value, list):
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={json.dumps(value) if isinstance(value, dict | bool) else value}"]
