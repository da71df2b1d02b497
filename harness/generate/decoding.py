"""Answers by `generate`: what precedes them, where they end, and nothing but what is asked for in between."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from advisor.data.dataset import Example
from advisor.data.labels import last_target
from advisor.model.load import LoadedModel

PROMPTS_AT_A_TIME = 64
SPARE_TOKENS = 16
"""Of an answer, beyond the longest reference."""

UNCHANGED: dict[str, Any] = {
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "min_length": 0,
    "min_new_tokens": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "sequence_bias": None,
}
"""Overrules what a model's generation config does to its distribution, for its users and not for us."""


def overrule(own: GenerationConfig, inherited: GenerationConfig) -> None:
    """Have a trainer's answers be drawn from the model's distribution as it is.

    `generate` takes from the model's config whatever the trainer's leaves open.

    Args:
        own: of the trainer; is changed.
        inherited: of the model.
    """
    for name, value in UNCHANGED.items():
        if getattr(own, name, None) is None:
            setattr(own, name, value)
    if own.min_p is None and inherited.min_p is not None:
        own.min_p = 0.0


def prompt_of(example: Example) -> list[int]:
    """The tokens before an example's last target, with what a span of it weighs 0."""
    return example.input_ids[: last_target(example.answers)[0]]


def turn_ends(examples: Iterable[Example]) -> set[int]:
    """Tokens that end a turn: of each terminator the last token that stands nowhere else in a target."""
    terminators, within = set[tuple[int, ...]](), set[int]()
    for example in examples:
        places, run = set(example.terminators), list[int]()
        for place, label in enumerate(example.labels):
            if place in places:
                run.append(label)
                continue
            within.add(label)
            terminators.add(tuple(run))
            run.clear()
        terminators.add(tuple(run))
    own = ([token for token in tokens if token not in within] for tokens in terminators)
    return {tokens[-1] for tokens in own if tokens}


def stop_where_turns_end(loaded: LoadedModel, examples: Iterable[Example]) -> None:
    """Have the model stop where the demonstrations end a turn, too, whatever its EOS token is.

    Its generation config says so: whoever generates with the model finds it there, and so it is saved.
    """
    config = loaded.model.generation_config
    before, ends = as_set(config.eos_token_id), turn_ends(examples)
    if not ends <= before:
        config.eos_token_id = sorted(before | ends)


def stops_of(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer: the generation config's, else the tokenizer's."""
    return as_set(model.generation_config.eos_token_id) or as_set(tokenizer.eos_token_id)


def continuations(
    model: Any,
    prompts: Sequence[list[int]],
    stops: Collection[int],
    *,
    max_new_tokens: int,
    pad_token_id: int | None,
    **decoding: Any,
) -> list[list[int]]:
    """New tokens of every prompt, up to and with the first that ends them, if any does.

    Args:
        model: with `generate`, in eval mode.
        prompts: token ids, padded on the left here.
        stops: tokens that end an answer.
        max_new_tokens: of the longest answer.
        pad_token_id: of the tokenizer; without one it is token 0, which the mask hides.
        decoding: of `generate`; what is not given leaves the model's distribution as it is. With
            `num_return_sequences` a prompt's answers follow one another.
    """
    inputs = padded(prompts, pad_token_id, model.device)
    with torch.no_grad():
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(stops) or None,
            **{**UNCHANGED, "num_return_sequences": 1, **decoding},
        )
    new = output[:, inputs["input_ids"].shape[1] :]
    return [_until(tokens, stops) for tokens in new.tolist()]


def padded(
    prompts: Sequence[list[int]], pad_token_id: int | None, device: torch.device
) -> dict[str, Any]:
    """Prompts padded on the left, as `generate` takes them; without a pad token it is 0, which is masked."""
    pad, width = pad_token_id or 0, max(map(len, prompts))
    ids = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    tensors = {"input_ids": ids, "attention_mask": mask}
    found: dict[str, Any] = {x: torch.tensor(y, device=device) for x, y in tensors.items()}
    return {**found, "pad_token_id": pad}


def _until(tokens: list[int], stops: Collection[int]) -> list[int]:
    end = next((i for i, token in enumerate(tokens) if token in stops), len(tokens))
    return tokens[: end + 1]


def as_set(ids: int | Sequence[int] | None) -> set[int]:
    """The tokens that an `eos_token_id` names, be it one, several or none."""
    return {ids} if isinstance(ids, int) else set(ids or ())
