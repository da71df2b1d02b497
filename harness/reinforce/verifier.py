"""What an answer to a training prompt is worth: by its final answer, or by the word of the user's scorer.

The same comparison as of documents that are scored (`harness.evaluate`), on prompts that are trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advisor.data.dataset import Example, SFTDataset
from advisor.data.labels import last_target
from harness.evaluate.final_answers import compile_pattern, extract_answer
from harness.evaluate.user_scorer import Scorer
from harness.generate.decoding import prompt_of, text_of
from harness.generate.turn_end import TurnEnd, turn_end_of


@dataclass(frozen=True, kw_only=True)
class Question:
    """A training prompt and what its answer is held against."""

    prompt: list[int]
    """Token ids."""
    text: str
    """Of the prompt, without special tokens."""
    reference: str
    """The demonstration's completion, without the text that ends its turn."""


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """Worth of answers, from 0 to 1; one of both is given."""

    pattern: str | None = None
    """Finds the final answer in a reference and in an answer: 1 where both are the same, else 0."""
    scorer: Scorer | None = None
    """The user's own, which goes before a pattern."""

    def __call__(self, answers: Sequence[str], questions: Sequence[Question]) -> list[float]:
        """One number an answer.

        Raises:
            ScorerFailed: as of `Scorer.score`.
        """
        references = [question.reference for question in questions]
        if self.scorer is not None:
            return self.scorer.score(answers, references, [one.text for one in questions])
        wanted = compile_pattern(self.pattern or "")
        return [
            float((truth := extract_answer(reference, wanted)) is not None
                  and extract_answer(answer, wanted) == truth)
            for answer, reference in zip(answers, references, strict=True)
        ]  # fmt: skip


def questions_of(dataset: SFTDataset) -> list[Question]:
    """The rows of a dataset that have an answer which was not cut off, in order."""
    end = turn_end_of(dataset)
    return [
        _question(dataset, example, end)
        for example in dataset
        if example.target_tokens and not example.truncated
    ]


def _question(dataset: SFTDataset, example: Example, end: TurnEnd) -> Question:
    prompt = prompt_of(example)
    reference = example.input_ids[slice(*last_target(example.answers))]
    return Question(
        prompt=prompt,
        text=text_of(dataset.tokenizer, prompt),
        reference=end.cut_off(text_of(dataset.tokenizer, reference)),
    )
