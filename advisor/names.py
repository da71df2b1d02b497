"""The name that was meant, among those that there are."""

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path


def did_you_mean(
    name: str, known: Iterable[str], *, at_most: int = 1, cutoff: float = 0.6
) -> str | None:
    """`did you mean A or B?`, the nearest first; None where nothing is near.

    Args:
        name: what was written.
        known: what could have been written.
        at_most: names to offer.
        cutoff: similarity from 0 to 1 from which a name is near, see `difflib.get_close_matches`.
    """
    near = difflib.get_close_matches(name, list(known), n=at_most, cutoff=cutoff)
    return f"did you mean {' or '.join(near)}?" if near else None


def nearest_first(name: str, known: Collection[str]) -> list[str]:
    """All that could have been written, what is most like `name` first."""
    return difflib.get_close_matches(name, known, n=len(known), cutoff=0.0)


def neighbour(path: Path) -> str | None:
    """`did you mean FOLDER/NAME?`, of the files and folders beside a path that leads nowhere."""
    if not path.parent.is_dir():
        return None
    beside = {entry.name: str(entry) for entry in path.parent.iterdir()}
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"did you mean {beside[near[0]]}?" if near else None
