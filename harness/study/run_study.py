"""A planned study to its verdict: the untouched model, what is missing, and what all of it says.

`harness/study/confirm.py` does the runs; whoever watches (`Watcher`) is told of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Protocol

from harness.records.runs import Results, Run, RunSpec
from harness.study.beginnings import folder_in, forget
from harness.study.confirm import Event, Plan, confirm, finished_runs, make_plan, score_base
from harness.study.executors import EXECUTORS
from harness.study.failures import Failure
from harness.study.problem import Problem
from harness.study.study import Study
from harness.study.study_options import StudyOptions
from harness.study.verdict import Verdict, settle


class Watcher(Protocol):
    """Who is told what happens."""

    def start(self, spec: RunSpec) -> None:
        """A run has begun."""

    def report(self, event: Event) -> None:
        """A run has ended."""


class Silent:
    """Watches and says nothing."""

    def start(self, spec: RunSpec) -> None:
        """A run has begun."""

    def report(self, event: Event) -> None:
        """A run has ended."""


Watching = Callable[[Study, Sequence[Run]], AbstractContextManager[Watcher]]
"""A study and its finished runs to who watches the others."""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """What a study has come to."""

    verdict: Verdict
    """Who won, and by how much."""
    study: Study
    """Less the arms and rates that failed."""
    left_out: tuple[Failure, ...] = ()
    """What failed, and is neither run again nor compared."""


def run_study(
    study: Study,
    problem: Problem,
    options: StudyOptions,
    *,
    margin: float | None = None,
    on_plan: Callable[[Plan, Run], None] = lambda plan, base: None,
    watching: Watching = lambda study, finished: nullcontext(Silent()),
) -> Confirmed:
    """Run what is missing of a study, and settle it; started again it goes on where it stopped.

    Args:
        study: what is asked, see `plan_study`.
        problem: what its runs have in common.
        options: the budget, the executor and the folder of the records are read.
        margin: difference that does not matter, in the unit of the scores; None: one point for shares.
        on_plan: told the plan and the run of the untouched model, before any arm runs.
        watching: opened around the runs.

    Raises:
        InputError: as `confirm`.
    """
    results = Results(options.results)
    plan = make_plan(study, problem, results)
    on_plan(plan, score_base(study, problem, results))
    with ExitStack() as stack:
        stack.callback(forget, study, folder_in(results.folder))
        watcher = stack.enter_context(watching(study, finished_runs(study, results)))
        outcome = confirm(
            study,
            problem,
            results,
            plan,
            executor=EXECUTORS[options.executor],
            budget=options.seconds,
            on_start=watcher.start,
            on_run=watcher.report,
        )
    verdict = settle(outcome.study, outcome.runs, margin=margin)
    return Confirmed(verdict=verdict, study=outcome.study, left_out=outcome.left_out)
