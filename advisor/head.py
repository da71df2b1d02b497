r"""The language-model head without the [tokens, vocabulary] logits.

Hidden states of the target rows go in, log-probability, entropy and top-1 of each target come out, a
tile of rows at a time. Log-softmax is taken in float32 whatever the model's dtype; logit scale and
soft-cap are those of the architecture:

$$ z = c \tanh\!\left( \frac{s\,(W h + b)}{c} \right), \qquad \log p = z_y - \log\!\sum_v e^{z_v}. $$

`Head.of(model)` compares its own log-probabilities with the model's logits before it is used, so an
architecture that treats its logits in a way not listed here is found out and scored from its logits.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from advisor.objectives import TokenStats

logger = logging.getLogger(__name__)

TILE_ROWS = 256
"""Rows of logits alive at a time: [256, vocabulary] float32."""

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
_HALF_TOLERANCE = (
    0.1  # bf16 logits carry 8 bits: the same product in two shapes differs by this much
)


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

    @staticmethod
    def of(model: PreTrainedModel) -> Head | None:
        """The model's head, or None where its logits cannot be reproduced from the hidden states."""
        module = model.get_output_embeddings()
        if type(module) is not nn.Linear or module.weight.is_meta:  # quantised, or offloaded
            return None
        scale, softcap = _logit_transform(model)
        head = Head(weight=module.weight, bias=module.bias, scale=scale, softcap=softcap)
        return head if _reproduces(head, model) else None

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of some rows: [rows, hidden] -> [rows, vocabulary] float32."""
        z = nn.functional.linear(hidden, self.weight, self.bias).float()
        if self.scale != 1.0:
            z.mul_(self.scale)
        if self.softcap is not None:
            z.div_(self.softcap).tanh_().mul_(self.softcap)
        return z


def _logit_transform(model: PreTrainedModel) -> tuple[float, float | None]:
    """(scale, softcap) that the architecture applies to its logits, from its configuration."""
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, name, None) is not None:
            return float(getattr(config, name)), softcap
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0, softcap
    return (
        scaling if config.model_type == "hyperclovax" else 1.0 / scaling
    ), softcap  # Granite divides


@contextlib.contextmanager
def _captured(head: nn.Module, into: list[Tensor]) -> Iterator[None]:
    """Within the block the head keeps its input and returns one column: no logits are made."""

    def keep(hidden: Tensor) -> Tensor:
        into.append(hidden)
        return hidden[..., :1]

    original = head.forward
    head.forward = keep
    try:
        yield
    finally:
        head.forward = original


def last_hidden(model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """What the head receives: [batch, sequence] ids -> [batch, sequence, hidden].

    Taken at the head's door rather than from the backbone, so that whatever an architecture does
    between the two is included.
    """
    seen: list[Tensor] = []
    with _captured(model.get_output_embeddings(), seen):
        model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            **_extra_inputs(model, attention_mask),
        )
    return seen[0]


def _extra_inputs(model: PreTrainedModel, attention_mask: Tensor) -> dict[str, object]:
    """Positions that count real tokens only, so that padding on the left changes nothing."""
    extra: dict[str, object] = {"use_cache": False}
    if not bool(attention_mask[:, 0].all()):
        extra["position_ids"] = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    return extra


@torch.no_grad()
def _reproduces(head: Head, model: PreTrainedModel) -> bool:
    """Whether head and hidden states give the model's own log-probabilities on a few tokens."""
    size = head.weight.shape[0]
    ids = (torch.arange(1, 9, device=model.device) * 7919 % size)[None]
    mask = torch.ones_like(ids)
    theirs = (
        model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0].float().log_softmax(-1)
    )
    ours = head.logits(last_hidden(model, ids, mask)[0]).log_softmax(-1)
    if ours.shape != theirs.shape:
        return False
    error = (ours.to(theirs.device) - theirs).abs().max().item()
    if not error <= _TOLERANCE.get(head.weight.dtype, _HALF_TOLERANCE):
        logger.warning("head and hidden states miss the model's log-probabilities by %.1e", error)
        return False
    return True


def token_stats(
    head: Head, hidden: Tensor, targets: Tensor, *, tile_rows: int = TILE_ROWS
) -> TokenStats:
    """Statistics of target tokens from their hidden states, without gradient.

    Args:
        head: the model's head.
        hidden: [tokens, hidden], the states that predict the targets.
        targets: [tokens] int64, target token ids.
        tile_rows: rows of logits alive at a time; changes memory, not the result.

    Returns:
        TokenStats of [tokens]; `example` is left None.
    """
    hidden, targets = hidden.to(head.weight.device), targets.to(head.weight.device)
    with torch.no_grad():
        tiles = [
            _tile_stats(head.logits(h), y)
            for h, y in zip(hidden.split(tile_rows), targets.split(tile_rows), strict=True)
        ]
    return TokenStats(**{name: torch.cat([tile[name] for tile in tiles]) for name in tiles[0]})


def _tile_stats(z: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """[rows, vocabulary] float32 logits, overwritten -> log p, entropy, top-1 of [rows]."""
    z.sub_(z.amax(-1, keepdim=True))
    at_target = z.gather(-1, targets[:, None]).squeeze(-1)
    weights = z.exp()
    total = weights.sum(-1)
    log_total = total.log()
    entropy = log_total - torch.linalg.vecdot(weights, z) / total
    return {"logp": at_target - log_total, "entropy": entropy, "top1": at_target == 0}


@torch.no_grad()
def score_batch(
    model: PreTrainedModel, head: Head | None, input_ids: Tensor, labels: Tensor, mask: Tensor
) -> TokenStats:
    """Statistics of every target token of a batch, row by row, left to right.

    Args:
        model: a causal language model in eval mode.
        head: `Head.of(model)`; None scores from the model's own logits, slower but always right.
        input_ids: [batch, sequence] int64, padded on either side.
        labels: [batch, sequence] int64, -100 outside the targets, not shifted.
        mask: [batch, sequence], 1 on real tokens, 0 on padding.

    Returns:
        TokenStats of [targets]; `example` is the row in the batch. A target at the first real position
        has nothing before it and is left out.
    """
    predicted = labels[:, 1:].ne(-100) & mask[:, :-1].bool()
    rows, columns = predicted.nonzero(as_tuple=True)
    targets = labels[rows, columns + 1]
    if head is None:
        logits = model(
            input_ids=input_ids, attention_mask=mask, **_extra_inputs(model, mask)
        ).logits
        z = logits[rows.to(logits.device), columns.to(logits.device)].float()
        stats = TokenStats(**_tile_stats(z, targets.to(z.device)))
    else:
        hidden = last_hidden(model, input_ids, mask)
        stats = token_stats(
            head, hidden[rows.to(hidden.device), columns.to(hidden.device)], targets
        )
    return replace(stats, example=rows.to(stats.logp.device))
