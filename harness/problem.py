"""From a dataset to what a study trains and scores on: demonstrations, a part kept back, tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from advisor.data import Example, SFTDataset
from advisor.errors import InputError
from harness.answers import find_answer_pattern
from harness.evaluate import held_out_task

HELD_OUT = 0.2
"""Share of the demonstrations that becomes a task where no other task is given."""
LARGEST_HELD_OUT = 400


def split_rows(rows: int, *, seed: int = 0) -> tuple[list[int], list[int]]:
    """(train, held out) row numbers: a fixed random part, kept back from every run."""
    order = np.random.default_rng(seed).permutation(rows)
    kept = min(LARGEST_HELD_OUT, int(rows * HELD_OUT))
    return sorted(order[kept:].tolist()), sorted(order[:kept].tolist())


def own_task(dataset: SFTDataset, answer_regex: str | None) -> dict[str, Any]:
    """The kept-back rows of the user's data as a task: exact match of the final answer.

    Raises:
        InputError: no pattern finds an answer in them.
    """
    pairs = [_texts(dataset, example) for example in dataset if example.target_tokens]
    pattern = answer_regex or find_pattern([reference for _, reference in pairs])
    longest = max(example.target_tokens for example in dataset)
    return held_out_task(pairs, answer_pattern=pattern, max_gen_toks=longest + 16)


def find_pattern(references: Sequence[str]) -> str:
    """The known pattern that finds an answer in every reference; InputError where none does."""
    if pattern := find_answer_pattern(references):
        return pattern
    raise InputError(
        "no benchmark: the completions end in no answer of a known form; give --tasks (lm-eval names or a "
        "YAML file), or --answer_regex with one group that finds the final answer"
    )


def _texts(dataset: SFTDataset, example: Example) -> tuple[str, str]:
    """(prompt, completion) of an example, as the model reads them: the first target begins the completion."""
    first = next(i for i, label in enumerate(example.labels) if label != -100)
    decode: Callable[..., Any] = dataset.tokenizer.decode
    end = example.terminators[0] if example.terminators else len(example.input_ids)
    prompt, completion = example.input_ids[:first], example.input_ids[first:end]
    return str(decode(prompt, clean_up_tokenization_spaces=False)), str(
        decode(completion, clean_up_tokenization_spaces=False)
    )
