"""Models and tokenizers small enough to be built on the spot."""

from typing import Any

WORDS = ["<pad>", "<bos>", "<eos>", *"abcdefghijklm"]
"""Vocabulary of the tiny models: sixteen words, one letter each."""


def tiny_tokenizer(**special: str) -> Any:
    """A word-level tokenizer over WORDS; by default with <pad>, <bos> and <eos>."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = special or {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def tiny_rwkv() -> Any:
    """A random RWKV over WORDS, which reads what stands before a prompt as padding."""
    import torch
    from transformers import RwkvConfig, RwkvForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "attention_hidden_size": 16}
    return RwkvForCausalLM(RwkvConfig(**sizes, num_hidden_layers=2, context_length=64)).eval()


def tiny_model(**changes: Any) -> Any:
    """A random two-layer Llama over WORDS, in eval mode."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    settings = {
        "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "intermediate_size": 16, "initializer_range": 1.0,
        "max_position_embeddings": 64,
    }  # fmt: skip
    return AutoModelForCausalLM.from_config(LlamaConfig(**{**settings, **changes})).eval()
