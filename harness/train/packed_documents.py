"""Where the documents of a packed row lie, read off its positions once a batch; a kernel over all of them."""

from __future__ import annotations

import inspect
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)
"""Dtypes that the kernel over documents takes."""
WIDEST = 256
"""Width of a head that it takes at most."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The documents of one packed row."""

    lengths: list[int]
    """In tokens, in order; their sum is the row's length."""
    ends: Tensor
    """[documents + 1] int32, 0 and where each document ends, on the row's device."""

    @property
    def longest(self) -> int:
        """Tokens of the longest one."""
        return max(self.lengths)


@dataclass
class Newest:
    """The documents of the row that was asked for last.

    Every layer of a model asks for the same row, twice where it is computed again for the gradient, and
    reading positions waits for the GPU.
    """

    reads: int = 0
    """How often positions were read."""
    _row: Callable[[], Tensor | None] = field(default=lambda: None)
    _version: int = -1
    _documents: Documents | None = None

    def of(self, position_ids: Tensor) -> Documents:
        """The documents of [1, sequence] positions, each of which begins at 0."""
        known = self._documents
        if (
            known is None
            or self._row() is not position_ids
            or self._version != position_ids._version
        ):
            known = self._documents = documents_of(position_ids)
            self._row, self._version = weakref.ref(position_ids), position_ids._version
            self.reads += 1
        return known


def documents_of(position_ids: Tensor) -> Documents:
    """The documents of [1, sequence] positions; what stands before the first 0 belongs to the first one."""
    positions = position_ids[0]
    starts = positions.eq(0).nonzero()[:, 0].tolist()
    edges = [0, *(start for start in starts if start), len(positions)]
    ends = torch.tensor(edges, dtype=torch.int32, device=positions.device)
    lengths = [after - before for before, after in pairwise(edges)]
    return Documents(lengths=lengths, ends=ends)


def kernel() -> Callable[..., Any] | None:
    """PyTorch's attention over documents of varied length (2.10 and later), or None."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return cast(Callable[..., Any], varlen_attn)


def fits(query: Tensor, value: Tensor, *, dropout: float) -> bool:
    """Whether the kernel takes these: on a GPU, in 16 bits, without dropout.

    Args:
        query: [1, heads, sequence, width].
        value: likewise, perhaps of fewer heads.
        dropout: of the attention weights.
    """
    narrow = query.shape[-1] == value.shape[-1] <= WIDEST and query.shape[-1] % 8 == 0
    return (
        query.is_cuda
        and query.dtype in HALF
        and query.dtype == value.dtype
        and narrow
        and not dropout
    )


def attend(
    run: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    documents: Documents,
    *,
    scaling: float | None,
) -> Tensor:
    """Causal attention within each document, by one call.

    Args:
        run: of `kernel`; versions of PyTorch differ in how one asks for causality, a scale and fewer heads of
            keys.
        query: [1, heads, sequence, width].
        key: [1, heads or fewer, sequence, width]; values likewise.
        value: as `key`.
        documents: of the row.
        scaling: on the scores; None for one over the square root of the width.

    Returns:
        [1, sequence, heads, width].
    """
    takes = inspect.signature(run).parameters
    usual = 1 / math.sqrt(query.shape[-1])
    asked: dict[str, Any] = (
        {"window_size": (-1, 0)} if "window_size" in takes else {"is_causal": True}
    )
    if "scale" in takes:
        asked["scale"] = usual if scaling is None else scaling
    elif scaling is not None and scaling != usual:
        query = query * (scaling / usual)
    more = query.shape[1] // key.shape[1]
    if more > 1 and "enable_gqa" in takes:
        asked["enable_gqa"] = True
    elif more > 1:
        key, value = (states.repeat_interleave(more, dim=1) for states in (key, value))
    rows = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))
    longest = documents.longest
    found = run(*rows, documents.ends, documents.ends, longest, longest, **asked)
    return cast(Tensor, found)[None]
