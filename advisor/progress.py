"""How far long work is: the one way in which it is told, whoever shows it."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told again and again how many parts of how many are done, at the end that all are.

Work that may stop earlier, as the measurement of a prior, does not come to the last part.
"""
Stages = Callable[[str], Progress]
"""Told the name of a stage as it begins; its answer is told how far that stage is."""


def span(seconds: float) -> str:
    """A duration as it is told: `40 s`, `12 min` or `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def untold(done: int, total: int) -> None:
    """Tells nobody."""


def untold_stages(stage: str) -> Progress:
    """Tells nobody of any stage."""
    return untold
