"""Batches that memory makes smaller: what is said of them, and what of it a record can keep."""

import logging

import pytest
import torch

from harness.runtime.memory import largest_that_fits, smaller_batches


def holds(size: int) -> int:
    if size > 4:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return size


def test_a_smaller_batch_is_said_once_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), smaller_batches() as found:
        assert largest_that_fits(holds, 12, "rows") == 4
        assert largest_that_fits(holds, 12, "rows") == 4
        assert largest_that_fits(holds, 4, "documents") == 4
    assert found == {"rows": 4}
    assert caplog.messages == [
        f"Memory has no room for 12 rows at a time: {size} are tried, which takes longer."
        for size in (6, 4)
    ]


def test_a_block_notes_its_own_alone() -> None:
    with smaller_batches() as outer:
        with smaller_batches() as inner:
            largest_that_fits(holds, 8, "rows")
        largest_that_fits(holds, 8, "prompts")
    assert inner == {"rows": 4} and outer == {"prompts": 4}
