"""Prompts with the row's own demonstration in their context: what a model answers that has seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from advisor.data.dataset import Example, SFTDataset
from advisor.data.edit import check_editable, question_and_answer, with_question
from advisor.data.formats import Format, detect
from advisor.data.labels import last_target
from advisor.errors import InputError
from harness.generate.decoding import prompt_of

Wording = Callable[[str, str], str]
"""(question, demonstration) -> the question to ask in its place."""


def prompts_in_context(
    dataset: SFTDataset, rows: Iterable[int], wording: Wording, max_length: int | None
) -> dict[int, list[int]]:
    """Row -> token ids of its prompt with its demonstration before the answer.

    Where prompts are turns of a chat or of instructions the question is asked in the wording given. A model
    of bare texts reads the demonstration as a row of the dataset is read, and the prompt once more after it.

    Args:
        dataset: prompts and demonstrations.
        rows: numbers of rows that have a target.
        wording: of the question.
        max_length: longest prompt, in tokens; longer ones are left out. None: any.
    """
    format = _format_of(dataset)
    if format is None:
        found = {row: _after_itself(dataset, dataset[row]) for row in rows}
    else:
        numbers = list(rows)
        raw = [dataset.raw(row) for row in numbers]
        asked = [with_question(r, format, wording(*question_and_answer(r, format))) for r in raw]
        longest = max_length or dataset.info.max_length
        read = dataset.read(asked, max_length=longest) if asked else []
        found = {
            row: prompt_of(example)
            for row, example in zip(numbers, read, strict=True)
            if example.target_tokens
        }
    return {row: ids for row, ids in found.items() if max_length is None or len(ids) < max_length}


def _format_of(dataset: SFTDataset) -> Format | None:
    """The layout in which questions can be asked anew; None where prompts are bare texts or tokens."""
    if dataset.info.template == "none":
        return None
    format = detect(dataset.info.columns, dataset.raw(0), *dataset.options.fields)
    try:
        check_editable(dataset.info.name, format, dataset.raw(0))
    except InputError:
        return None
    return format


def _after_itself(dataset: SFTDataset, example: Example) -> list[int]:
    """The row up to the end of its demonstration, then its prompt."""
    prompt = prompt_of(example)
    tokenizer: Any = dataset.tokenizer
    begins = prompt[:1] == [tokenizer.bos_token_id]  # a text begins once
    return example.input_ids[: last_target(example.labels)[1]] + prompt[begins:]
