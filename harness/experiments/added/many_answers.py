"""A cell of the grid whose test problems are answered many times, for pass@k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from advisor.model.load import LoadedModel
from harness.evaluate.lm_eval import evaluate
from harness.experiments.calibration.ledger import RunLine, pack, unpack
from harness.experiments.calibration.run import LadderBench

ANSWERS = 16
"""Sampled at temperature 1 for each test problem."""
MANY = f"test@1x{ANSWERS}"
"""Where they stand in `RunLine.answers`: those of the first problem, then of the second."""


class ManyAnswersBench(LadderBench):
    """Greedy and sampled answers as everywhere, and the test problems many times over."""

    def answers(
        self, loaded: LoadedModel, seed: int, parts: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        """By lm-eval."""
        yield from super().answers(loaded, seed, parts)
        (score,) = evaluate(
            loaded.model, loaded.tokenizer, [f"ladder_{self.cell.skill}"],
            temperature=1.0, repeats=ANSWERS, seed=seed, part="test", batch_size=400,
        )  # fmt: skip
        yield MANY, pack([value == 1.0 for values in score.values for value in values])


def many_answers(run: RunLine) -> NDArray[np.bool_]:
    """[problems, answers] whether each was right."""
    return unpack(run.answers[MANY]).reshape(-1, ANSWERS)
