"""A cell of the grid with what arms with targets of their own need: a form of answers, and pairs."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch

from advisor.data.dataset import SFTDataset
from harness.evaluate.final_answers import compile_pattern, extract_answer
from harness.experiments.added.many_answers import ManyAnswersBench
from harness.generate.own_answers import answer_text, example_of, question_of, sampled_answers
from harness.generate.turn_end import turn_end_of
from harness.ladder.ladder_tasks import ANSWER
from harness.runtime.quiet import quiet
from harness.study.problem import Problem

SAMPLED = 4
"""Answers to a prompt, among which a rejected one is looked for."""


class OwnTargetsBench(ManyAnswersBench):
    """Pairs are a demonstration and an answer of the untouched model that ends otherwise."""

    @cached_property
    def problem(self) -> Problem:
        """What its runs have in common."""
        return replace(super().problem, answer_pattern=ANSWER, rejected=self._rejected())

    def _rejected(self) -> SFTDataset:
        """Row by row an answer that ends unlike the demonstration, or the demonstration, which makes no pair.

        It is the first such answer of `SAMPLED`.
        """
        shown = self.demonstrations
        questions = [question_of(example, row) for row, example in enumerate(shown)]
        pattern, longest = compile_pattern(ANSWER), shown.info.max_length
        chosen, end = [question.reference for question in questions], turn_end_of(shown)
        torch.manual_seed(self.cell.seed)
        self.loaded.model.eval()
        with quiet():
            for asked, answers in sampled_answers(self.loaded, questions, SAMPLED, 1.0, longest):
                truth = extract_answer(answer_text(shown, asked.reference, end), pattern)
                said = ((a, extract_answer(answer_text(shown, a, end), pattern)) for a in answers)
                others = (answer for answer, final in said if final != truth)
                chosen[asked.row] = next(others, asked.reference)
        pairs = zip(questions, chosen, strict=True)
        return shown.answered([example_of(q.prompt, answer, end) for q, answer in pairs])
