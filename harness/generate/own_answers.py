"""The model's own verified answers as demonstrations: sampled per training prompt, kept where they are right.

One round of ReST-EM (arXiv:2312.06585), which rejection-sampling fine-tuning (arXiv:2308.01825) and STaR
(arXiv:2203.14465) do with other filters: every distinct right answer is kept, in the model's own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch

from advisor.data.dataset import Example, SFTDataset
from advisor.data.labels import last_target
from advisor.errors import InputError
from advisor.model.load import LoadedModel
from harness.evaluate.final_answers import compile_pattern, extract_answer, find_answer_pattern
from harness.generate.decoding import (
    PROMPTS_AT_A_TIME,
    SPARE_TOKENS,
    continuations,
    prompt_of,
    stops_of,
    text_of,
)
from harness.generate.turn_end import ONE_TOKEN, TurnEnd, turn_end_of
from harness.runtime.memory import largest_that_fits
from harness.runtime.quiet import quiet, undisturbed


class ArmRefused(InputError):
    """An arm cannot be run on this problem; the others can."""


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What came of sampling."""

    prompts: int
    """Training prompts."""
    per_prompt: int
    """Answers sampled to each."""
    temperature: float
    """Of sampling."""
    right: float
    """Share of the sampled answers that are right."""
    kept: int
    """Distinct right answers: the new demonstrations."""
    covered: float
    """Share of prompts with a right answer."""

    def to_dict(self) -> dict[str, float]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt and the answer that is held to be right."""

    prompt: list[int]
    """Token ids."""
    reference: list[int]
    """Likewise, with the token that ends it."""
    row: int = 0
    """Of the dataset."""


def answers_of(dataset: SFTDataset, pattern: str | None) -> str | None:
    """The pattern that finds the final answer in every demonstration; None where no known one does."""
    if pattern:
        return pattern
    # Examples that were cut off have lost their answers.
    whole = [example for example in dataset if example.target_tokens and not example.truncated]
    questions, end = [question_of(example) for example in whole], turn_end_of(dataset)
    texts = [answer_text(dataset, question.reference, end) for question in questions]
    return find_answer_pattern(texts)


def own_answers(
    loaded: LoadedModel,
    dataset: SFTDataset,
    *,
    pattern: str,
    per_prompt: int,
    temperature: float,
    seed: int,
) -> tuple[SFTDataset, Sampled]:
    """The model's own right answers to the prompts of a dataset, as a dataset.

    Of its generation config `top_k` and `top_p` hold, as where answers are scored; nothing else does.

    Args:
        loaded: the untouched model.
        dataset: prompts, and the answers that are held to be right.
        pattern: finds the final answer.
        per_prompt: answers to sample to each.
        temperature: of sampling; 0 samples at 1, since greedy answers are all the same.
        seed: of sampling.

    Raises:
        ArmRefused: no answer is right.
    """
    heat = temperature or 1.0
    questions = [question_of(example) for example in dataset if example.target_tokens]
    wanted, end = compile_pattern(pattern), turn_end_of(dataset)
    found: list[Example] = []
    right = covered = 0
    with undisturbed(loaded.model), quiet():
        loaded.model.eval()
        torch.manual_seed(seed)
        longest = dataset.info.max_length
        for question, answers in sampled_answers(loaded, questions, per_prompt, heat, longest, end):
            truth = extract_answer(answer_text(dataset, question.reference, end), wanted)
            good = [
                answer for answer in answers
                if truth is not None and len(question.prompt) + len(answer) <= longest
                and extract_answer(answer_text(dataset, answer, end), wanted) == truth
            ]  # fmt: skip
            right, covered = right + len(good), covered + bool(good)
            found += [
                example_of(question.prompt, list(answer), end)
                for answer in dict.fromkeys(map(tuple, good))
            ]
    sampled = Sampled(
        prompts=len(questions),
        per_prompt=per_prompt,
        temperature=heat,
        right=right / max(1, len(questions) * per_prompt),
        kept=len(found),
        covered=covered / max(1, len(questions)),
    )
    if not found:
        raise ArmRefused(
            f"none of the untouched model's {per_prompt} answers to each of {len(questions)} prompts is "
            "right: there is nothing of its own to train on"
        )
    return dataset.answered(found), sampled


def question_of(example: Example, row: int = 0) -> Question:
    """The last target of an example and what precedes it."""
    reference = example.input_ids[slice(*last_target(example.labels))]
    return Question(prompt=prompt_of(example), reference=reference, row=row)


def answer_text(dataset: SFTDataset, tokens: Sequence[int], end: TurnEnd) -> str:
    """An answer as text, less special tokens and what ends the turn."""
    return end.cut_off(text_of(dataset.tokenizer, tokens))


def example_of(prompt: list[int], answer: list[int], end: TurnEnd) -> Example:
    """A row whose target is an answer to a prompt, both as token ids; the answer ends a turn."""
    return with_answer(prompt, [-100] * len(prompt), (), answer, end)


def with_answer(
    before: list[int],
    labels: list[int],
    terminators: Sequence[int],
    answer: list[int],
    end: TurnEnd,
) -> Example:
    """What stands before an answer, with its labels and terminators, and the answer, which ends a turn."""
    ids = before + answer
    # One token of another kind, where the model ends as it did before
    last = range(len(ids) - max(1, end.length(answer)), len(ids))
    return Example(
        input_ids=ids,
        labels=labels + answer,
        terminators=(*terminators, *last),
        truncated=False,
    )


def sampled_answers(
    loaded: LoadedModel,
    questions: Sequence[Question],
    per_prompt: int,
    temperature: float,
    max_length: int,
    end: TurnEnd = ONE_TOKEN,
) -> Iterator[tuple[Question, list[list[int]]]]:
    """Every question with its finished answers; questions of like length are read together.

    Args:
        loaded: in eval mode.
        questions: one or more.
        per_prompt: answers to sample to each.
        temperature: of sampling.
        max_length: of prompt and answer together, in tokens, without the rest of a terminator.
        end: of the turns; sampling stops within a terminator of several tokens, whose rest is added here.
    """
    order = sorted(questions, key=lambda question: len(question.prompt))
    longest = SPARE_TOKENS + max(len(question.reference) for question in questions)
    size, start = PROMPTS_AT_A_TIME, 0
    while start < len(order):

        def answered(size: int, start: int = start) -> tuple[int, list[list[list[int]]]]:
            prompts = [question.prompt for question in order[start : start + size]]
            rooms = [max(1, min(longest, max_length - len(prompt))) for prompt in prompts]
            return size, _generate(loaded, prompts, per_prompt, temperature, rooms)

        size, answers = largest_that_fits(answered, size, "prompts")
        for question, group in zip(order[start : start + size], answers, strict=True):
            yield question, [end.completed(answer) for answer in group]
        start += size


def _generate(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    several: int,
    temperature: float,
    lengths: Sequence[int],
) -> list[list[list[int]]]:
    """Per prompt, its answers that came to an end, with the token that ends them."""
    model, tokenizer = loaded.model, loaded.tokenizer
    stops = stops_of(model, tokenizer)
    config = model.generation_config
    answers = continuations(
        model,
        prompts,
        stops,
        max_new_tokens=lengths,
        pad_token_id=tokenizer.pad_token_id,
        num_return_sequences=several,
        do_sample=True,
        temperature=temperature,
        # As its answers are scored (`evaluate`): within the nucleus of its own config, if it has one
        top_k=config.top_k or 0,
        top_p=1.0 if config.top_p is None else config.top_p,
    )
    grouped = (answers[i : i + several] for i in range(0, len(answers), several))
    return [[answer for answer in group if answer[-1] in stops] for group in grouped]
