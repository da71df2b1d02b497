r"""One kernel over a tile of logits: what the eager tile of `head` gives, without its float32 copies.

A program takes a row. The first pass over it, in float32 registers, keeps the largest logit m so far and sums
relative to it (the online softmax: Milakov and Gimelshein, arXiv:1805.02867)

$$ o = \sum_{v \ne y} e^{z_v - m}, \qquad t = \sum_v e^{z_v - m} (z_v - m); $$

the second one leaves in the place of every logit the gradient of the row's NLL, $q_v$, and at the target
minus the sum of the others. The others are summed without the target, so that a target of p near 1 keeps its
precision: q_y - 1 would be all rounding. The weight of the objective is not here: it is any function of what
the first pass gives, and multiplies the rows afterwards.

Imported where Triton is installed alone; with TRITON_INTERPRET=1 it runs on a CPU, slowly, to be tested.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS, WARPS = 8192, 16
"""Columns of a row that are read at a time, and warps that share them."""


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _finished(raw, scale, cap, CAPPED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Logits from raw ones, float32: cap * tanh(scale * raw / cap)."""
    z = raw.to(tl.float32) * scale
    if CAPPED:
        e = tl.exp(-2.0 * tl.abs(z) / cap)
        z = cap * tl.where(z < 0.0, e - 1.0, 1.0 - e) / (1.0 + e)
    return z


@triton.jit  # type: ignore[untyped-decorator,unused-ignore]
def _tile(  # type: ignore[no-untyped-def]
    raw, targets, sums, row_stride, rows, vocabulary, scale, cap,
    CAPPED: tl.constexpr, MORE: tl.constexpr, GRADIENT: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One row; `sums` is [6, rows]: m, z_y, o, t, and with MORE sum of e^2 and of e where z < z_y."""
    row = tl.program_id(0)
    start = raw + row.to(tl.int64) * row_stride
    y = tl.load(targets + row)
    z_y = _finished(tl.load(start + y), scale, cap, CAPPED)
    m = tl.maximum(z_y, -1e38)  # finite, also where the target is masked out
    others = 0.0
    t = 0.0
    squares = 0.0
    lower = 0.0
    for first in range(0, vocabulary, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        other = (column < vocabulary) & (column != y)
        z = _finished(tl.load(start + column, mask=other, other=0.0), scale, cap, CAPPED)
        z = tl.where(other, z, float("-inf"))
        top = tl.maximum(m, tl.max(z, 0))
        shrink = tl.exp(m - top)
        e = tl.exp(z - top)
        below = tl.where(
            e > 0.0, z - top, 0.0
        )  # 0 * -inf, of a masked token, is no part of the sum
        t = shrink * (t + others * (m - top)) + tl.sum(e * below, 0)
        others = shrink * others + tl.sum(e, 0)
        if MORE:
            squares = shrink * shrink * squares + tl.sum(e * e, 0)
            lower = shrink * lower + tl.sum(tl.where(z < z_y, e, 0.0), 0)
        m = top
    tl.store(sums + row, m)
    tl.store(sums + rows + row, z_y)
    tl.store(sums + 2 * rows + row, others)
    tl.store(sums + 3 * rows + row, t)
    if MORE:
        tl.store(sums + 4 * rows + row, squares)
        tl.store(sums + 5 * rows + row, lower)
    if GRADIENT:
        share = 1.0 / (others + tl.exp(z_y - m))
        for first in range(0, vocabulary, COLUMNS):
            column = first + tl.arange(0, COLUMNS)
            there = column < vocabulary
            z = _finished(tl.load(start + column, mask=there, other=0.0), scale, cap, CAPPED)
            g = tl.where(column == y, -others * share, tl.exp(z - m) * share)
            if CAPPED:
                g = g * (1.0 - (z / cap) * (z / cap))
            tl.store(start + column, g.to(raw.dtype.element_ty), mask=there)


@dataclass(frozen=True, kw_only=True)
class TileStats:
    """Statistics of the targets of a tile, [rows] float32 each; `collision` and `mass` where asked for."""

    logp: Tensor
    entropy: Tensor
    top1: Tensor
    collision: Tensor | None
    mass: Tensor | None


def run_tile_(
    raw: Tensor,
    targets: Tensor,
    *,
    scale: float,
    softcap: float | None,
    needs: Collection[str],
    gradient: bool,
    columns: int = COLUMNS,
    warps: int = WARPS,
) -> TileStats:
    """Statistics of a tile's targets; with `gradient` the tile becomes the gradient of their NLL, in place.

    Args:
        raw: [rows, vocabulary] logits before scale and soft-cap, in float32 or 16 bits, rows contiguous.
        targets: [rows] int64.
        scale: factor on the logits; the gradient is with respect to `raw` but for it.
        softcap: c of `c tanh(z / c)`, or None.
        needs: "collision" and "mass", where they are wanted.
        gradient: whether `raw` is to be overwritten.
        columns: a power of two.
        warps: of a program.
    """
    rows, vocabulary = raw.shape
    sums = raw.new_empty(6, rows, dtype=torch.float32)
    more = bool({"collision", "mass"} & set(needs))
    with _on(raw):
        _tile[(rows,)](
            raw, targets, sums, raw.stride(0), rows, vocabulary, float(scale), float(softcap or 1.0),
            CAPPED=softcap is not None, MORE=more, GRADIENT=gradient,
            COLUMNS=min(columns, triton.next_power_of_2(vocabulary)), num_warps=warps,
        )  # fmt: skip
    return _stats(sums, more=more)


def _on(raw: Tensor) -> AbstractContextManager[Any]:
    """Triton starts a kernel on the current device, which need not be the tensor's."""
    return torch.cuda.device(raw.device) if raw.is_cuda else nullcontext()


def _stats(sums: Tensor, *, more: bool) -> TileStats:
    m, z_y, others, t, squares, lower = sums
    own = (z_y - m).exp()
    total = others + own
    top1 = z_y == m
    # Of the most probable target by what is not it; of any other the sum is at least 1 + own, far from 1.
    log_total = torch.where(top1, others.log1p(), total.log())
    t = t + torch.where(own > 0, own * (z_y - m), 0)
    return TileStats(
        logp=torch.where(top1, -log_total, z_y - m - log_total),
        entropy=log_total - t / total,
        top1=top1,
        collision=(squares + own * own) / total.square() if more else None,
        mass=(lower + own) / total if more else None,
    )
