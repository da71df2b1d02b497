"""Rotary positions whose frequencies depend on a sequence's length, made those of each row by itself.

LongRoPE (Phi-3) uses other factors beyond the original context, dynamic NTK other frequencies for every
length beyond it. transformers reads that length from the largest position of the *batch*, padding included,
and dynamic NTK keeps the frequencies of the longest batch so far: the same row then has another
log-probability in other company. After `each_row_by_itself(model)` a token's frequencies follow from the
length of its own row, or of its own document where a row packs several, as if each were read alone.

While a row is generated, LongRoPE keeps the factors with which the row's prompt was read, unless transformers
reads the prompt again. Models whose code does not come with transformers are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

ROWS = "row_lengths"
"""Attribute of a rotary module: [batch] tokens of each row, by the attention mask; None without one."""
APART = "rows_apart"
"""Attribute of a rotary module whose rows were told apart already."""
BY_ROW = "Its rotary positions depend on the length of a row: of each by itself, not of a batch."
"""What is said of a model that has such positions."""


def each_row_by_itself(model: PreTrainedModel) -> bool:
    """Give a model hooks that keep rows apart; whether it has such frequencies at all.

    The hooks are plain functions on the modules: copies of the model, adapters and wrappers keep them, and
    what is saved knows nothing of them.
    """
    rotary = list(_rotary_modules(model))
    if any(getattr(module, APART, False) for module in rotary):
        return True  # a model in memory that was taken before
    for module in rotary:
        setattr(module, APART, True)
        module.register_forward_pre_hook(_forget)
        module.register_forward_hook(_by_row, with_kwargs=True)
    for module in model.modules() if rotary else ():
        if isinstance(module, PreTrainedModel):
            module.register_forward_pre_hook(_note_rows, with_kwargs=True)
    return bool(rotary)


def _rotary_modules(model: nn.Module) -> Iterator[nn.Module]:
    """Those that transformers itself switches."""
    for module in model.modules():
        own = any(hasattr(module, f"{prefix}original_inv_freq") for prefix, _ in _types(module))
        if own and any(_switches(kind) for _, kind in _types(module)):
            yield module


def _types(module: Any) -> list[tuple[str, str]]:
    """(prefix of its buffers, type) for each kind of layer that a rotary module serves."""
    found = getattr(module, "rope_type", None)
    if isinstance(found, dict):
        return [(f"{layer}_", str(kind)) for layer, kind in found.items()]
    return [] if found is None else [("", str(found))]


def _switches(kind: str) -> bool:
    return kind == "longrope" or "dynamic" in kind


def _note_rows(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
    """Before the model reads a batch: how long its rows are."""
    mask = kwargs.get("attention_mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
        return  # what an outer module was given said it already
    rows = None if mask is None else mask.sum(-1)
    for rotary in _rotary_modules(module):
        if not _has_keys_of(rotary, rows, kwargs.get("past_key_values")):
            setattr(rotary, ROWS, rows)


def _has_keys_of(rotary: nn.Module, rows: Tensor | None, cache: Any) -> bool:
    """Whether kept keys have LongRoPE factors of their own: new tokens of the rows then take the same."""
    before = getattr(rotary, ROWS, None)
    if rows is None or before is None or before.shape != rows.shape:
        return False
    kept = cache is not None and int(cache.get_seq_length()) > 0
    return kept and any(kind == "longrope" for _, kind in _types(rotary))


def _forget(module: Any, args: Any = None) -> None:
    """Frequencies of an earlier, longer batch are dropped."""
    for prefix, kind in _types(module):
        if "dynamic" in kind:
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)
            original = getattr(module, f"{prefix}original_inv_freq")
            setattr(module, f"{prefix}inv_freq", original.to(getattr(module, f"{prefix}inv_freq")))


def _by_row(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    """The cosines and sines anew where tokens of a batch need other frequencies than its longest row."""
    x, positions, layer = _inputs(*args, **kwargs)
    if positions is None or positions.dim() != 2:
        return None
    original = _original_length(module, layer)
    if original is None:
        return None
    positions, lengths = _token_lengths(positions, getattr(module, ROWS, None))
    wanted = lengths.clamp(min=original)
    if _type(module, layer) == "longrope":  # two sets of factors, whatever the length
        wanted = wanted.clamp(max=original + 1)
    here = int(wanted.max())
    if _length_read(module, positions, original, layer) == here and bool((wanted == here).all()):
        return None
    tables = {
        length: _table(module, x, positions, length, original, layer)
        for length in wanted.unique().tolist()
    }
    return _assembled(tables, wanted)


def _inputs(x: Tensor, position_ids: Any = None, layer_type: Any = None, **_: Any) -> Any:
    """What a rotary module was called with, by position or by name."""
    return x, position_ids, layer_type


def _type(module: Any, layer: str | None) -> str:
    return str(module.rope_type if layer is None else module.rope_type[layer])


def _original_length(module: Any, layer: str | None) -> int | None:
    """Tokens up to which frequencies are the original ones; None where nothing depends on the length."""
    kind = _type(module, layer)
    if kind == "longrope":
        parameters = module.config.rope_parameters
        parameters = parameters if layer is None else parameters[layer]
        return int(parameters["original_max_position_embeddings"])
    return int(module.original_max_seq_len) if "dynamic" in kind else None


def _length_read(module: Any, positions: Tensor, original: int, layer: str | None) -> int:
    """The length whose frequencies transformers took for the batch."""
    length = max(int(positions.max()) + 1, original)
    return min(length, original + 1) if _type(module, layer) == "longrope" else length


def _token_lengths(positions: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """(positions, lengths), both [batch, sequence]: the length of the document that each token stands in.

    A document ends where positions stop growing; padding on the right goes on counting, so that the mask
    has the last word.
    """
    if rows is not None and positions.shape[0] == 1:
        positions = positions.expand(len(rows), -1)
    begins = positions.diff(dim=1) <= 0
    document = torch.cat([begins.new_zeros(len(positions), 1), begins], dim=1).cumsum(1)
    largest = torch.zeros_like(positions).scatter_reduce(1, document, positions, "amax")
    lengths = largest.gather(1, document) + 1
    if rows is not None and len(rows) == len(positions):
        lengths = torch.minimum(lengths, rows.to(lengths)[:, None])
    return positions, lengths


def _table(
    module: Any, x: Tensor, positions: Tensor, length: int, original: int, layer: str | None
) -> Any:
    """What the module gives to a batch of this length; it reads the length off one more column."""
    _forget(module)
    if length <= original or _type(module, layer) != "longrope":
        positions = positions.clamp(max=length - 1)  # a longer row must not be read as the length
    last = positions.new_full((len(positions), 1), length - 1)
    more = {} if layer is None else {"layer_type": layer}
    return module.forward(x, torch.cat([positions, last], dim=1), **more)


def _assembled(tables: dict[int, Any], wanted: Tensor) -> Any:
    """Each token's row of the table of its length, without the column that said the length."""
    whole = isinstance(next(iter(tables.values())), Tensor)
    parts = [(table,) if whole else table for table in tables.values()]
    chosen = []
    for part in zip(*parts, strict=True):
        result = part[0][:, :-1]
        for length, values in zip(tables, part, strict=True):
            result = torch.where((wanted == length)[..., None], values[:, :-1], result)
        chosen.append(result)
    return chosen[0] if whole else tuple(chosen)
