"""Whether a model reads the padding before a prompt, which a mask hides."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from advisor.model.forward import may_differ_by


def reads_padding(model: Any) -> bool:
    """Whether what stands before a prompt as padding changes what a model says, though a mask hides it.

    So it is in RWKV, which takes no mask. Of models with a state a few tokens are read with and without.
    """
    if not getattr(model, "_is_stateful", False):
        return False
    size = model.config.get_text_config().vocab_size
    row = [n * 7919 % size for n in range(1, 9)]
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def said(rows: Sequence[list[int]]) -> Tensor:
        width = max(map(len, rows))
        pairs = [(width - len(row), row) for row in rows]
        ids = torch.tensor([[0] * pad + row for pad, row in pairs], device=model.device)
        mask = torch.tensor([[0] * pad + [1] * len(row) for pad, row in pairs], device=model.device)
        places = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if takes_positions else {}
        output = model(input_ids=ids, attention_mask=mask, use_cache=False, **places)
        logits: Tensor = output.logits[0, -1].float()
        return logits

    training = model.training
    model.eval()
    with torch.no_grad():
        alone, beside = said([row]), said([row, 4 * row])
    model.train(training)
    gap = (alone.log_softmax(-1) - beside.log_softmax(-1)).abs().max()
    return float(gap) > may_differ_by(alone, model.dtype)
