"""A random Llama and prompt-completion pairs: what the benches of the step and of the probe run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from advisor.data.dataset import Example


@dataclass(frozen=True, kw_only=True)
class Body:
    """Size of the model."""

    hidden: int = 512
    intermediate: int = 1408
    layers: int = 8
    heads: int = 8


LARGE = Body(hidden=2048, intermediate=8192, layers=16, heads=32)
"""For a GPU, about a billion parameters: a smaller one waits for the launches of its kernels."""
TINY = Body(hidden=32, intermediate=48, layers=2, heads=4)
"""Tries a command out; its times mean nothing."""


def body_for(device: str, *, tiny: bool = False) -> Body:
    """The body that a bench runs on a device."""
    return TINY if tiny else LARGE if device == "cuda" else Body()


def make_model(
    body: Body, vocabulary: int, dtype: torch.dtype, device: str, seed: int
) -> PreTrainedModel:
    """A random Llama with a tied head."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=body.hidden,
        intermediate_size=body.intermediate,
        num_hidden_layers=body.layers,
        num_attention_heads=body.heads,
        num_key_value_heads=body.heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return cast(PreTrainedModel, model.to(device))


def make_pairs(
    number: int, vocabulary: int, seed: int, *, prompt: float = 64, completion: float = 32
) -> list[Example]:
    """Random pairs; lengths are log-normal about these medians, at most four times as long."""
    generator = torch.Generator().manual_seed(seed)

    def length(median: float) -> int:
        factor = float((torch.randn(1, generator=generator) * 0.6).exp().clamp(0.25, 4))
        return max(2, round(median * factor))

    pairs = []
    for _ in range(number):
        before, after = length(prompt), length(completion)
        ids = torch.randint(vocabulary, (before + after,), generator=generator).tolist()
        labels = [-100] * before + ids[before:]
        pairs.append(Example(input_ids=ids, labels=labels, terminators=(), truncated=False))
    return pairs


def padded(batch: list[Example], device: str) -> dict[str, Tensor]:
    """Padding on the right, with a mask."""
    width = max(len(example.input_ids) for example in batch)
    ids, labels, mask = (torch.full((len(batch), width), fill) for fill in (0, -100, 0))
    for row, example in enumerate(batch):
        length = len(example.input_ids)
        ids[row, :length] = torch.tensor(example.input_ids)
        labels[row, :length] = torch.tensor(example.labels)
        mask[row, :length] = 1
    return {
        "input_ids": ids.to(device), "labels": labels.to(device), "attention_mask": mask.to(device)
    }  # fmt: skip


def packed(batch: list[Example], device: str) -> dict[str, Tensor]:
    """One row without padding; positions that start again tell transformers where an example begins."""
    ids = [token for example in batch for token in example.input_ids]
    labels = [label for example in batch for label in example.labels]
    positions = [place for example in batch for place in range(len(example.input_ids))]
    return {
        "input_ids": torch.tensor([ids], device=device),
        "labels": torch.tensor([labels], device=device),
        "position_ids": torch.tensor([positions], device=device),
    }
