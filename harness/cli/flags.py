"""Fields of options dataclasses as flags, and the dataclass from the words that were parsed.

jsonargparse does this too, but its import takes 0.2 s of CPU, it takes `--dtyp` for `--dtype` without a word,
its lists are `[1,2]`, and its refusals are four to eight lines.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from advisor.errors import InputError
from advisor.options import Flag, flags_of

T = TypeVar("T")
RENAMED = {
    "--rewrite": "--resample",
    "--rewrite_share": "--resample_share",
    "--rewrite_verify": "--resample_verify",
}
"""Flags of earlier versions, with their names of today."""


def add_options(
    parser: Any,
    kind: type[Any],
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    prefix: str = "",
) -> None:
    """Add the flags of a dataclass to a parser or a group.

    Args:
        parser: argparse's.
        kind: the dataclass.
        only: names of the flags that are wanted; None: all.
        without: names of flags that are not.
        prefix: stands before each name; then what is not given is left to the dataclass (see `given`).
    """
    hints = typing.get_type_hints(kind)
    groups: dict[str, Any] = {}
    for name, field in flags_of(kind).items():
        if name in without or (only is not None and name not in only):
            continue
        flag: Flag = field.metadata["flag"]
        place = parser
        if flag.group:
            place = groups.setdefault(flag.group, None) or parser.add_mutually_exclusive_group()
            groups[flag.group] = place
        settings = _settings(flag, field.default, hints[field.name])
        if prefix:
            settings["default"] = None
        words = [f"--{prefix}{name}", *([flag.short] if flag.short else [])]
        place.add_argument(*words, **settings)


def _settings(flag: Flag, default: Any, hint: Any) -> dict[str, Any]:
    """Keyword arguments of `add_argument`."""
    found: dict[str, Any] = {"help": _help(flag.help, default)}
    if default is dataclasses.MISSING:
        found["required"] = True
    else:
        found["default"] = default
    kind, optional, several = _kind(hint)
    if kind is bool and not optional:
        return {**found, "action": "store_true"}
    if flag.choices:
        found["choices"] = list(flag.choices)
    if flag.metavar:
        found["metavar"] = flag.metavar
    if several:
        found["nargs"] = "+"
        found |= {"action": "extend"} if flag.adds else {}
    if kind is bool:
        found |= {"type": true_or_false, "metavar": "BOOL"}
        return {**found, "nargs": "?", "const": True} if flag.bare else found
    if kind in (int, float):
        found["type"] = kind if flag.low is None else number(kind, flag.low, flag.high)
    return found


def _kind(hint: Any) -> tuple[Any, bool, bool]:
    """The type of one value, whether there may be none, and whether there may be several."""
    arms = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    inner = next(arm for arm in arms if arm is not type(None))
    several = typing.get_origin(inner) is tuple
    return (typing.get_args(inner)[0] if several else inner), len(arms) > 1, several


def _help(text: str, default: Any) -> str:
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return text.replace("{default}", shown).replace("%", "%%")


def read(kind: type[T], args: argparse.Namespace, **fixed: Any) -> T:
    """The dataclass that the parsed words make; a flag that the command has not stays at its default.

    Args:
        kind: the dataclass.
        args: what argparse gave.
        fixed: fields that the command decides.
    """
    found = {
        field.name: getattr(args, name)
        for name, field in flags_of(kind).items()
        if hasattr(args, name)
    }
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()} | fixed)


def given(kind: type[Any], args: argparse.Namespace, *, prefix: str) -> dict[str, Any]:
    """The fields whose prefixed flags were given."""
    values = {field.name: getattr(args, prefix + name) for name, field in flags_of(kind).items()}
    return {name: value for name, value in values.items() if value is not None}


def add_pair(parser: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """MODEL, always or where it is not `needed` as well, DATASET, and the file that can stand for flags."""
    parser.add_argument(
        "model", metavar="MODEL", nargs=None if needed else "?",
        help="local folder, hub id, or ladder:strong|mid|weak; recommend and validate also read a .gguf file",
    )  # fmt: skip
    parser.add_argument(
        "dataset", metavar="DATASET", nargs="?",
        help="json, jsonl, csv, tsv, parquet or arrow file (also .gz, .zst), save_to_disk folder, or hub id "
        "(a ladder brings its own)",
    )  # fmt: skip
    parser.add_argument(
        "--config", "-C", metavar="FILE", help="YAML with the same names; flags win"
    )


def add_json(parser: argparse.ArgumentParser) -> Any:
    """Output for machines; the group, for more."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    return group


def true_or_false(text: str) -> bool:
    """A type for argparse: true or false, as YAML and lm-eval write them."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r}: expected true or false")
    return known[text.lower()]


def refuse_renamed(words: Sequence[str]) -> None:
    """Raise InputError at a flag that has another name today."""
    for word in words:
        flag = word.partition("=")[0]
        if flag in RENAMED:
            raise InputError(f"{flag} is now {RENAMED[flag]}")


def number(
    kind: Callable[[str], float], low: float, high: float = math.inf
) -> Callable[[str], float]:
    """A type for argparse: a finite number within bounds, refused in one line otherwise."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if value == math.inf:
            raise argparse.ArgumentTypeError(f"{text}: expected a finite number")
        if not low <= value <= high:
            limits = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"{text}: expected {limits}")
        return value

    return read
