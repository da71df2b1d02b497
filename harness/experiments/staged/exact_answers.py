"""Whether answers are exactly references, greedily and sampled: `generate`, less what no score needs.

What all prompts begin with is read once, both answers of a prompt go on from one reading of it, and an answer
is dropped as soon as it can no longer become a reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from advisor.model.load import LoadedModel
from harness.generate.decoding import padded, stops_of

TEMPERATURES = (0.0, 1.0)
"""Sampling is from the whole distribution."""


@torch.no_grad()
def exactly_right(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    references: Sequence[Sequence[str]],
    *,
    seed: int,
) -> dict[float, list[bool]]:
    """Answer every prompt at every temperature, all of them in one batch.

    Args:
        loaded: in evaluation mode.
        prompts: token ids.
        references: of each prompt the texts of which an answer has to be one, from its first character to the
            end of the turn; ASCII, since a token may hold a part of any other character.
        seed: of sampling.

    Returns:
        Temperature -> whether each prompt was answered with one of its references.
    """
    heats = TEMPERATURES * len(prompts)
    wanted = [texts for texts in references for _ in TEMPERATURES]
    answers, right = [[] for _ in heats], [False] * len(heats)  # type: list[list[int]], list[bool]
    stops, random = stops_of(loaded.model, loaded.tokenizer), torch.Generator().manual_seed(seed)
    logits, mask, cache = _read(loaded, prompts)
    logits, mask = (rows.repeat_interleave(len(TEMPERATURES), 0) for rows in (logits, mask))
    cache.batch_repeat_interleave(len(TEMPERATURES))
    alive = list(range(len(heats)))
    while alive:
        tokens = _next_tokens(logits, [heats[row] for row in alive], random)
        kept = []
        for place, (row, token) in enumerate(zip(alive, tokens.tolist(), strict=True)):
            if token in stops:
                right[row] = _text(loaded, answers[row]) in wanted[row]
                continue
            answers[row].append(token)
            said = _text(loaded, answers[row])
            if any(text.startswith(said) for text in wanted[row]):
                kept.append(place)
        alive = [alive[place] for place in kept]
        if alive:
            places = torch.tensor(kept, device=mask.device)
            cache.batch_select_indices(places)
            mask = torch.cat([mask[places], mask.new_ones(len(kept), 1)], 1)
            logits = _forward(loaded.model, tokens[kept, None].to(mask.device), mask, cache)
    return {heat: right[number :: len(TEMPERATURES)] for number, heat in enumerate(TEMPERATURES)}


def _read(loaded: LoadedModel, prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor, Any]:
    """[prompts, vocabulary] logits of the next token, the mask of what was read, and its keys and values."""
    model, shared = loaded.model, _shared(prompts)
    cache: Any = DynamicCache(config=model.config)
    if shared:
        ids = torch.tensor([prompts[0][:shared]], device=model.device)
        _forward(model, ids, torch.ones_like(ids), cache)
        cache.batch_repeat_interleave(len(prompts))
    own = padded(
        [prompt[shared:] for prompt in prompts], loaded.tokenizer.pad_token_id, model.device
    )
    mask = own["attention_mask"]
    mask = torch.cat([mask.new_ones(len(prompts), shared), mask], 1)
    return _forward(model, own["input_ids"], mask, cache), mask, cache


def _shared(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with; at least the last one of each is its own."""
    columns = enumerate(zip(*prompts, strict=False))
    shortest = min(map(len, prompts))
    return min(next((i for i, column in columns if len(set(column)) > 1), shortest), shortest - 1)


def _forward(model: Any, ids: Tensor, mask: Tensor, cache: Any) -> Tensor:
    """[rows, vocabulary] logits after the last of the tokens; adds to the cache."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
        use_cache=True, logits_to_keep=1,
    )  # fmt: skip
    logits: Tensor = output.logits[:, -1].float()
    return logits.cpu()  # where the random numbers are, so that they are the same on every device


def _next_tokens(logits: Tensor, heats: Sequence[float], random: torch.Generator) -> Tensor:
    """[rows] the likeliest token where the temperature is 0, else a drawn one."""
    tokens = logits.argmax(-1)
    if hot := [row for row, heat in enumerate(heats) if heat > 0]:
        scaled = logits[hot] / torch.tensor([heats[row] for row in hot])[:, None]
        tokens[hot] = torch.multinomial(scaled.softmax(-1), 1, generator=random)[:, 0]
    return tokens


def _text(loaded: LoadedModel, tokens: list[int]) -> str:
    return str(loaded.tokenizer.decode(tokens, clean_up_tokenization_spaces=False))
