"""From a dataset to what a study trains and scores on: demonstrations, a part kept back, tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from advisor.advice.plan import AT_MOST, HELD_OUT
from advisor.data.dataset import Example, SFTDataset
from advisor.data.labels import target_runs
from advisor.errors import InputError
from harness.evaluate.final_answers import find_answer_pattern
from harness.evaluate.held_out import (
    TOKENS,
    choice_task,
    chosen_pair,
    held_out_task,
    scored_task,
)
from harness.evaluate.trained_tokens import Answered, of_choices, of_prompts
from harness.evaluate.user_scorer import Scorer

SPARE = 16
"""Tokens of an answer beyond the longest reference."""
STEP = 32
"""Tokens between the lengths of answers to prompts that leave little of the context."""


def split_rows(dataset: SFTDataset, *, seed: int = 0) -> tuple[list[int], list[int]]:
    """(train, held out) row numbers: a fixed random part, kept back from every run.

    Rows with the same prompt stay together: what was trained on must not be scored. Where more rows have the
    same one than are to be kept back, those of them stay together that are the same as a whole.

    Raises:
        InputError: too few distinct prompts to keep some back.
    """
    # A row that was dropped before it was tokenised belongs to neither part.
    read = {row: example for row, example in enumerate(dataset) if example.input_ids}
    prompts = {row: _prompt(dataset, example) for row, example in read.items()}
    wanted = min(AT_MOST, int(len(dataset) * HELD_OUT))
    common = {prompt for prompt, rows in Counter(prompts.values()).items() if rows > wanted}
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, prompt in prompts.items():
        key = tuple(read[row].input_ids) if prompt in common else prompt
        groups.setdefault(key, []).append(row)
    together, back = list(groups.values()), list[int]()
    for group in np.random.default_rng(seed).permutation(len(together)):
        if len(back) >= wanted:
            break
        if not back or len(back) + len(together[group]) <= wanted:
            back += together[group]
    train = sorted(read.keys() - set(back))
    if not (back and train):
        raise InputError(
            f"{dataset.info.name}: {len(dataset)} rows with {len(groups)} distinct prompts are too few to "
            "keep some back: give more rows, or --tasks"
        )
    return train, sorted(back)


def _prompt(dataset: SFTDataset, example: Example) -> tuple[int, ...]:
    """Token ids before the first target; all of them where nothing but what begins a sequence precedes it."""
    before = example.input_ids[: _first_target(example)]
    return tuple(example.input_ids if _begins(dataset, before) else before)


def _first_target(example: Example) -> int:
    """Where the first answer begins, trained or not; behind the last token where there is none."""
    labels = example.answers
    return next((i for i, label in enumerate(labels) if label != -100), len(labels))


def _begins(dataset: SFTDataset, ids: Sequence[int]) -> bool:
    """Whether these tokens do nothing but begin a sequence."""
    return set(dataset.tokenizer.all_special_ids).issuperset(ids)


def own_task(
    dataset: SFTDataset, answer_regex: str | None, scorer: Scorer | None = None
) -> dict[str, Any]:
    """The kept-back rows of the user's data as a task.

    What the user's scorer says, where there is one; else exact match of the final answer where a pattern
    finds one, the user's or a known one. Rows that were cut off have lost their answers and are left out.
    Else a choice among completions (`held_out.choice_task`).

    Raises:
        InputError: the user's pattern or scorer fails, or there is nothing to choose from.
    """
    examples = [example for example in dataset if example.target_tokens]
    rows = [_answered(dataset, example) for example in examples]
    whole = [row for row, one in zip(rows, examples, strict=True) if not one.truncated]
    answered = whole or rows
    pattern = answer_regex or find_answer_pattern([row.completion for row in answered])
    unprompted = not all(row.prompt.strip() for row in answered)
    if unprompted and (scorer or answer_regex):
        asked = f"--scorer {scorer.text}" if scorer else f"--answer_regex {answer_regex}"
        raise InputError(
            f"{asked}: {dataset.info.name} has rows without a prompt to answer: name the columns with "
            "--prompt_field and --completion_field"
        )
    if unprompted or not (scorer or pattern):
        return _choice(dataset, rows)
    longest, rooms = _rooms(answered, dataset.info.max_length)
    texts = [row.texts for row in answered]
    if scorer:
        task = scored_task(texts, scorer=scorer, max_gen_toks=longest)
    else:
        task = held_out_task(texts, answer_pattern=str(pattern), max_gen_toks=longest)
    task["metadata"][TOKENS] = replace(of_prompts(answered), rooms=rooms)
    return task


def _choice(dataset: SFTDataset, rows: Sequence[Answered]) -> dict[str, Any]:
    """A choice among the completions of rows."""
    pairs = [chosen_pair(*row.texts) for row in rows]
    tokens = of_choices(rows, pairs, partial(_decoded, dataset))
    room = dataset.info.max_length + 1 - max(map(len, tokens.choices.values()))
    # The prompts of others would lose their beginning.
    whole = [row.texts for row in rows if len(row.before) <= room]
    task = choice_task(whole or [row.texts for row in rows])
    task["metadata"][TOKENS] = tokens
    return task


def _rooms(rows: Sequence[Answered], context: int) -> tuple[int, dict[str, int]]:
    """The longest answer in tokens, and that of prompts which leave less of the context.

    It is a little longer than the longest reference. What all prompts leave is enough where it takes in every
    reference; else each has what its own leaves, in steps, so that answers are generated many at a time.
    """
    longest = max(row.length for row in rows)
    left = [max(1, context - len(row.before) - 1) for row in rows]
    if min(left) >= longest:
        return min(longest + SPARE, *left), {}
    most = min(longest + SPARE, max(left))
    pairs = sorted(zip(rows, left, strict=True), key=lambda pair: pair[0].length)
    steps = {  # of rows with the same prompt the longest answer counts
        row.prompt: room - room % STEP if room - room % STEP >= row.length else room
        for row, room in pairs
    }
    return most, {prompt: room for prompt, room in steps.items() if room < most}


def _answered(dataset: SFTDataset, example: Example) -> Answered:
    """Prompt and completion as the model reads them: the first target begins the completion."""
    ids, special = example.input_ids, set(dataset.tokenizer.all_special_ids)
    first = _first_target(example)
    end, stop = _answer_end(dataset, example)
    prompt = _decoded(dataset, ids[:first])
    if _begins(dataset, ids[:first]):
        first = next((i for i in range(first, end) if ids[i] not in special), end)
        prompt = ""
    return Answered(
        prompt=prompt,
        completion=_decoded(dataset, ids[first:end]),
        before=tuple(ids[:first]),
        ids=tuple(ids[first:end]),
        length=stop - first,
    )


def _answer_end(dataset: SFTDataset, example: Example) -> tuple[int, int]:
    """Where the first answer of an example ends, without and with what ends it."""
    first, stop = next(iter(target_runs(example.answers)), (0, 0))
    end = min((t for t in example.terminators if first <= t < stop), default=stop)
    # A token that weighs 0 is no terminator; of the others an unknown word may be special, too.
    while end - 1 in example.weightless and _is_special(dataset, example.input_ids[end - 1]):
        end -= 1
    return end, stop


def _is_special(dataset: SFTDataset, token: int) -> bool:
    added = dataset.tokenizer.added_tokens_decoder.get(token)
    return added is not None and bool(added.special)


def _decoded(dataset: SFTDataset, ids: Sequence[int]) -> str:
    decode: Callable[..., Any] = dataset.tokenizer.decode
    return str(decode(ids, clean_up_tokenization_spaces=False))
