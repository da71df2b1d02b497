"""A planned study to its verdict: the untouched model, what is missing, and what all of it says.

`harness/study/confirm.py` does the runs; whoever watches (`Watcher`) is told of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from advisor.errors import InputError
from advisor.progress import Stages, untold_stages
from harness.records.runs import Results, Run, RunSpec
from harness.study.afterwards import Afterwards, unfit
from harness.study.beginnings import folder_in, forget
from harness.study.checkpoint_folders import best_of, drop, folder_of, prune, prune_all
from harness.study.confirm import (
    Event,
    Outcome,
    Plan,
    confirm,
    finished_runs,
    make_plan,
    score_base,
)
from harness.study.continue_starts import continue_all, drop_all
from harness.study.execute import execute
from harness.study.executors import connected, executor_of
from harness.study.failures import Failure
from harness.study.problem import Problem
from harness.study.race_log import Told
from harness.study.run_race import forget_all, lease, parts_of, plan_of_race, race
from harness.study.study import Study, ending_of, in_points
from harness.study.study_options import RACE, StudyOptions
from harness.study.verdict import Verdict, settle

FEWEST = 2
"""Documents of a part with which a plan can be decided at all."""


class Watcher(Protocol):
    """Who is told what happens."""

    def start(self, spec: RunSpec) -> None:
        """A run has begun."""

    def report(self, event: Event) -> None:
        """A run has ended, or a piece of one."""

    def stand(self, told: Told) -> None:
        """Where a race stands."""


class Silent:
    """Watches and says nothing."""

    def start(self, spec: RunSpec) -> None:
        """A run has begun."""

    def report(self, event: Event) -> None:
        """A run has ended, or a piece of one."""

    def stand(self, told: Told) -> None:
        """Where a race stands."""


Watching = Callable[[Study, Sequence[Run]], AbstractContextManager[Watcher]]
"""A study and its finished runs to who watches the others."""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """What a study has come to."""

    verdict: Verdict | None
    """Who won, and by how much; None of a plan."""
    study: Study
    """Less the arms and rates that failed."""
    runs: tuple[Run, ...] = ()
    """Finished."""
    complete: bool = True
    """Whether nothing is left to run."""
    left_out: tuple[Failure, ...] = ()
    """What failed, and is neither run again nor compared."""
    parts: tuple[Run, ...] = ()
    """Of a race, the runs that were not taken to their ends."""
    afterwards: Afterwards | None = None
    """What continuing the arms has come to; None where they are not continued."""


def run_study(
    study: Study,
    problem: Problem,
    options: StudyOptions,
    *,
    margin: float | None = None,
    on_plan: Callable[[Plan, Run], None] = lambda plan, base: None,
    watching: Watching = lambda study, finished: nullcontext(Silent()),
    stages: Stages = untold_stages,
) -> Confirmed:
    """Run what is missing of a study, and settle it; started again it goes on where it stopped.

    Args:
        study: what is asked, see `plan_study`.
        problem: what its runs have in common.
        options: the budget, the executor and the folder of the records are read.
        margin: difference that does not matter, in the unit of the scores; None: one point for shares.
        on_plan: told the plan and the run of the untouched model, before any arm runs, if one is to be run.
        watching: opened around the runs.
        stages: told of the continuations of `--then`, which come last.

    Raises:
        InputError: as `confirm`.
    """
    results, began = Results(options.results), time.monotonic()
    racing = study.plan == RACE
    with ExitStack() as stack:
        if study.steps and not racing:
            stack.enter_context(_alone(study, results))
        new = results.find(study.base()) is None
        stack.enter_context(connected(options, at_once=new))
        base = score_base(study, problem, results)
        if problem.then and (reason := unfit(base)):
            raise InputError(f"--then {options.then}: {reason}: leave it out")
        if study.steps:
            _refuse_few(base)
        if racing and not in_points(base):
            raise InputError(
                "--plan race: the scores are no shares of documents: give --plan three"
            )
        plan = (
            plan_of_race(study, problem, results, base)
            if racing
            else make_plan(study, problem, results)
        )
        if ending_of(study, [base]) is None:
            on_plan(plan, base)
        finished = finished_runs(study, results)
        stack.callback(forget, study, folder_in(results.folder))
        if problem.teachers is not None:
            stack.callback(problem.teachers.free)
        watcher = stack.enter_context(watching(study, tuple(finished)))
        until = None if options.seconds is None else began + options.seconds
        budget = None if until is None else until - time.monotonic()

        def on_run(event: Event) -> None:
            _reported(event, study, finished, results, watcher, prunes=problem.then is None)

        if racing:
            outcome = race(
                study, problem, results, base,
                point_cost=options.of_a_point, until_decided=options.until == "decided",
                budget=budget, on_start=watcher.start, on_run=on_run, on_state=watcher.stand,
            )  # fmt: skip
        else:
            outcome = confirm(
                study, problem, results, plan,
                executor=executor_of(options), budget=budget,
                on_start=watcher.start, on_run=on_run,
            )  # fmt: skip
    plain = not study.steps
    afterwards = _and_then(outcome, problem, results, until, stages)
    continued = problem.then is None or (afterwards is not None and not afterwards.left)
    if outcome.complete and continued:
        _tidy(study, problem, results, outcome)
    return Confirmed(
        verdict=replace(settle(outcome.study, outcome.runs, margin=margin), afterwards=afterwards)
        if plain
        else None,
        study=outcome.study,
        runs=tuple(outcome.runs),
        complete=outcome.complete,
        left_out=outcome.left_out,
        parts=parts_of(study, results) if racing else (),
        afterwards=afterwards,
    )


@contextmanager
def _alone(study: Study, results: Results) -> Iterator[None]:
    """Refuse a plan that another process carries out: both would make every run, and remove each other's."""
    with lease(results, study.run_of(study.steps[0])) as mine:
        if not mine:
            raise InputError(
                f"{results.folder}: another process carries this plan out: wait for it, or give --plan race, "
                "whose work several processes share"
            )
        yield


def _and_then(
    outcome: Outcome, problem: Problem, results: Results, until: float | None, stages: Stages
) -> Afterwards | None:
    """What continuing the runs of a study that is at its end has come to; None where they are not."""
    if problem.then is None or not outcome.complete:
        return None
    return continue_all(outcome.study, problem, results, outcome.runs, until=until, stages=stages)


def _tidy(study: Study, problem: Problem, results: Results, outcome: Outcome) -> None:
    """Leave the checkpoint of a plan's best run on the disk, and no other."""
    if study.steps:
        _keep_the_best(study, problem, results, outcome.runs)
        forget_all(study, results, outcome.left_out)
    elif problem.then is not None:
        drop_all(results, outcome.runs)


def _refuse_few(base: Run) -> None:
    """A plan needs documents that choose, and others: see before any training that there are some."""
    for part in ("development", "test"):
        number = sum(len(score.documents) for score in base.scores if score.part == part)
        if number < FEWEST:
            raise InputError(
                f"{number} {part} document(s) are too few to choose a run by: give more rows, --tasks, or a "
                "higher --limit"
            )


def _reported(
    event: Event, study: Study, finished: list[Run], results: Results, watcher: Watcher,
    *, prunes: bool,
) -> None:  # fmt: skip
    """Tell of a run that has ended; of a plan, no checkpoint stays that cannot win any more.

    Args:
        event: what has ended.
        study: that it is of.
        finished: the runs so far; a run that has ended well is added.
        results: where checkpoints lie.
        watcher: who is told.
        prunes: whether checkpoints that cannot win go at once; not where they are starts of more.
    """
    if event.refused is None and event.run.scores:
        finished.append(event.run)
    elif event.refused is not None and study.steps:
        drop(results.folder, event.run.spec)
    if study.steps and prunes:
        prune(results.folder, study, finished)
    watcher.report(event)


def _keep_the_best(study: Study, problem: Problem, results: Results, runs: Sequence[Run]) -> None:
    """See that the best run of a plan has its checkpoint: a record of a study that kept none has not."""
    best = best_of(study, runs)
    if best is not None and not folder_of(results.folder, best.spec).is_dir():
        again = execute(best.spec, problem)
        if again.error is not None:
            raise InputError(
                f"{best.spec.arm.method}, the best run, has no checkpoint on the disk, and training it again "
                f"failed: {again.error}"
            )
    prune_all(results.folder, study, runs)
