"""Runs one target: many broken files, and what was neither read nor refused."""

from __future__ import annotations

import random
import re
import shutil
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from advisor.errors import InputError
from harness.experiments.fuzz.mutate import broken
from harness.experiments.fuzz.targets import ALONE, TARGETS

OURS = re.compile(r"(?:advisor|harness)/(?!experiments/)\S+\.py$")


@dataclass(kw_only=True)
class Found:
    """What came of the inputs."""

    inputs: int = 0
    """Broken files that were tried."""
    read: int = 0
    """Of them read without a word."""
    refused: int = 0
    """Refused with an `InputError`."""
    crashes: Counter[str] = field(default_factory=Counter)
    """Kinds of crashes: the exception, and the last line of ours that it went through."""
    examples: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """The first files of each kind."""


def inputs(target: str, number: int, seed: int) -> Iterator[dict[str, bytes]]:
    """Names and contents of the files of a folder, one of them broken."""
    draw = random.Random(f"{target} {seed}")
    whole = _whole(target)
    breakable = [name for name in whole if name not in TARGETS[target].spared]
    for _ in range(number):
        name = draw.choice(breakable)
        beside = {} if target in ALONE else whole
        yield {**beside, name: broken(whole[name], draw)}


@cache
def _whole(target: str) -> Mapping[str, bytes]:
    return TARGETS[target].files()


def read(target: str, files: Mapping[str, bytes], folder: Path) -> Exception | None:
    """Have the reader read the files in a new folder; the refusal or the crash, None without either."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    try:
        TARGETS[target].read(folder)
    except SystemExit as error:  # argparse's own refusal
        return InputError("the words") if error.code == 2 else RuntimeError(f"exit {error.code}")
    except Exception as error:
        return error
    finally:
        shutil.rmtree(folder)
    return None


def place_of(error: BaseException) -> str:
    """A crash as it is counted: its kind, and the last place in the package that it went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if OURS.search(f.filename)]
    place = f"{frames[-1].filename.split('/')[-1]}:{frames[-1].name}" if frames else "?"
    return (
        f"{type(error).__name__} in {place}: {str(error)[:80]!r}"
        if not frames
        else f"{type(error).__name__} in {place}"
    )


def fuzz(target: str, number: int, seed: int, folder: Path) -> Found:
    """Try so many broken files, each in a folder of its own below `folder`."""
    found = Found()
    for files in inputs(target, number, seed):
        error = read(target, files, folder / "input")
        found.inputs += 1
        found.read += error is None
        if isinstance(error, InputError) and "\n" not in str(error):
            found.refused += 1
        elif error is not None:
            kind = place_of(error)
            found.crashes[kind] += 1
            found.examples.setdefault(kind, files)
    return found
