"""A transformers model that is in memory already, taken as a loaded one: the same refusals and facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from advisor.errors import InputError
from advisor.hub import hub_or_cache
from advisor.model import checkpoint
from advisor.model.kind import chat_of
from advisor.model.loaded import LoadedModel
from advisor.model.model_checks import NEED, check_bare, check_finite, check_kind, check_vocabulary
from advisor.model.rope import BY_ROW, each_row_by_itself

ASK = "give (model, tokenizer), or load_model(model, tokenizer=tokenizer)"
NO_CONTENT = ("_name_or_path", "transformers_version")
"""Of a config: where it came from, not what it says."""


def from_memory(model: object, tokenizer: object, *, as_loaded: bool = True) -> LoadedModel:
    """A `LoadedModel` of a model and a tokenizer; evaluation mode is all that changes in the model.

    Args:
        model: of transformers, with a language-model head.
        tokenizer: the one that it was trained with, or a processor that holds it.
        as_loaded: whether dtype, device and the rest are left as they are.

    Raises:
        InputError: something else, or a model whose probabilities are not a prior.
    """
    own, words = _model_of(model), _tokenizer_of(tokenizer)
    source = own.name_or_path or ""
    name = source or type(own).__name__
    if not as_loaded:
        raise InputError(
            f"{name}: is in memory already: dtype, device and the rest are those it has; move or convert it "
            "first, with model.to(...)"
        )
    _check_head(name, own)
    check_bare(name, own)
    check_finite(name, own)
    notes = [f"A model in memory, on {own.device}.", *check_vocabulary(name, own, words)]
    own.eval()
    if each_row_by_itself(own):
        notes.append(BY_ROW)
    folder = Path(source) if source and Path(source).is_dir() else None
    with nullcontext() if folder or not source else hub_or_cache():
        kind, kind_note = checkpoint.kind(source, folder, chat_of(words, own.generation_config))
    fingerprint, fingerprint_notes = fingerprint_of(own)
    return LoadedModel(
        model=own,
        tokenizer=words,
        name=name,
        fingerprint=fingerprint,
        parameters=own.num_parameters(),
        dtype=str(own.dtype).removeprefix("torch."),
        device=str(own.device),
        kind=kind,
        notes=(*notes, kind_note, *fingerprint_notes),
    )


def _model_of(model: object) -> PreTrainedModel:
    if isinstance(model, PreTrainedModel):
        return model
    if hasattr(model, "merge_and_unload"):
        raise InputError(
            "the model carries an adapter: give model.merge_and_unload(), which makes it a whole one"
        )
    raise InputError(
        f"MODEL is of type {type(model).__name__}: give a folder, a hub id, or a transformers model in "
        "memory with its tokenizer"
    )


def _tokenizer_of(tokenizer: object) -> PreTrainedTokenizerBase:
    if tokenizer is None:
        raise InputError(f"a model in memory needs its tokenizer: {ASK}")
    found = getattr(tokenizer, "tokenizer", tokenizer)  # a processor holds it
    if not isinstance(found, PreTrainedTokenizerBase):
        raise InputError(
            f"the tokenizer is of type {type(tokenizer).__name__}: give the loaded tokenizer of transformers"
        )
    if set(found.get_vocab()) <= set(found.all_special_tokens):
        raise InputError(
            "the tokenizer has no vocabulary but its special tokens: give the model's own"
        )
    return found


def _check_head(name: str, model: PreTrainedModel) -> None:
    architecture = type(model).__name__
    check_kind(name, model.config, [architecture])
    if model.get_output_embeddings() is None:
        raise InputError(f"{name}: {architecture} has no language-model head; {NEED}")


def fingerprint_of(model: PreTrainedModel) -> tuple[str, list[str]]:
    """16 hexadecimal digits over the weights as they are and the config; notes on what was not read.

    Equal weights have equal fingerprints, whatever device they are on; a folder's is over its files, and so
    another one.
    """
    tensors = dict(sorted(model.state_dict().items()))
    size = sum(tensor.nbytes for tensor in tensors.values())
    whole = size <= checkpoint.WHOLE_HASH
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        for part in () if tensor.is_meta else _parts(tensor.detach(), whole=whole):
            digest.update(part)
    config: dict[str, Any] = model.config.to_diff_dict()
    kept = {name: value for name, value in config.items() if name not in NO_CONTENT}
    digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    notes = []
    if not whole:
        notes.append("Over 2 GB of weights: fingerprinted by both ends of each tensor.")
    if any(tensor.is_meta for tensor in tensors.values()):
        notes.append("Offloaded weights are not in its fingerprint.")
    return digest.hexdigest()[:16], notes


def _parts(tensor: Tensor, *, whole: bool) -> Iterator[bytes]:
    """The bytes of a tensor, or those of its first and last megabyte."""
    flat = tensor.reshape(-1)
    most = checkpoint.SAMPLE // max(1, tensor.itemsize)
    ends = [flat] if whole or flat.numel() <= 2 * most else [flat[:most], flat[-most:]]
    for end in ends:
        yield end.cpu().contiguous().view(torch.uint8).numpy().tobytes()
