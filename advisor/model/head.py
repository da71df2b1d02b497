r"""The language-model head without the [tokens, vocabulary] logits.

Hidden states of the target rows go in; log-probability, entropy and top-1 of each target, or the loss of
an objective with its gradients, come out, a tile of rows at a time. Log-softmax is taken in float32
whatever the model's dtype; logit scale and soft-cap are those of the architecture:

$$ z = c \tanh\!\left( \frac{s\,(W h + b)}{c} \right), \qquad \log p = z_y - \log\!\sum_v e^{z_v}. $$

An objective is a detached weight $w$, so the gradient of a target with respect to its logits is
$w\,(q - \mathrm{onehot}(y))$, $q$ = softmax, known as soon as its tile is there: `weighted_nll` makes the
gradients in the forward pass with three matrix products and keeps no logits for the backward.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from advisor.objectives.table import TokenStats

TOP_K = 20
"""Tokens over which `topk_entropy` is taken (EAFT, arXiv:2601.02151)."""
_TILE_BYTES = {False: 1024, True: 8192}  # of one column, by is_cuda: 512 and 4096 rows of bfloat16
_BLOCK_ELEMENTS = {
    False: 2**18,
    True: 2**26,
}  # logits made float32 at a time: what a CPU cache holds; on a GPU 441 rows of 151,936
_KERNEL_STATISTICS = {"collision", "mass"}  # beyond the three that there always are


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last linear map of a causal language model and what follows it."""

    weight: Tensor
    """[vocabulary, hidden], in the model's dtype."""
    bias: Tensor | None = None
    """[vocabulary] or None."""
    scale: float = 1.0
    """Factor on the logits, before the soft-cap."""
    softcap: float | None = None
    """c of `c tanh(z / c)`, or None."""

    def finish_(self, z: Tensor) -> Tensor:
        """Scale and soft-cap of raw float logits, in place."""
        if self.scale != 1.0:
            z.mul_(self.scale)
        if self.softcap is not None:
            z.div_(self.softcap).tanh_().mul_(self.softcap)
        return z

    def logits(self, hidden: Tensor) -> Tensor:
        """All logits of some rows: [rows, hidden] -> [rows, vocabulary], float32 or float64."""
        raw = nn.functional.linear(hidden, self.weight, self.bias)
        return self.finish_(raw.to(_exact(raw.dtype)))


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A frozen reference whose distribution the model is held to: the one additive term."""

    head: Head
    """The reference model's head."""
    hidden: Tensor
    """[tokens, hidden], its hidden states at the same targets."""
    coefficient: float
    """Factor on KL(reference || model) over the full vocabulary, nats a token."""


@dataclass(frozen=True, kw_only=True)
class WeightedNLL:
    """What `weighted_nll` gives."""

    loss: Tensor
    """Scalar, float32: sum over targets of weight * NLL, and of the anchor's KL; carries the gradient."""
    stats: TokenStats
    """[tokens], detached."""
    weights: Tensor
    """[tokens], detached."""


def token_stats(
    head: Head,
    hidden: Tensor,
    targets: Tensor,
    *,
    needs: Collection[str] = (),
    tile_rows: int | None = None,
) -> TokenStats:
    """Statistics of target tokens from their hidden states, without gradient.

    Args:
        head: the model's head.
        hidden: [tokens, hidden], the states that predict the targets.
        targets: [tokens] int64, target token ids.
        needs: what is wanted beyond logp, entropy and top1: "topk_entropy", "collision", "mass".
        tile_rows: rows of logits alive at a time, by default 256, on CUDA as of `weighted_nll`: every tile
            reads the whole weight. Changes memory, not the result.

    Returns:
        TokenStats of [tokens]; `example` is left None.
    """
    device = head.weight.device
    hidden, targets = hidden.to(device), targets.to(device)
    columns = _Columns(len(targets), like=head.weight, needs=needs)
    rows = tile_rows or (default_tile_rows(head.weight) if head.weight.is_cuda else 256)
    dtype = _computed(head.weight)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        # Once, not for every tile: autocast keeps no cast of a weight that takes no gradient.
        weight = head.weight.to(dtype)
        bias = None if head.bias is None else head.bias.to(dtype)
        for first in range(0, len(targets), rows):
            tile = slice(first, first + rows)
            raw = nn.functional.linear(hidden[tile].to(dtype), weight, bias)
            columns.fill(head, raw, targets[tile], first)
    return columns.stats()


def logit_stats(logits: Tensor, targets: Tensor, *, needs: Collection[str] = ()) -> TokenStats:
    """Statistics of target tokens from finished logits, [tokens, vocabulary]; `needs` as of `token_stats`."""
    logits = held_finite(logits)
    columns = _Columns(len(targets), like=logits, needs=needs)
    columns.fill(Head(weight=logits), logits, targets.to(logits.device), 0)
    return columns.stats()


def held_finite(logits: Tensor) -> Tensor:
    """Logits with what a model has masked, -inf, as the least number: 0 times that is 0, not NaN."""
    return logits.clamp(min=torch.finfo(logits.dtype).min) if logits.isneginf().any() else logits


def weighted_nll(
    head: Head,
    hidden: Tensor,
    targets: Tensor,
    weight: Tensor | Callable[[TokenStats], Tensor],
    *,
    given: Mapping[str, Tensor] | None = None,
    factor: Tensor | None = None,
    needs: Collection[str] = (),
    sparse: bool = False,
    anchor: Anchor | None = None,
    temperature: float = 1.0,
    tile_rows: int | None = None,
) -> WeightedNLL:
    r"""The loss of an objective, $\sum_t \mathrm{sg}(w_t)(-\log p_t)$, in one pass over the logits.

    Args:
        head: the model's head; its weight and bias get gradients where they require them.
        hidden: [tokens, hidden], the states that predict the targets, with gradient.
        targets: [tokens] int64, target token ids.
        weight: [tokens] weights, or a function from the statistics of some tokens to theirs.
        given: more [tokens] fields of TokenStats for that function, such as `reference_logp`.
        factor: [tokens] what the whole loss of each target is multiplied by, its anchor's part too: the
            weights that the data give.
        needs: statistics to compute beyond logp, entropy and top1: "topk_entropy", "collision", "mass".
        sparse: whether weights of exactly 0 are common: their rows then skip two of three products.
        anchor: adds `coefficient * KL(reference || model)`.
        temperature: other than 1, the loss of a target is $\sum_v \mathrm{sg}(q_v)(\log p_v - \log p)$
            with q the softmax at this temperature, and its gradient q - onehot(y) (GEM).
        tile_rows: rows of logits alive at a time, by default 256 in float32 and 512 in bfloat16, on
            CUDA eight times as many; changes memory only.

    Returns:
        Loss, statistics and weights. Without any target the loss is 0 and its graph is alive.
    """
    factor = None if factor is None else factor.to(head.weight.device)
    unit = _unit(factor, head.weight)
    work = _Work(
        head=head,
        targets=targets.to(head.weight.device),
        weight=weight,
        given=given or {},
        factor=factor if factor is None or unit is None else factor / unit,
        needs=needs,
        sparse=sparse,
        anchor=anchor,
        temperature=temperature,
        rows=tile_rows or default_tile_rows(head.weight),
    )
    hidden, out, bias = hidden.to(head.weight.device), head.weight, head.bias
    if not torch.is_grad_enabled():  # within the function it never is: it would make gradients
        hidden, out = hidden.detach(), out.detach()
        bias = None if bias is None else bias.detach()
    loss = cast(Tensor, _Sum.apply(hidden, out, bias, work))  # type: ignore[no-untyped-call]
    weights = work.weights
    if unit is not None:
        loss, weights = loss * unit, weights * unit
    return WeightedNLL(loss=loss, stats=work.columns.stats(), weights=weights)


def default_tile_rows(weight: Tensor) -> int:
    """Rows of logits that `weighted_nll` keeps alive at a time unless it is told."""
    return _TILE_BYTES[weight.is_cuda] // weight.itemsize


@cache
def has_triton() -> bool:
    """Whether Triton can be imported: PyTorch brings it along on a GPU."""
    return importlib.util.find_spec("triton") is not None


def takes_kernel(raw: Tensor, statistics: Collection[str]) -> bool:
    """Whether the kernel of `head_kernel` computes a tile: on a GPU, and what it knows to compute.

    Args:
        raw: [rows, vocabulary] logits.
        statistics: of TokenStats that are wanted.
    """
    known = {"logp", "entropy", "top1", *_KERNEL_STATISTICS}
    kind = raw.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return raw.is_cuda and kind and raw.stride(1) == 1 and set(statistics) <= known and has_triton()


def _computed(weight: Tensor) -> torch.dtype:
    """The dtype of the head's products: the weight's own, or that of autocast."""
    device = weight.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


def _unit(factor: Tensor | None, weight: Tensor) -> Tensor | None:
    """A power of two about the largest weight of the data, to divide them by where products are in float16.

    Gradients are made before a loss scale is known, which saves small ones from 0 and is lowered where large
    ones are infinite: in float16 weights of 1e-8 would all be 0 and sums of weights of 100 infinite.
    """
    if factor is None or not len(factor) or _computed(weight) != torch.float16:
        return None
    largest = factor.float().amax()
    return torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent)


def _block_rows(raw: Tensor) -> int:
    """Rows of a tile that are made float32 at a time."""
    cores = 1 if raw.is_cuda else torch.get_num_threads()
    return max(1, _BLOCK_ELEMENTS[raw.is_cuda] * cores // raw.shape[1])


def _exact(dtype: torch.dtype) -> torch.dtype:
    """The dtype of log-probabilities: float32, or float64 for a float64 model."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class _Columns:
    """Statistics of target tokens, filled a tile of logits at a time."""

    def __init__(
        self, tokens: int, *, like: Tensor, needs: Collection[str], temperature: float = 1.0
    ) -> None:
        self.temperature = temperature
        dtype = _exact(like.dtype)
        names = ("logp", "entropy", *needs)
        self.columns = {
            name: torch.empty(tokens, dtype=dtype, device=like.device) for name in names
        }
        self.losses = self.columns["logp"].clone()
        """[tokens] that of every target; only at another temperature than 1, else it is -log p."""
        self.columns["top1"] = torch.empty(tokens, dtype=torch.bool, device=like.device)

    def fill(
        self, head: Head, raw: Tensor, targets: Tensor, first: int, *, gradient: bool = False
    ) -> None:
        """Statistics of one tile, a few rows at a time so that they stay in cache.

        Args:
            head: for its scale and soft-cap.
            raw: [rows, vocabulary] logits before those; overwritten.
            targets: [rows].
            first: place of the first row in the columns.
            gradient: leave in `raw` the gradient of the loss with respect to it, but for `head.scale`.
        """
        if self.temperature == 1 and takes_kernel(raw, self.columns):
            self._fill_by_kernel(head, raw, targets, first, gradient=gradient)
            return
        step = min(_block_rows(raw), len(targets))
        probabilities = raw.new_empty(step, raw.shape[1], dtype=self.columns["logp"].dtype)
        for row in range(0, len(targets), step):
            block, y = raw[row : row + step], targets[row : row + step, None]
            z = head.finish_(block.to(self.columns["logp"].dtype))
            q = probabilities[: len(y)]
            place = slice(first + row, first + row + len(y))
            self._fill_block(z, y, q, place)
            if self.temperature != 1:
                torch.softmax(z / self.temperature, -1, out=q)
                q.div_(q.sum(-1, keepdim=True))
                self.losses[place] = torch.linalg.vecdot(q, z - z.gather(1, y))
            else:
                self.losses[place] = -self.columns["logp"][place]
            if gradient:
                # Minus the sum of the others: q_y - 1 of a certain target would be all rounding
                q.scatter_(1, y, 0.0)
                q.scatter_(1, y, -q.sum(-1, keepdim=True))
                if head.softcap is not None:
                    q.mul_(1 - (z / head.softcap).square_())
                block.copy_(q)

    def _fill_by_kernel(
        self, head: Head, raw: Tensor, targets: Tensor, first: int, *, gradient: bool
    ) -> None:
        """The same by one kernel, without float32 copies of the tile."""
        from advisor.model.head_kernel import run_tile_

        place = slice(first, first + len(targets))
        found = run_tile_(
            raw,
            targets,
            scale=head.scale,
            softcap=head.softcap,
            needs=self.columns.keys(),
            gradient=gradient,
        )
        for name, column in self.columns.items():
            column[place] = getattr(found, name)
        self.losses[place] = -found.logp

    def _fill_block(self, z: Tensor, y: Tensor, q: Tensor, place: slice) -> None:
        """Statistics of a few rows from finished logits; leaves their softmax in q."""
        torch.softmax(z, -1, out=q)
        # On a CPU it adds up a row in one go: where one term is near 1 the others are rounded away
        # (1e-4 of log p, 1 % of the gradient of a confident row). sum() adds in a tree.
        q.div_(q.sum(-1, keepdim=True))
        # max() with its indices takes as long as the softmax; the largest q is at least 1 / vocabulary
        top = z.amax(-1, keepdim=True)
        log_total = top - q.amax(-1, keepdim=True).log()
        z_y = z.gather(1, y)
        self.columns["logp"][place] = (z_y - log_total)[:, 0]
        self.columns["entropy"][place] = log_total[:, 0] - torch.linalg.vecdot(q, z)
        self.columns["top1"][place] = (z_y == top)[:, 0]
        if "topk_entropy" in self.columns:
            log_k = z.topk(min(TOP_K, z.shape[1]), dim=-1).values.log_softmax(-1)
            self.columns["topk_entropy"][place] = -torch.linalg.vecdot(log_k.exp(), log_k)
        if "collision" in self.columns:
            self.columns["collision"][place] = torch.linalg.vecdot(q, q)
        if "mass" in self.columns:
            lower = torch.where(z < z_y, q, 0.0).sum(-1)
            self.columns["mass"][place] = lower + q.gather(1, y)[:, 0]

    def stats(
        self, rows: slice = slice(None), given: Mapping[str, Tensor] | None = None
    ) -> TokenStats:
        """The statistics of some tokens, with more fields that were given for all of them."""
        merged = {**self.columns, **(given or {})}
        return TokenStats(**{name: column[rows] for name, column in merged.items()})


@dataclass(kw_only=True)
class _Work:
    """One call of `weighted_nll`: its inputs without gradient, and what the forward pass leaves."""

    head: Head
    targets: Tensor
    weight: Tensor | Callable[[TokenStats], Tensor]
    given: Mapping[str, Tensor]
    factor: Tensor | None
    needs: Collection[str]
    sparse: bool
    anchor: Anchor | None
    temperature: float
    rows: int
    columns: _Columns = field(init=False)
    weights: Tensor = field(init=False)

    def weigh(self, tile: slice) -> Tensor:
        """Weights of one tile, once its statistics are there; kept and returned, [rows]."""
        if callable(self.weight):
            self.weights[tile] = self.weight(self.columns.stats(tile, self.given)).detach()
        else:
            self.weights[tile] = self.weight[tile].to(self.weights)
        if self.factor is not None:
            self.weights[tile] *= self.factor[tile]
        return self.weights[tile]


class _Sum(torch.autograd.Function):
    """sum(weight * NLL); its gradients are made in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, work: _Work
    ) -> Tensor:
        dtype = _computed(weight)
        with torch.autocast(hidden.device.type, enabled=False):
            h, w = hidden.to(dtype), weight.to(dtype)
            b = None if bias is None else bias.to(dtype)
            gradients = _Gradients(h, w, b, needed=ctx.needs_input_grad)
            loss = _accumulate(h, w, b, work, gradients)
        ctx.gradients = gradients
        ctx.dtypes = (hidden.dtype, weight.dtype, bias.dtype if bias is not None else None)
        return loss

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        # Held on to here, autograd would copy each of them into .grad.
        gradients, ctx.gradients = ctx.gradients, None
        summed = upstream[0] / gradients.share
        scaled = (
            None if gradient is None else _times(gradient, factor, dtype)
            for gradient, factor, dtype in zip(
                gradients.finished(), (upstream[0], summed, summed), ctx.dtypes, strict=True
            )
        )
        return *scaled, None


def _times(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """The product in a dtype; of float16 it is taken there, in case that is a wider one."""
    if gradient.dtype == torch.float16:
        return gradient.to(dtype).mul_(factor)
    return gradient.mul_(factor).to(dtype)


class _Gradients:
    """Gradients with respect to hidden states, weight and bias, for those that need one."""

    def __init__(self, h: Tensor, w: Tensor, b: Tensor | None, *, needed: tuple[bool, ...]) -> None:
        self.hidden = torch.zeros_like(h) if needed[0] else None
        self.weight = torch.empty_like(w) if needed[1] else None
        self.bias = torch.zeros_like(b) if b is not None and needed[2] else None
        self.wanted = any(needed[:3])
        # In float16 a sum over many rows may be infinite: then it is of a share of each, a power of two.
        over = (len(h) - 1).bit_length() - 10 if h.dtype == torch.float16 else 0
        self.share = 2.0 ** -max(over, 0)
        self._weight_begun = False

    def add(self, g: Tensor, h: Tensor, w: Tensor, scale: Tensor, place: slice | Tensor) -> None:
        """Add some rows: g [rows, vocabulary] is their logits' gradient but for their scale [rows]."""
        if self.hidden is not None:
            self.hidden[place] = (g @ w).mul_(scale[:, None])
        scale = scale * self.share
        if self.bias is not None:
            self.bias.add_(g.T @ scale)
        if self.weight is None:
            return
        scaled = h[place] * scale[:, None]
        if self._weight_begun:
            self.weight.addmm_(g.T, scaled)
        else:  # the first tile writes, so that nothing has to be zeroed before
            torch.mm(g.T, scaled, out=self.weight)
            self._weight_begun = True

    def finished(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """All three, zero where no row had a weight."""
        if self.weight is not None and not self._weight_begun:
            self.weight.zero_()
        return self.hidden, self.weight, self.bias


def _accumulate(
    h: Tensor, w: Tensor, b: Tensor | None, work: _Work, gradients: _Gradients
) -> Tensor:
    """Go through the tiles: logits, statistics, weights, loss, gradients."""
    tokens = len(work.targets)
    columns = work.columns = _Columns(
        tokens, like=w, needs=work.needs, temperature=work.temperature
    )
    work.weights = torch.empty_like(columns.columns["logp"])
    loss = work.weights.new_zeros(())
    buffer = h.new_empty(min(work.rows, tokens), w.shape[0])
    for first in range(0, tokens, work.rows):
        tile = slice(first, min(first + work.rows, tokens))
        raw = buffer[: tile.stop - first]
        torch.mm(h[tile], w.T, out=raw) if b is None else torch.addmm(b, h[tile], w.T, out=raw)
        held = (
            None if work.anchor is None else _hold(work.head, raw, work.anchor, tile, work.factor)
        )
        columns.fill(work.head, raw, work.targets[tile], first, gradient=gradients.wanted)
        weights = work.weigh(tile)
        loss += torch.dot(weights, columns.losses[tile])
        if held is not None:
            loss += held.value
            weights = held.merge_(raw, weights)
        if gradients.wanted:
            scale = (weights * work.head.scale).to(raw.dtype)
            _add_rows(raw, h, w, scale, tile, gradients, sparse=work.sparse)
    return loss


def _add_rows(
    g: Tensor,
    h: Tensor,
    w: Tensor,
    scale: Tensor,
    tile: slice,
    gradients: _Gradients,
    *,
    sparse: bool,
) -> None:
    """Add a tile's gradients, leaving out the rows whose weight is exactly 0 where they are common."""
    place: slice | Tensor = tile
    if sparse:
        kept = scale.nonzero()[:, 0]
        if len(kept) == 0:
            return
        if len(kept) < len(scale):
            g, scale, place = g[kept], scale[kept], kept + tile.start
    gradients.add(g, h, w, scale, place)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """One tile's pull towards the reference distribution."""

    value: Tensor
    """Scalar, coefficient * sum of KL over the rows."""
    pull: Tensor
    """[rows, vocabulary], its gradient with respect to the raw logits, but for `head.scale`."""

    def merge_(self, g: Tensor, weights: Tensor) -> Tensor:
        """Turn g into the whole gradient in place; returns the scale that is left, all ones."""
        g.mul_(weights[:, None]).add_(self.pull)
        return torch.ones_like(weights)


def _hold(head: Head, raw: Tensor, anchor: Anchor, tile: slice, factor: Tensor | None) -> _Held:
    r"""KL(reference || model) = \sum_v r_v (log r_v - log q_v) and its gradient q - r, by the tile.

    A few rows at a time, in float32; what stays of a whole tile is its gradient, in the dtype of the logits.
    """
    value = raw.new_zeros((), dtype=_exact(raw.dtype))
    pull = torch.empty_like(raw)
    step = _block_rows(raw)
    for first in range(0, len(raw), step):
        rows = slice(first, min(first + step, len(raw)))
        at = slice(tile.start + rows.start, tile.start + rows.stop)
        z = head.finish_(raw[rows].to(_exact(raw.dtype), copy=True))
        log_q = z.log_softmax(-1)
        states = anchor.hidden[at].to(anchor.head.weight)
        log_r = anchor.head.logits(states).log_softmax(-1).to(log_q)
        r = log_r.exp()
        kl, part = r * (log_r - log_q), (log_q.exp() - r).mul_(anchor.coefficient)
        if factor is not None:
            kl, part = kl * factor[at, None], part.mul_(factor[at, None])
        value += anchor.coefficient * kl.sum()
        if head.softcap is not None:
            part.mul_(1 - (z / head.softcap).square_())
        pull[rows] = part
    return _Held(value=value, pull=pull)
