"""Attention inside each document of a packed row, at the cost of the documents instead of the row's square.

transformers isolates the documents of a padding-free row with a dense [row, row] mask, which SDPA then
multiplies out: most of it is zeros. Here SDPA is called once a document, without a mask.
"""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

logger = logging.getLogger(__name__)

NAME = "document_sdpa"
_AGREEMENT = {torch.float32: 1e-4, torch.float64: 1e-6}
_HALF_AGREEMENT = 0.1  # bf16 logits carry 8 bits


def attend_within_documents(model: PreTrainedModel) -> bool:
    """Let packed rows of a model attend document by document; whether it is in use now.

    Everything else (padded batches, sliding windows, generation) stays the model's own SDPA. A model whose
    packed log-probabilities would change, because its architecture does not tell attention the positions,
    keeps its own.

    Args:
        model: a causal language model whose attention is `sdpa`; changed in place.
    """
    if model.config._attn_implementation != "sdpa":
        return bool(model.config._attn_implementation == NAME)
    before = _packed_logp(model)
    try:
        model.set_attn_implementation(NAME)
        agree = _AGREEMENT.get(model.dtype, _HALF_AGREEMENT)
        if (_packed_logp(model) - before).abs().max().item() <= agree:
            return True
    except ValueError as error:
        logger.info("%s keeps its own attention: %s", type(model).__name__, error)
    model.set_attn_implementation("sdpa")
    return False


def document_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """SDPA over each run of positions that begins at 0; with a mask, or in a batch, SDPA as it is.

    Args:
        module: the attention layer.
        query: [batch, heads, sequence, width]; keys and values likewise.
        key: as `query`.
        value: as `query`.
        attention_mask: None for a packed row (see `document_mask`).
        position_ids: [batch, sequence].
        kwargs: of SDPA.

    Returns:
        [batch, sequence, heads, width], and no attention weights.
    """
    starts = _starts(query, key, position_ids) if attention_mask is None else []
    if len(starts) < 2:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    ends = [*starts[1:], query.shape[2]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    documents = zip(*(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
    parts = [sdpa_attention_forward(module, q, k, v, None, **kwargs)[0] for q, k, v in documents]
    return torch.cat(parts, dim=1), None


def document_mask(**kwargs: Any) -> Tensor | None:
    """No mask for a packed row of full causal attention; for anything else that of SDPA."""
    packed = not kwargs.get("allow_is_causal_skip", True)
    plain = not kwargs.get("use_vmap") and kwargs.get("local_size") is None
    causal = "allow_is_bidirectional_skip" not in kwargs
    alone = kwargs["batch_size"] == 1 and kwargs.get("attention_mask") is None
    if packed and plain and causal and alone and kwargs["q_length"] == kwargs["kv_length"]:
        return None
    return sdpa_mask(**kwargs)


def _starts(query: Tensor, key: Tensor, position_ids: Tensor | None) -> list[int]:
    if position_ids is None or position_ids.shape[0] != 1 or query.shape[2] != key.shape[2]:
        return []
    starts: list[int] = position_ids[0].eq(0).nonzero()[:, 0].tolist()
    return starts


@torch.no_grad()
def _packed_logp(model: PreTrainedModel) -> Tensor:
    """[9, vocabulary] log-probabilities of a row of two documents, in the model's training state."""
    size = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]], device=model.device)
    ids = (torch.arange(1, 10, device=model.device) * 7919 % size)[None]
    was_training = model.training
    model.eval()
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
    model.train(was_training)
    return torch.log_softmax(logits.float() if logits.dtype != torch.float64 else logits, -1)


AttentionInterface.register(NAME, document_attention)
AttentionMaskInterface.register(NAME, document_mask)
