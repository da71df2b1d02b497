"""Attention inside each document of a packed row, at the cost of the documents instead of the row's square.

transformers isolates the documents of a padding-free row with a dense [row, row] mask, which SDPA then
multiplies out: most of it is zeros. Here SDPA is called once a document, without a mask; on a GPU, in 16
bits, PyTorch's kernel for rows of varied length once for all of them (`packed_documents`).
"""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from advisor.model.forward import may_differ_by
from harness.train.packed_documents import Newest, attend, fits, kernel

logger = logging.getLogger(__name__)

NAME = "document_sdpa"
newest = Newest()
"""Documents of the row at hand."""


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
    before = _packed_logits(model)
    reason = "its packed log-probabilities would change"
    try:
        model.set_attn_implementation(NAME)
        after = _packed_logits(model)
        error = (after.log_softmax(-1) - before.log_softmax(-1)).abs().max().item()
        if error <= may_differ_by(before, model.dtype):
            return True
        reason += f" by {error:.1e}"
    except ValueError as refusal:
        reason = str(refusal)
    logger.warning(
        "%s keeps its own attention, which costs the square of a packed row: %s",
        type(model).__name__,
        reason,
    )
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
    if not (
        attention_mask is None and position_ids is not None and _is_row(query, key, position_ids)
    ):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    documents = newest.of(position_ids)
    if len(documents.lengths) < 2:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    run = kernel()
    if torch.is_autocast_enabled(
        query.device.type
    ):  # rotated in float32, as SDPA itself casts them
        narrow = torch.get_autocast_dtype(query.device.type)
        query, key, value = (states.to(narrow) for states in (query, key, value))
    if run is not None and fits(query, value, dropout=kwargs.get("dropout", 0.0)):
        scaling = kwargs.get("scaling")
        return attend(run, query, key, value, documents, scaling=scaling), None
    split = (states.split(documents.lengths, dim=2) for states in (query, key, value))
    parts = [
        sdpa_attention_forward(module, q, k, v, None, **kwargs)[0]
        for q, k, v in zip(*split, strict=True)
    ]
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


def _is_row(query: Tensor, key: Tensor, position_ids: Tensor) -> bool:
    """Whether these are one row whose positions are known, and no step of a generation."""
    return position_ids.shape[0] == 1 and query.shape[2] == key.shape[2]


@torch.no_grad()
def _packed_logits(model: PreTrainedModel) -> Tensor:
    """[9, vocabulary] logits of a row of two documents, float32 or float64; the model's state stays."""
    size = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]], device=model.device)
    ids = (torch.arange(1, 10, device=model.device) * 7919 % size)[None]
    was_training = model.training
    model.eval()
    logits: Tensor = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0]
    model.train(was_training)
    return logits.float() if logits.dtype != torch.float64 else logits


AttentionInterface.register(NAME, document_attention)
AttentionMaskInterface.register(NAME, document_mask)
