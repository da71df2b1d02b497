"""The continuations of a study's runs: load a start, sample it, GRPO, sample it again, and the record of it.

A continuation that has ended, well or not, is not repeated; one that was killed, or that --run_limit, the
machine or the user's scorer ended, begins anew from its start. None of them takes the others, or what the
study has found, with it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from advisor.errors import InputError, TrainingDiverged
from advisor.model.load import LoadedModel, load_model
from advisor.model.out_of_memory import is_out_of_memory
from advisor.progress import Stages, untold_stages
from harness.evaluate.user_scorer import ScorerFailed
from harness.generate.decoding import stop_where_turns_end
from harness.generate.turn_end import turn_end_of
from harness.records.arm import BASE
from harness.records.runs import Look, Results, Run, RunSpec, Score, as_kept
from harness.reinforce.grpo import reinforced
from harness.reinforce.grpo_settings import GROUP, PROMPTS, Then
from harness.reinforce.verifier import questions_of
from harness.runtime.environment import Environment
from harness.runtime.memory import largest_that_fits
from harness.runtime.quiet import quiet
from harness.runtime.time_limit import TookTooLong, at_most
from harness.study.afterwards import Afterwards, afterwards_of, continuation, starts_of
from harness.study.checkpoint_folders import drop, folder_of
from harness.study.execute import failed, score_part
from harness.study.failures import MachineFault, blamed, in_one_line, read_before
from harness.study.fit_arm import fit
from harness.study.problem import Problem
from harness.study.study import Study

BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A run, and what is needed to continue it."""

    spec: RunSpec
    """Of the run."""
    problem: Problem
    """Of its study."""
    results: Results
    """Where its checkpoint may lie."""

    def load(self) -> LoadedModel:
        """The start: from its checkpoint, or trained again where there is none."""
        folder = folder_of(self.results.folder, self.spec)
        if self.spec.arm.objective == BASE or not folder.is_dir():
            return fit(self.spec, self.problem)[0]
        loading = {k: v for k, v in self.problem.loading.items() if k != "revision"}
        with quiet(), read_before():
            loaded = load_model(str(folder.resolve()), **loading)
        stop_where_turns_end(loaded, self.problem.train)
        return loaded


def continue_all(
    study: Study,
    problem: Problem,
    results: Results,
    runs: Sequence[Run],
    *,
    until: float | None = None,
    stages: Stages = untold_stages,
) -> Afterwards | None:
    """Continue every start that is not continued yet, and what all of them have come to.

    Args:
        study: that is done.
        problem: of it; says what they are continued with.
        results: folder of the records.
        runs: finished ones.
        until: no continuation is begun after this time, `time.monotonic()`; None: all are.
        stages: told the starts, and how far each is.

    Raises:
        InputError: the folder cannot be written.
    """
    assert problem.then is not None
    starts = starts_of(study, runs)
    found, again = [], []
    for number, spec in enumerate(starts, 1):
        start = Start(spec=spec, problem=problem, results=results)
        todo = continuation(spec, problem.then)
        ended = results.find_afterwards(todo)
        if ended is None and (until is None or time.monotonic() < until):
            title = f"{number} of {len(starts)}: GRPO from {spec.arm.label}, seed {spec.seed}"
            ended, for_good = _tried(start, todo, problem.then, title, stages)
            if not for_good:
                again.append(ended)
                continue
            results.write_afterwards(ended)
        if ended is not None:
            found.append(ended)
    return afterwards_of(study, runs, found, again=again)


def drop_all(results: Results, runs: Sequence[Run]) -> None:
    """Delete the checkpoints of runs that were kept as starts alone."""
    for run in runs:
        drop(results.folder, run.spec)


def _tried(start: Start, spec: RunSpec, then: Then, title: str, stages: Stages) -> tuple[Run, bool]:
    """The record of a continuation, and whether it is one for good: else it may go well the next time."""
    try:
        with at_most(start.problem.limit, title):
            return as_kept(_continued(start, spec, then, title, stages)), True
    except (Exception, TookTooLong) as error:  # of a model, a trainer or a scorer: anything
        failure = blamed(error)
    fleeting = isinstance(failure, MachineFault | TookTooLong | ScorerFailed)
    record = failed(spec, start.problem, in_one_line(failure))
    return record, not (fleeting or is_out_of_memory(failure))


def _continued(start: Start, spec: RunSpec, then: Then, title: str, stages: Stages) -> Run:
    """The record of a continuation; a training that diverges is one that has failed."""
    began, questions = time.monotonic(), questions_of(start.problem.train)
    loaded = start.load()
    before = _sampled(spec, start.problem, loaded, f"{title}, answers before", stages)
    environment = Environment.here(device=loaded.device, dtype=loaded.dtype)
    del loaded
    on_progress = stages(f"{title}, steps")

    def attempt(size: int) -> tuple[LoadedModel, list[dict[str, float]]]:
        fresh = start.load()
        sizes = {BATCH: size, ACCUMULATION: GROUP * PROMPTS // size}
        settings = {**then.settings, **sizes, "seed": spec.seed}
        with tempfile.TemporaryDirectory() as folder:
            log = reinforced(
                fresh, questions, then.verifier, settings,
                folder=folder, turn_end=turn_end_of(start.problem.train), on_progress=on_progress,
            )  # fmt: skip
        return fresh, log

    record = replace(
        failed(spec, start.problem, "", environment),
        prior=None,
        curve=(Look(share=0.0, scores=tuple(before)),),
    )
    try:
        tuned, log = largest_that_fits(attempt, GROUP * PROMPTS, "answers")
    except TrainingDiverged as error:
        return replace(record, seconds=time.monotonic() - began, error=in_one_line(error))
    after = _sampled(spec, start.problem, tuned, f"{title}, answers after", stages)
    return replace(
        record,
        steps=tuple(log),
        scores=tuple(after),
        seconds=time.monotonic() - began,
        tokens=int(log[-1].get("num_tokens", 0)) if log else 0,
        error=None,
    )


def _sampled(
    spec: RunSpec, problem: Problem, loaded: LoadedModel, title: str, stages: Stages
) -> list[Score]:
    """Several answers to every test document."""
    on_progress = stages(title)
    on_progress(0, 1)
    asked = spec.evaluation
    scores = score_part(
        spec, problem, loaded, part="test", temperature=asked["temperature"],
        repeats=asked["repeats"], generated_only=True,
    )  # fmt: skip
    if not scores:
        raise InputError("--then grpo: no task generates answers")
    on_progress(1, 1)
    return scores
