"""Batches that fit into memory: the largest first, a smaller one after every lack of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache

from advisor.model.out_of_memory import is_out_of_memory

T = TypeVar("T")


def largest_that_fits(function: Callable[[int], T], largest: int) -> T:
    """`function(size)` with the largest divisor of `largest` that memory allows.

    Divisors, so that a whole number of such batches makes up the largest one. accelerate's
    `find_executable_batch_size` steps by a tenth, and frees memory while the failed attempt still holds it.
    What earlier work left for the garbage collector is collected before the first attempt too: a trainer and
    its model hold each other, and so stay in memory until then.

    Raises:
        RuntimeError: one at a time does not fit either.
    """
    for size in range(largest, 1, -1):
        if largest % size:
            continue
        clear_device_cache(garbage_collection=True)
        try:
            return function(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    clear_device_cache(garbage_collection=True)
    return function(1)
