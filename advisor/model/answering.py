"""What decides a model's answers beside its weights: its tokenizer, and its generation config."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

STATE = ("truncation", "padding")
"""Of a tokenizer's content: what the last call left, not what it is."""
SPECIAL = ("bos_token_id", "eos_token_id", "clean_up_tokenization_spaces")
"""What a tokenizer says beside its content."""
OF_THE_CALL = (
    "do_sample", "temperature", "max_length", "pad_token_id", "bos_token_id", "use_cache",
    "output_attentions", "output_hidden_states", "transformers_version", "_from_model_config",
)  # fmt: skip
"""Of a generation config: what whoever has the model answer decides by himself, or what changes no answer."""


def tokenizer_mark(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hexadecimal digits over what a tokenizer makes tokens with; its chat template is none of it."""
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        content: Any = json.loads(backend.to_str())
        content = {name: value for name, value in content.items() if name not in STATE}
    else:  # written in Python
        added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        content = [type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), added]
    return _mark([content, *(getattr(tokenizer, name, None) for name in SPECIAL)])


def generation_mark(config: GenerationConfig | None) -> str | None:
    """16 hexadecimal digits over what a generation config does to answers; None where it says nothing."""
    said: dict[str, Any] = {} if config is None else config.to_diff_dict()
    kept = {name: value for name, value in said.items() if name not in OF_THE_CALL}
    return _mark(sorted(kept.items())) if kept else None


def _mark(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]
