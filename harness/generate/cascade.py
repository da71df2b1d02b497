"""The cascade of arXiv:2509.15157 ("Mind the Gap"): targets as near to the model's own words as can be right.

To each prompt the model answers by itself; a right answer takes the place of the demonstration. Where none is
right it answers again with the demonstration in its context; a right answer takes its place. Else the
demonstration stays. Right is an answer that ends as the demonstration does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch

from advisor.data.dataset import Example, SFTDataset
from advisor.data.labels import last_target
from advisor.model.load import LoadedModel
from harness.evaluate.final_answers import compile_pattern, extract_answer
from harness.generate.hint import SHORT, ending_of, fill
from harness.generate.in_context import Wording, prompts_in_context
from harness.generate.own_answers import (
    Question,
    answer_text,
    question_of,
    sampled_answers,
    with_answer,
)
from harness.generate.turn_end import TurnEnd, turn_end_of
from harness.runtime.quiet import quiet, undisturbed


@dataclass(frozen=True, kw_only=True)
class Cascaded:
    """How many rows came by each way."""

    own: int
    """The model's unaided answer."""
    guided: int
    """Its answer with the demonstration in its context."""
    demonstration: int
    """As it was."""
    per_prompt: int
    """Answers sampled to a prompt, each way."""
    temperature: float
    """Of sampling."""

    def to_dict(self) -> dict[str, float]:
        """As plain data."""
        return asdict(self)


def cascade(
    loaded: LoadedModel,
    dataset: SFTDataset,
    *,
    pattern: str,
    per_prompt: int,
    temperature: float,
    seed: int,
) -> tuple[SFTDataset, Cascaded]:
    """The dataset with one target to every prompt, row by row, and how each came about.

    Args:
        loaded: the untouched model.
        dataset: prompts, and the answers that are held to be right.
        pattern: finds the final answer.
        per_prompt: answers to sample to each prompt, unaided and then with the demonstration; the first right
            one is taken.
        temperature: of sampling; 0 samples at 1, since greedy answers are all the same.
        seed: of sampling.
    """
    examples = {row: example for row, example in enumerate(dataset) if example.target_tokens}
    asker = _Asker(
        loaded=loaded,
        dataset=dataset,
        questions={row: question_of(example, row) for row, example in examples.items()},
        wanted=compile_pattern(pattern),
        end=turn_end_of(dataset),
        per_prompt=per_prompt,
        heat=temperature or 1.0,
    )
    longest = dataset.info.max_length
    with undisturbed(loaded.model), quiet():
        loaded.model.eval()
        torch.manual_seed(seed)
        given = asker.right({row: q.prompt for row, q in asker.questions.items()}, longest)
        context = max(loaded.context_length or 0, longest)
        left = [row for row in examples if row not in given]
        again = asker.right(
            prompts_in_context(dataset, left, _wording(asker.wanted), context), context
        )
    answers = {**given, **again}
    rows = [_with(example, answers.get(row), asker.end) for row, example in examples.items()]
    found = Cascaded(
        own=len(given),
        guided=len(again),
        demonstration=len(rows) - len(given) - len(again),
        per_prompt=per_prompt,
        temperature=asker.heat,
    )
    return dataset.answered(rows), found


@dataclass(frozen=True, kw_only=True)
class _Asker:
    """Asks the model and keeps what is right."""

    loaded: LoadedModel
    dataset: SFTDataset
    questions: Mapping[int, Question]
    """By row."""
    wanted: re.Pattern[str]
    """Finds the final answer."""
    end: TurnEnd
    """Of the dataset's turns."""
    per_prompt: int
    heat: float
    """Temperature of sampling."""

    def right(self, prompts: Mapping[int, list[int]], max_length: int) -> dict[int, list[int]]:
        """Row -> the first right answer to its prompt that leaves the row no longer than rows may be."""
        found: dict[int, list[int]] = {}
        asked = [replace(self.questions[row], prompt=prompt) for row, prompt in prompts.items()]
        if not asked:
            return found
        every = sampled_answers(
            self.loaded, asked, self.per_prompt, self.heat, max_length, self.end
        )
        for question, answers in every:
            truth = self._final(question.reference)
            if truth is None:
                continue
            own = self.questions[question.row]
            room = self.dataset.info.max_length - len(own.prompt)
            right = (a for a in answers if len(a) <= room and self._final(a) == truth)
            if (answer := next(right, None)) is not None:
                found[question.row] = answer
        return found

    def _final(self, tokens: list[int]) -> str | None:
        return extract_answer(answer_text(self.dataset, tokens, self.end), self.wanted)


def _wording(wanted: re.Pattern[str]) -> Wording:
    """The question of a chat, which shows the demonstration and how its answer ends."""

    def worded(question: str, answer: str) -> str:
        if extract_answer(answer, wanted) is None:
            return question
        return fill(SHORT, question, answer, ending_of(answer, wanted))

    return worded


def _with(example: Example, answer: list[int] | None, end: TurnEnd) -> Example:
    """The example with another last target; as it is where there is none."""
    if answer is None:
        return example
    start = last_target(example.labels)[0]
    earlier = [place for place in example.terminators if place < start]
    return with_answer(example.input_ids[:start], example.labels[:start], earlier, answer, end)
