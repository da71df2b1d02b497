"""Answers by `generate`: what precedes them, where they end, and nothing but what is asked for in between."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from advisor.data.dataset import Example
from advisor.data.labels import last_target
from advisor.errors import InputError
from advisor.model.load import LoadedModel
from advisor.model.padding import reads_padding
from harness.runtime.quiet import held_at_none

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
    names = [name for name in vars(GenerationConfig()) if name not in KEPT and name[0] != "_"]
    with held_at_none(model.generation_config, names):
        yield


def prompt_of(example: Example) -> list[int]:
    """The tokens before an example's last target, with what a span of it weighs 0."""
    return example.input_ids[: last_target(example.answers)[0]]


def turn_ends(examples: Iterable[Example]) -> set[int]:
    """Tokens that end a turn: of each terminator the last token that stands nowhere else in a target."""
    known = list(examples)
    within = set[int]()
    for example in known:
        places = set(example.terminators)
        within.update(label for i, label in enumerate(example.labels) if i not in places)
    own = ([token for token in end if token not in within] for end in terminators_of(known))
    return {tokens[-1] for tokens in own if tokens}


def terminators_of(examples: Iterable[Example]) -> set[tuple[int, ...]]:
    """What ends the turns of examples: target tokens that stand side by side."""
    found = set[tuple[int, ...]]()
    for example in examples:
        places = set(example.terminators)
        for ends, run in groupby(range(len(example.labels)), places.__contains__):
            if ends:
                found.add(tuple(example.labels[place] for place in run))
    return found


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
    max_new_tokens: int | Sequence[int],
    pad_token_id: int | None,
    **decoding: Any,
) -> list[list[int]]:
    """New tokens of every prompt, up to and with the first that ends them, if any does.

    A prompt without much room shortens no answer but its own.

    Args:
        model: with `generate`, in eval mode.
        prompts: token ids, padded on the left here.
        stops: tokens that end an answer.
        max_new_tokens: of the longest answer: a number for all prompts, or one for each.
        pad_token_id: of the tokenizer; without one it is token 0, which the mask hides.
        decoding: of `generate`; what is not given leaves the model's distribution as it is, whatever its
            generation config says. With `num_return_sequences` a prompt's answers follow one another.
    """
    each = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else max_new_tokens
    several = decoding.get("num_return_sequences", 1)
    rows = [pair for pair in zip(prompts, each, strict=True) for _ in range(several)]
    if len(rows) > 1 and reads_padding(model):
        one: dict[str, Any] = {**decoding, "num_return_sequences": 1, "pad_token_id": pad_token_id}
        alone = (
            continuations(model, [prompt], stops, max_new_tokens=length, **one)
            for prompt, length in rows
        )
        return [answer for answers in alone for answer in answers]
    inputs = padded(prompts, pad_token_id, model.device)
    start, lengths = inputs["input_ids"].shape[1], [length for _, length in rows]
    within = no_position_beyond(model, [len(prompt) + length - 1 for prompt, length in rows])
    whole = {"top_k": 0} if decoding.get("do_sample") else {}  # else the 50 likeliest tokens
    with torch.no_grad(), as_it_is(model), within:
        output = model.generate(
            **inputs,
            max_new_tokens=max(lengths),
            eos_token_id=sorted(stops) or None,
            stopping_criteria=StoppingCriteriaList([_Lengths(lengths, start)]),
            **{**whole, **decoding},
        )
    new = output[:, start:].tolist()
    return [_until(tokens[:length], stops) for tokens, length in zip(new, lengths, strict=True)]


class _Lengths(StoppingCriteria):
    """Ends rows that are as long as they may be."""

    def __init__(self, lengths: Sequence[int], start: int) -> None:
        self._lengths, self._start = torch.tensor(lengths), start

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Whether each row has ended, [rows]."""
        return self._lengths.to(input_ids.device) <= input_ids.shape[1] - self._start


@contextmanager
def no_position_beyond(model: Any, last: Sequence[int]) -> Iterator[None]:
    """Rows that have ended are padded until all have: their positions must not leave the model's context.

    Args:
        model: with `generate`, also within an adapter.
        last: the last position that a row may have, of every row of the batch.
    """
    called = model.get_base_model() if hasattr(model, "get_base_model") else model
    limits = torch.tensor(last, device=model.device)[:, None]

    def clamp(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        positions = kwargs.get("position_ids")
        if positions is not None:
            kwargs["position_ids"] = torch.minimum(positions, limits)
        return args, kwargs

    hook = called.register_forward_pre_hook(clamp, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def read_together(model: Any, number: int) -> list[list[int]]:
    """Which of a number of prompts may stand in one batch: all, or each by itself.

    Not even those of one length, which need no padding: a decoding step of RWKV mixes the rows of its batch
    (transformers 5.23, where states [rows, size] meet tokens [rows, 1, size]).
    """
    if number > 1 and reads_padding(model):
        return [[row] for row in range(number)]
    return [list(range(number))]


def refuse_padded(loaded: LoadedModel, what: str, or_else: str = "") -> None:
    """Raise InputError where a model reads padding; `what` reads prompts of several lengths together."""
    if reads_padding(loaded.model):
        raise InputError(
            f"{loaded.name}: padding enters the state of such a model, whatever masks it, and {what} reads "
            f"prompts of several lengths together: take a model with attention{or_else}"
        )


def pads_and_stops(trainer: Any) -> None:
    """Have a trainer of TRL pad, and stop at tokens alone, where its tokenizer has no pad or EOS token.

    It pads with token 0, which the mask hides; the tokenizer that is saved stays as it is.

    Args:
        trainer: of DistillationTrainer or GRPOTrainer, built.
    """
    tokenizer, config = trainer.processing_class, trainer.generation_config
    trainer.eos_token_ids = [token for token in trainer.eos_token_ids if token is not None]
    config.eos_token_id = trainer.eos_token_ids or None
    if tokenizer.pad_token_id is None:
        trainer._tokenizer = copy.deepcopy(tokenizer)
        trainer._tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
        config.pad_token_id = 0


def text_of(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Tokens as text, without special ones."""
    decode = tokenizer.decode
    return str(decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))


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
