"""Batches that fit into memory: the largest first, a smaller one after every lack of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

T = TypeVar("T")


def largest_that_fits(function: Callable[[int], T], largest: int) -> T:
    """`function(size)` with the largest divisor of `largest` that memory allows.

    Divisors, so that a whole number of such batches makes up the largest one. accelerate's
    `find_executable_batch_size` steps by a tenth, and frees memory while the failed attempt still holds it.

    Raises:
        RuntimeError: one at a time does not fit either.
    """
    for size in range(largest, 1, -1):
        if largest % size:
            continue
        try:
            return function(size)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        clear_device_cache(garbage_collection=True)
    return function(1)
