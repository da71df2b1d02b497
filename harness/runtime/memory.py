"""Batches that fit into memory: the largest first, a smaller one after every lack of memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache

from advisor.model.out_of_memory import is_out_of_memory

T = TypeVar("T")
_noted: ContextVar[dict[str, int] | None] = ContextVar("smaller batches", default=None)

logger = logging.getLogger(__name__)


def largest_that_fits(
    function: Callable[[int], T], largest: int, what: str, *, least: int = 1
) -> T:
    """`function(size)` with the largest divisor of `largest` that memory allows; a smaller one is said.

    Divisors, so that a whole number of such batches makes up the largest one. accelerate's
    `find_executable_batch_size` steps by a tenth, and frees memory while the failed attempt still holds it.
    What earlier work left for the garbage collector is collected before the first attempt too: a trainer and
    its model hold each other, and so stay in memory until then.

    Args:
        function: takes a size.
        largest: the size to begin with.
        what: of which there are so many, in the plural, for the line that is said.
        least: the size below which none is tried.

    Raises:
        RuntimeError: the least does not fit either.
    """
    for size in range(largest, 0, -1):
        if largest % size:
            continue
        clear_device_cache(garbage_collection=True)
        if size < largest:
            _say(what, largest, size)
        try:
            found = function(size)
        except (RuntimeError, MemoryError) as error:
            if size == least or not is_out_of_memory(error):
                raise
        else:
            if size < largest and (noted := _noted.get()) is not None:
                noted[what] = min(size, noted.get(what, size))
            return found
    raise AssertionError("one is a divisor of every size")


@contextmanager
def smaller_batches() -> Iterator[dict[str, int]]:
    """What memory made smaller in the block: how many at a time it had room for, by what they are."""
    found: dict[str, int] = {}
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


@cache
def _say(what: str, largest: int, size: int) -> None:
    """One line, once."""
    logger.warning(
        "Memory has no room for %d %s at a time: %d are tried, which takes longer.",
        largest,
        what,
        size,
    )
