"""What is refused of a model because its probabilities would mean nothing, loaded or in memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from advisor.errors import InputError
from advisor.model import checkpoint

NEED = "a causal language model is needed"


def check_causal(name: str, config: PreTrainedConfig, *, trust_remote_code: bool) -> None:
    """Refuses a config of what cannot give the probability of a next token."""
    check_kind(name, config, config.architectures or [])
    found = config.model_type
    if found in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if "AutoModelForCausalLM" not in (getattr(config, "auto_map", None) or {}):
        raise InputError(f"{name}: {found} is not a causal language model; {NEED}")
    if not trust_remote_code:
        raise checkpoint.code_refused(name)


def check_kernels(name: str, settings: Mapping[str, Any], *, trust_remote_code: bool) -> None:
    """Refuses a config.json that has compiled code of the hub loaded, unless code is allowed to run.

    transformers takes `attn_implementation: "owner/kernel"` for a repository, whose code it runs.
    """
    if named := None if trust_remote_code else next(_kernels(settings), None):
        raise InputError(
            f"{name}: its config.json asks for code from the hub ({named}): remove that line, or allow the "
            "code to run here with --trust_remote_code"
        )


def _kernels(settings: object, key: str = "") -> Iterator[str]:
    """Settings at any depth that name kernels, as `key: value`."""
    if isinstance(settings, Mapping):
        for inner, value in settings.items():
            if inner in ("use_kernels", "kernel_config") and value:
                yield f"{inner}: {str(value)[:40]}"
            # Implementations may be named for each part of a model, in a dictionary.
            yield from _kernels(value, key if "implementation" in key else str(inner))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _kernels(value, key)
    elif isinstance(settings, str) and "implementation" in key and "/" in settings:
        yield f"{key}: {settings[:80]}"


def check_kind(name: str, config: PreTrainedConfig, architectures: Sequence[str]) -> None:
    """Refuses encoders, and classes without a language-model head."""
    found = config.model_type
    if config.is_encoder_decoder:
        raise InputError(f"{name}: {found} is an encoder-decoder; {NEED}")
    is_decoder = getattr(config, "is_decoder", False)
    if found in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder:
        raise InputError(f"{name}: {found} is encoder-only; {NEED}")
    for architecture in architectures:
        if "Classification" in architecture or "QuestionAnswering" in architecture:
            raise InputError(f"{name}: {architecture} has no language-model head; {NEED}")


def check_loading(name: str, info: Mapping[str, Any]) -> list[str]:
    """Refuses tensors that a checkpoint did not give, by transformers' report; notes on those too many."""
    for key, stored, wanted in sorted(info["mismatched_keys"]):
        raise InputError(
            f"{name}: {key} is {list(stored)} in the checkpoint and {list(wanted)} by config.json"
        )
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{name}: the checkpoint lacks {len(missing)} of the model's tensors (first: "
            f"{missing[0]}); random ones in their place would give a prior of nothing"
        )
    if extra := sorted(info["unexpected_keys"]):
        return [f"{len(extra)} tensors of the checkpoint have no place in it (first: {extra[0]})."]
    return []


def check_bare(name: str, model: PreTrainedModel) -> None:
    """Refuses a model that PEFT has put an adapter into: a second one would thaw the base's weights."""
    # Where PEFT was not imported, which takes seconds, there is no adapter.
    adapted = getattr(sys.modules.get("peft.tuners.tuners_utils"), "BaseTunerLayer", ())
    for key, module in model.named_modules():
        if isinstance(module, adapted):
            raise InputError(
                f"{name}: has an adapter in its layers (first: {key}), from an earlier training or PEFT: "
                "take it out with the PeftModel's unload(), or into the weights with merge_and_unload(), or "
                "load the model anew"
            )


def check_finite(name: str, model: PreTrainedModel) -> None:
    """Refuses weights that are not numbers."""
    for key, tensor in model.state_dict().items():
        if not _is_finite(tensor):
            raise InputError(f"{name}: the weights hold NaN or infinity (first: {key})")


def _is_finite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    # torch has no isfinite for the one-byte floats.
    return bool(torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all())


def check_vocabulary(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """Refuses token ids without a row in the head; rows without a token are padding, and fine."""
    head = model.get_output_embeddings()
    rows = model.config.get_text_config().vocab_size if head is None else head.weight.shape[0]
    beyond = {token: i for token, i in tokenizer.get_vocab().items() if i >= rows}
    if not beyond:
        return []
    # Text-only versions of multimodal models keep placeholders that no text produces.
    if all(re.search("image|audio|video|vision", token) for token in beyond):
        return [f"{len(beyond)} placeholder tokens of the tokenizer have no row in the head."]
    raise InputError(
        f"{name}: the tokenizer has {max(beyond.values()) + 1} entries and the model's head {rows} "
        "rows: use the tokenizer it was trained with, or resize_token_embeddings()"
    )
