"""Answers by `generate`: what precedes them, where they end, and nothing but what is asked for in between."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from advisor.data.dataset import Example
from advisor.data.labels import last_target
from advisor.model.load import LoadedModel

PROMPTS_AT_A_TIME = 64
SPARE_TOKENS = 16
"""Of an answer, beyond the longest reference."""

KEPT = {
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "use_cache",
    "cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile",
    "prefill_chunk_size", "transformers_version",
}  # fmt: skip
"""Of a generation config: its tokens, and how `generate` computes. All else shapes answers."""


@contextmanager
def as_it_is(model: Any) -> Iterator[None]:
    """Within the block `generate` does what it is told and nothing else that the model's config asks for.

    What it is not told, or told to be None, it takes from there: penalties, forbidden tokens, texts to stop
    at, for which it would want a tokenizer. They are for the model's users; they are saved as they were.

    Args:
        model: with a generation config, whatever wraps it.
    """
    config = model.generation_config
    names = [name for name in vars(GenerationConfig()) if name not in KEPT and name[0] != "_"]
    before = {name: getattr(config, name, None) for name in names}
    try:
        for name in names:
            setattr(config, name, None)
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


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
        decoding: of `generate`; what is not given leaves the model's distribution as it is, whatever its
            generation config says. With `num_return_sequences` a prompt's answers follow one another.
    """
    inputs = padded(prompts, pad_token_id, model.device)
    whole = {"top_k": 0} if decoding.get("do_sample") else {}  # else the 50 likeliest tokens
    with torch.no_grad(), as_it_is(model):
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(stops) or None,
            **{**whole, **decoding},
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
