"""Many answers to many prompts of a small model: rows that have ended are dropped, whatever the others do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from advisor.model.load import LoadedModel
from harness.generate.decoding import padded, stops_of

ROWS = 1600
"""Answers that are drawn together."""


@torch.no_grad()
def sampled(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    *,
    several: int,
    longest: int,
    seed: int,
    rows: int = ROWS,
) -> Iterator[tuple[int, list[list[int]]]]:
    """Number of a prompt and its answers at temperature 1, with the token that ends each if one does.

    Args:
        loaded: in evaluation mode.
        prompts: token ids; those of like length are read together, so that they do not come in order.
        several: answers to each.
        longest: tokens of an answer at most.
        seed: of sampling, from the whole distribution.
        rows: answers that are drawn together.
    """
    random = torch.Generator(loaded.model.device).manual_seed(seed)
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    size = max(1, rows // several)
    for start in range(0, len(order), size):
        part = order[start : start + size]
        found = _answers(loaded, [prompts[i] for i in part], several, longest, random)
        for place, number in enumerate(part):
            yield number, found[place * several : (place + 1) * several]


def _answers(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    several: int,
    longest: int,
    random: torch.Generator,
) -> list[list[int]]:
    """Answers of every prompt, one prompt after another; each prompt is read once."""
    stops = stops_of(loaded.model, loaded.tokenizer)
    ends = torch.tensor(sorted(stops), device=loaded.model.device)
    inputs = padded(prompts, loaded.tokenizer.pad_token_id, loaded.model.device)
    mask, cache = inputs["attention_mask"], DynamicCache(config=loaded.model.config)
    logits = _forward(loaded, inputs["input_ids"], mask, cache)
    logits, mask = (table.repeat_interleave(several, 0) for table in (logits, mask))
    cache.batch_repeat_interleave(several)
    answers: list[list[int]] = [[] for _ in range(len(logits))]
    alive = torch.arange(len(logits), device=loaded.model.device)
    for _ in range(longest):
        tokens = torch.multinomial(logits.softmax(-1), 1, generator=random)[:, 0]
        for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
            answers[row].append(token)
        going = (~torch.isin(tokens, ends)).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(alive):
            cache.batch_select_indices(going)
            mask, alive, tokens = mask[going], alive[going], tokens[going]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        logits = _forward(loaded, tokens[:, None], mask, cache)
    return answers


def _forward(loaded: LoadedModel, ids: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
    """[rows, vocabulary] logits after the last of the tokens; adds to the cache."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    output = loaded.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = output.logits[:, -1].float()
    return logits
