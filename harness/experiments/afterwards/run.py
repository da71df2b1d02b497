"""Fine-tune, sample, continue with GRPO and sample again: what a ledger does not have yet."""

from __future__ import annotations

import dataclasses
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel
from harness.experiments.afterwards.outcomes import LEDGER, Outcome, append, read
from harness.experiments.afterwards.plan import Start
from harness.experiments.calibration.grid import Cell
from harness.experiments.calibration.models import checkpoint
from harness.experiments.calibration.run import LadderBench, Wanted
from harness.generate.decoding import text_of
from harness.ladder.build import draw_demonstrations
from harness.ladder.ladder_tasks import ANSWER, PARTS, scored_prompts, task_rows
from harness.reinforce.grpo import reinforced
from harness.reinforce.grpo_settings import grpo_settings
from harness.reinforce.sampling import sampled
from harness.reinforce.verifier import Question, Verifier, questions_of
from harness.runtime.versions import versions
from harness.statistics.pass_at_k import SAMPLES

VERIFIER = Verifier(pattern=ANSWER)
PROBLEMS = 120
"""Test problems that are sampled; the first of the task's."""
LONGEST = 48
"""Tokens of an answer, as of the ladder's tasks."""
Rows = Sequence[dict[str, str]]


class Continuation:
    """A cell, its problems, and the prompts that it is rewarded on."""

    def __init__(self, cell: Cell, models: Path) -> None:
        self.cell = cell
        self.bench = LadderBench(cell, checkpoint(models, cell), deep=False)

    @cached_property
    def problems(self) -> list[Question]:
        """Test problems; no demonstration is among them."""
        first = PARTS["development"]
        return self._questions(task_rows(self.cell.skill)[first : first + PROBLEMS])

    @cached_property
    def prompts(self) -> list[Question]:
        """The prompts of the demonstrations, each with its right answer, whatever the demonstration says."""
        clean = dataclasses.replace(self.cell.rung, noise="none", rate=0.0)
        scored = scored_prompts(self.cell.skill)
        return self._questions(draw_demonstrations(clean, self.cell.seed, avoid=scored))

    def run(self, start: Start) -> Outcome:
        """What comes of a start of this cell."""
        times = [time.monotonic()]
        wanted = Wanted(
            objective=start.objective, learning_rate=start.learning_rate, seed=start.seed
        )
        loaded = self.bench.trained(wanted)
        times.append(time.monotonic())
        before = self._right(loaded, start.seed)
        times.append(time.monotonic())
        after: tuple[int, ...] = ()
        settings = {**grpo_settings(loaded.parameters, steps=start.steps), "seed": start.seed}
        log = []
        if start.steps:
            with tempfile.TemporaryDirectory() as folder:
                log = reinforced(loaded, self.prompts, VERIFIER, settings, folder=folder)
            times.append(time.monotonic())
            after = self._right(loaded, start.seed)
            times.append(time.monotonic())
        names = ("fine-tune", "sampling", "grpo", "sampling again")
        return Outcome(
            **dataclasses.asdict(start),
            before=before,
            after=after,
            rewards=tuple(round(entry["reward"], 4) for entry in log),
            rate=settings["learning_rate"] if log else None,
            seconds={n: round(b - a, 1) for n, (a, b) in zip(names, pairwise(times), strict=False)},
            fingerprint=self.bench.loaded.fingerprint,
            versions={name: versions()[name] for name in ("torch", "transformers", "trl")},
        )

    def _right(self, loaded: LoadedModel, seed: int) -> tuple[int, ...]:
        """Right answers of SAMPLES to every problem."""
        loaded.model.eval()
        right = np.zeros(len(self.problems), dtype=int)
        prompts = [problem.prompt for problem in self.problems]
        for number, answers in sampled(
            loaded, prompts, several=SAMPLES, longest=LONGEST, seed=seed
        ):
            texts = [text_of(loaded.tokenizer, answer) for answer in answers]
            right[number] = sum(VERIFIER(texts, [self.problems[number]] * len(texts)))
        return tuple(right.tolist())

    def _questions(self, rows: Rows) -> list[Question]:
        kept = [{name: row[name] for name in ("prompt", "completion")} for row in rows]
        return questions_of(load_dataset(kept, self.bench.loaded.tokenizer))


def carry_out(
    starts: Sequence[Start],
    cells: Sequence[Cell],
    *,
    models: Path,
    results: Path,
    on_run: Callable[[Outcome, int], None] = lambda outcome, left: None,
) -> None:
    """Do the starts that the ledger has not, in order.

    Args:
        starts: of the plan.
        cells: all that may stand in it.
        models: folder with the pretrained checkpoints.
        results: folder of the ledger.
        on_run: told what came of a start, and how many are left.

    Raises:
        InputError: a cell of the plan is unknown or has no model.
    """
    named = {cell.name: cell for cell in cells}
    done = {outcome.start for outcome in read(results)}
    todo = [start for start in starts if start not in done]
    missing = [
        start.cell for start in todo
        if start.cell not in named
        or not (checkpoint(models, named[start.cell]) / "config.json").exists()
    ]  # fmt: skip
    if missing:
        raise InputError(
            f"{missing[0]}: no model in {models}: pretrain them first, with `calibration models`"
        )
    gc.freeze()  # every training collects garbage: what has been imported so far is none
    place: Continuation | None = None
    for number, start in enumerate(todo, 1):
        if place is None or place.cell.name != start.cell:
            place = Continuation(named[start.cell], models)
        outcome = place.run(start)
        append(results / LEDGER, outcome)
        on_run(outcome, len(todo) - number)
