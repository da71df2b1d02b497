"""How far long work is: the one way in which it is told, whoever shows it."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told again and again how many parts of how many are done, at the end that all are.

Work that may stop earlier, as the measurement of a prior, does not come to the last part.
"""
Stages = Callable[[str], Progress]
"""Told the name of a stage as it begins; its answer is told how far that stage is."""


def untold(done: int, total: int) -> None:
    """Tells nobody."""


def untold_stages(stage: str) -> Progress:
    """Tells nobody of any stage."""
    return untold
