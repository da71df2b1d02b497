"""Prompts of several streams read each in a batch of its own, and their caches put together for the steps.

In one batch the plain prompts would be padded to the length of the hinted ones, and read as long. What a
step then sees is what it would have seen: keys and values behind the padding, which the mask hides.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from harness.generate.decoding import padded

ROOM = 64
"""Tokens by which a layer grows at a time: fewer copies than one at every token."""
NEEDED = ("past_key_values", "position_ids", "logits_to_keep")
"""What a model's forward must take."""


class RoomyLayer(DynamicLayer):
    """A layer of a cache with room for further tokens: a step copies its own keys and values alone."""

    keys: Any
    values: Any

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """Keys and values [rows, heads, tokens, size] of what was read."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._buffers = [self._grown(keys), self._grown(values)]
        self._show(keys.shape[-2])

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Takes the new tokens' keys and values; gives those of all tokens."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        for i, new in enumerate((key_states, value_states)):
            while self._buffers[i].shape[-2] < end:
                self._buffers[i] = self._grown(self._buffers[i])
            self._buffers[i][..., start:end, :] = new
        self._show(end)
        return self.keys, self.values

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[..., :length, :] for buffer in self._buffers)

    @staticmethod
    def _grown(states: Tensor) -> Tensor:
        rows, heads, length, size = states.shape
        buffer = states.new_empty(rows, heads, length + ROOM, size)
        buffer[..., :length, :] = states
        return buffer


def read_apart(
    model: Any, streams: Sequence[Sequence[list[int]]], pad_token_id: int | None
) -> DynamicCache | None:
    """The cache of all streams' prompts, less the last token of each, one stream after the other.

    Args:
        model: in eval mode.
        streams: of each, the prompts of its rows as token ids.
        pad_token_id: of the tokenizer.

    Returns:
        As `generate` takes it beside the prompts of all rows padded to one length; None where it has to read
        them itself: of a model with other layers than full attention, or of one-token prompts.
    """
    if min(len(prompt) for stream in streams for prompt in stream) < 2 or not _readable(model):
        return None
    caches = [_read(model, stream, pad_token_id) for stream in streams]
    if any(type(layer) is not DynamicLayer for cache in caches for layer in cache.layers):
        return None
    width = max(cache.get_seq_length() for cache in caches)
    together = DynamicCache()
    together.layers = [
        RoomyLayer(
            _stacked([layer.keys for layer in layers], width),
            _stacked([layer.values for layer in layers], width),
        )
        for layers in zip(*(cache.layers for cache in caches), strict=True)
    ]
    return together


def _readable(model: Any) -> bool:
    """Whether the model keeps nothing of its prompts but keys and values."""
    if not set(NEEDED) <= set(inspect.signature(model.forward).parameters):
        return False
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def _read(model: Any, prompts: Sequence[list[int]], pad_token_id: int | None) -> Any:
    """The cache of the prompts of one stream, padded to the longest of them."""
    inputs = padded(prompts, pad_token_id, model.device)
    mask = inputs["attention_mask"][:, :-1]
    with torch.no_grad():
        return model(
            input_ids=inputs["input_ids"][:, :-1],
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=DynamicCache(config=model.config),
            use_cache=True,
            logits_to_keep=1,
        ).past_key_values


def _stacked(states: Sequence[Tensor], width: int) -> Tensor:
    """States [rows, heads, tokens, size] of all streams, with zeros where the shorter ones are padded."""
    return torch.cat([_padded_left(one, width) for one in states])


def _padded_left(states: Tensor, width: int) -> Tensor:
    rows, heads, length, size = states.shape
    if length == width:
        return states
    return torch.cat([states.new_zeros(rows, heads, width - length, size), states], dim=-2)
