"""Guard tasks: which they are, and that nothing is trained for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from harness.evaluate.scorers import questions


def guard_names(
    guards: Sequence[str],
    tasks: Collection[str],
    rows: Iterable[Mapping[str, Any]],
    *,
    include_path: str | Path | None = None,
    trust_remote_code: bool = False,
) -> tuple[str, ...]:
    """The names under which guards are scored.

    Args:
        guards: as the user names them.
        tasks: names of what is trained for.
        rows: demonstrations, as they stand in the data.
        include_path: folder with task files of the user's own.
        trust_remote_code: run code that the user's task files name.

    Raises:
        InputError: there is no such task, it is one of `tasks`, or documents of it are trained on.
    """
    asked: dict[str, list[str]] = {}
    for guard in guards:
        found = questions(guard, include_path, trust_remote_code=trust_remote_code)
        if same := [name for name in found if name in tasks]:
            raise InputError(
                f"--guard {guard}: {same[0]} is the task that is trained for: a guard is one that is not"
            )
        asked |= found
    wanted = {_plain(text): name for name, texts in asked.items() for text in texts if text.strip()}
    shared = {text for row in rows for text in map(_plain, _texts(row)) if text in wanted}
    if shared:
        name = wanted[next(iter(shared))]
        number = sum(_plain(text) in shared for text in asked[name])
        raise InputError(
            f"--guard {name}: {number} of its {len(asked[name])} documents stand in the training data, which "
            "makes it no guard: take those rows out, or give another task"
        )
    return tuple(asked)


def _plain(text: str) -> str:
    """A text whose blanks do not matter."""
    return " ".join(text.split())


def _texts(value: Any) -> Iterator[str]:
    """Every text of a row, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
