"""`advisor confirm MODEL DATASET`: short fine-tunes of the arms, scored, and what they say.

Plans, runs what is missing, settles. Every finished run is a record, so a confirmation that was killed goes
on where it stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from advisor.errors import InputError, TrainingDiverged
from harness.records.arm import BASE, NLL, arm_of, needs_teacher
from harness.records.runs import Results, Run, RunSpec, as_kept
from harness.statistics.power import minimum_detectable, spread_of_accuracy
from harness.study.beginnings import folder_in
from harness.study.execute import execute, name_of, trial
from harness.study.executors import Executor, one_by_one, sharing
from harness.study.failures import (
    Failure,
    blamed,
    failure_of,
    in_one_line,
    is_out,
    known_failures,
    without,
)
from harness.study.from_records import belongs
from harness.study.problem import Problem
from harness.study.study import Study, in_points, next_runs, part_values, steps_of
from harness.study.teachers_due import teachers_due

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a confirmation will do, before it does it."""

    runs: int
    """At most, the base included; racing may spare some."""
    finished: int
    """Runs whose records are there already."""
    seconds: float
    """Estimated, for the runs that are left."""
    documents: int
    """Test documents over all tasks."""
    detectable: float | None
    """Smallest difference found with 80 % power, points, if arms score 50 % and the seeds of each differ by
    3 (standard deviation); None where scores are no shares, whose spread is not known before."""


@dataclass(frozen=True)
class Event:
    """A run that has ended."""

    run: Run
    """Its record."""
    done: int
    """Runs finished."""
    at_most: int
    """Runs planned."""
    seconds_left: float
    """Estimated."""
    refused: str | None = None
    """Why the arm cannot be run, or failed: the study goes on without it."""
    whole: bool = True
    """Whether it is out at every learning rate."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a confirmation has come to."""

    study: Study
    """Less the arms and rates that failed."""
    runs: list[Run]
    """Finished."""
    complete: bool
    """Whether nothing is left to run."""
    left_out: tuple[Failure, ...] = ()
    """What failed, and is neither run again nor compared."""


def score_base(study: Study, problem: Problem, results: Results) -> Run:
    """The run of the untouched model: from its record, or now."""
    spec = study.base()
    if (found := results.find(spec)) is not None:
        return found
    run = as_kept(
        replace(execute(spec, problem), planned=study.planned(later_than(results.runs())))
    )
    keep(run, results)
    return run


def make_plan(study: Study, problem: Problem, results: Results) -> Plan:
    """Count the runs, time three steps and a few documents, and say what the size can show.

    Started again, nothing is timed: the runs that have ended say how long one takes.
    """
    base = score_base(study, problem, results)
    before = {run.spec.id: run for run in finished_runs(study, results)}
    study = without(study, known(study, results, before).values())
    sizes = [len(values) for values in part_values(study, base, "test").values()]
    documents = sum(sizes)
    guards = sum(len(score.documents) for score in base.guards)
    runs = 1 + len(study.grid()) + (len(study.needed()) if study.steps else _of_seeds(study))
    done = list(before.values())
    left = runs - len(done) if next_runs(study, done) else 0
    return Plan(
        runs=runs,
        finished=len(done),
        seconds=left * _seconds_of_a_run(study, problem, documents, guards, done) if left else 0.0,
        documents=documents,
        detectable=100 * _detectable(study, sizes) if in_points(base) else None,
    )


def _of_seeds(study: Study) -> int:
    """Runs on further seeds, at most, and those of NLL at a tenth."""
    return len(study.objectives) * (len(study.seeds) - 1) + len(study.seeds)


def _detectable(study: Study, sizes: Sequence[int]) -> float:
    """Before any run: accuracies of 50 %, seeds of an arm 3 points apart, Holm's first step over the arms.

    A mean over tasks errs as one over as many documents as their harmonic mean, times the tasks.
    """
    documents = max(2, round(len(sizes) ** 2 / sum(1 / size for size in sizes)))
    spread = spread_of_accuracy(0.5, seed_sd=0.03 if len(study.seeds) > 1 else 0.0)
    contrasts = len(study.objectives)
    return minimum_detectable(documents, len(study.seeds), spread, alpha=0.05 / contrasts)


def confirm(
    study: Study,
    problem: Problem,
    results: Results,
    plan: Plan,
    *,
    executor: Executor = one_by_one,
    budget: float | None = None,
    on_start: Callable[[RunSpec], None] = lambda spec: None,
    on_run: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Run what is missing, until the study is done; no run is begun once the budget, in seconds, is spent.

    Enough to say something is run in any case, see `_enough`.

    Raises:
        InputError: NLL failed at every rate, or the machine is at fault: starting again goes on from there.
    """
    start = time.monotonic()
    before = results.runs()
    done = {run.spec.id: run for run in _asked_for(study, before)}
    found, spent = len(done), False
    planned = study.planned(later_than(before))
    failures = known(study, results, done)
    rest = without(study, failures.values())

    def due(specs: Iterable[RunSpec]) -> Iterator[RunSpec]:
        nonlocal spent
        for spec in specs:
            late = budget is not None and time.monotonic() - start > budget
            if spent := late and _enough(rest, done):
                return
            if not is_out(spec, failures) and _still_due(rest, spec, done):
                on_start(spec)
                yield spec

    while not spent and (specs := next_runs(rest, list(done.values()))):
        for ended in sharing(executor, specs, folder_in(results.folder))(due(specs), problem):
            run = as_kept(replace(ended, planned=planned))
            failure = keep(run, results)
            if failure is None:
                done[run.spec.id] = run
            else:
                failures[run.spec.id] = failure
            if problem.teachers and not teachers_due(without(study, failures.values()), done):
                problem.teachers.free()
            each = (time.monotonic() - start) / max(1, len(done) - found)
            left = (plan.runs - len(done)) * each
            reason = failure.reason if failure else None
            whole = failure is None or failure.learning_rate is None
            on_run(Event(run, len(done), plan.runs, left, reason, whole))
        rest = without(study, failures.values())
    runs, left_out = list(done.values()), tuple(failures.values())
    return Outcome(study=rest, runs=runs, complete=not spent, left_out=left_out)


def later_than(runs: Iterable[Run]) -> float:
    """Now, in seconds since 1970, but after the plans of all runs, also where the clock was set back.

    The last plan is the one that counts.
    """
    last = max((float(run.planned["at"]) for run in runs if run.planned), default=0.0)
    return round(max(time.time(), last + 0.001), 3)


def _still_due(study: Study, spec: RunSpec, done: Mapping[str, Run]) -> bool:
    """Whether a run is still asked for: of a plan the runs before it may have made it needless."""
    return not study.steps or spec in next_runs(study, list(done.values()))


def keep(run: Run, results: Results) -> Failure | None:
    """Write a run; what is out because of it, if it failed; InputError where that ends the study."""
    path = results.write(run)
    try:
        return failure_of(run)
    except InputError as error:
        raise InputError(f"{error}; its record is {path}") from None


def known(study: Study, results: Results, done: Mapping[str, Run]) -> dict[str, Failure]:
    """Runs of a study that failed before and would only fail again, by id."""
    return {
        spec.id: replace(
            failure, reason=f"{failure.reason} (as recorded in {results.folder}/failed)"
        )
        for spec, failure in known_failures(results, done)
        if _could_ask(study, spec) and belongs(spec, study)
    }


def finished_runs(study: Study, results: Results) -> list[Run]:
    """The finished runs that a study could ask for: not those of other grids or seeds in the folder."""
    return _asked_for(study, results.runs())


def _asked_for(study: Study, runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if _could_ask(study, run.spec) and belongs(run.spec, study)]


def _could_ask(study: Study, spec: RunSpec) -> bool:
    """Whether objective, rate and seed are among a study's; of NLL also a tenth of each rate."""
    if spec.seed not in study.seeds:
        return False
    if spec.arm.objective == BASE:
        return True
    if study.steps:
        return spec.arm.learning_rate in study.rates_of(spec.arm.method)
    rates = set(study.learning_rates)
    if spec.arm.method == NLL:
        rates |= {rate / 10 for rate in rates}  # as `chosen_arms` does
    return spec.arm.method in study.objectives and spec.arm.learning_rate in rates


def _enough(study: Study, done: Mapping[str, Run]) -> bool:
    """Whether the runs so far can be settled at all: the grid is complete, of a plan one run is."""
    if study.steps:
        return study.base().id in done and len(done) > 1
    return all(spec.id in done for spec in (study.base(), *study.grid()))


def seconds_of_parts(study: Study, problem: Problem) -> tuple[float, float]:
    """Seconds of loading and all steps of a run, and of one answer, from a trial of a plan's first arm.

    Where that diverges, of the next.

    Raises:
        InputError: none can be tried.
    """
    for spec in map(study.run_of, study.steps):
        try:
            found = trial(spec, problem)
        except TrainingDiverged as error:
            logger.debug("no trial of %s: %s", name_of(spec), error)
            continue
        except InputError:
            raise
        except Exception as error:  # of a model, a trainer or a task: anything
            reason = in_one_line(blamed(error))
            raise InputError(f"a trial of {name_of(spec)} failed ({reason})") from error
        steps = steps_of(study.training, len(problem.train))
        return found.loading + found.step * steps, found.answer
    raise InputError(f"--plan {study.plan}: every run of it diverges within a few steps")


def _seconds_of_a_run(
    study: Study, problem: Problem, documents: int, guards: int, done: Sequence[Run]
) -> float:
    """From the runs that have ended; before the first has, from a trial of a few steps and documents.

    The trial gives the mean over arms with and without a teacher.

    0 where none of them can be tried: what is wrong with an arm is said when its turn comes.
    """
    if ended := [run.seconds for run in done if run.spec.arm.objective != BASE]:
        return fmean(ended)
    of_tasks = len(study.evaluation["temperatures"]) + study.evaluation["repeats"]
    answers = documents * of_tasks + guards
    steps = steps_of(study.training, len(problem.train))
    seconds = {}
    for name in sorted(study.objectives, key=lambda name: name != NLL):
        arm = arm_of(name, learning_rate=study.learning_rates[0])
        if (kind := needs_teacher(arm)) not in seconds:
            try:
                found = trial(study.spec(arm, study.seeds[0]), problem)
            except Exception as error:
                logger.debug("no trial of %s: %s", name, error)
                continue
            seconds[kind] = found.loading + found.step * steps + found.answer * answers
    kinds = (needs_teacher(arm_of(name)) for name in study.objectives)
    known = [seconds[kind] for kind in kinds if kind in seconds]
    return fmean(known) if known else 0.0
