"""`advisor confirm MODEL DATASET`: short fine-tunes of the arms, scored, and what they say.

Plans, runs what is missing, settles. Every finished run is a record, so a confirmation that was killed goes
on where it stopped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from advisor.errors import InputError
from harness.execute import Problem, execute, trial
from harness.power import minimum_detectable, spread_of_accuracy
from harness.records import Results, Run, RunSpec
from harness.study import BASE, NLL, Arm, Study, chosen_arms, next_runs, part_values


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
    detectable: float
    """Smallest difference found with 80 % power, points, if arms score 50 % and seeds differ by 3."""


@dataclass(frozen=True)
class Event:
    """A run that has finished."""

    run: Run
    """Its record."""
    done: int
    """Runs finished."""
    at_most: int
    """Runs planned."""
    seconds_left: float
    """Estimated."""


def score_base(study: Study, problem: Problem, results: Results) -> Run:
    """The run of the untouched model: from its record, or now."""
    spec = study.spec(Arm(objective=BASE), study.seeds[0])
    return results.find(spec) or _run(spec, problem, results)


def make_plan(study: Study, problem: Problem, results: Results) -> Plan:
    """Count the runs, time three steps and a few documents, and say what the size can show."""
    base = score_base(study, problem, results)
    documents = sum(len(values) for values in part_values(study, base, "test").values())
    grid = len(study.objectives) * len(study.learning_rates)
    runs = 1 + grid + len(study.objectives) * (len(study.seeds) - 1) + len(study.seeds)
    finished = len(_finished(study, results))
    return Plan(
        runs=runs,
        finished=finished,
        seconds=(runs - finished) * _seconds_of_a_run(study, problem, documents),
        documents=documents,
        detectable=100 * _detectable(study, documents),
    )


def _detectable(study: Study, documents: int) -> float:
    """Before any run: accuracies of 50 %, seeds that differ by 3 points, Holm's first step over the arms."""
    several = len(study.seeds) > 1
    spread = replace(spread_of_accuracy(0.5), seed=0.03 if several else 0.0)
    contrasts = len(study.objectives)
    return minimum_detectable(documents, len(study.seeds), spread, alpha=0.05 / contrasts)


def confirm(
    study: Study,
    problem: Problem,
    results: Results,
    plan: Plan,
    *,
    budget: float | None = None,
    on_run: Callable[[Event], None] = lambda event: None,
) -> tuple[list[Run], bool]:
    """Run what is missing, until the study is done or the budget, in seconds, is spent.

    Returns:
        The finished runs of the study, and whether it is complete.

    Raises:
        InputError: a run failed; its record is in `failed/`, and starting again goes on from there.
    """
    start = time.monotonic()
    durations: list[float] = []
    while specs := next_runs(study, _finished(study, results)):
        for spec in specs:
            expected = max(durations, default=0.0)
            if (
                budget is not None
                and time.monotonic() - start + expected > budget
                and _enough(study, results)
            ):
                return _finished(study, results), False
            run = _run(spec, problem, results)
            durations.append(run.seconds)
            done = len(_finished(study, results))
            left = (plan.runs - done) * sum(durations) / len(durations)
            on_run(Event(run, done, plan.runs, left))
    return _finished(study, results), True


def _run(spec: RunSpec, problem: Problem, results: Results) -> Run:
    run = execute(spec, problem)
    path = results.write(run)
    if run.error is not None:
        raise InputError(f"{spec.objective} failed ({run.error}); its record is {path}")
    return run


def _finished(study: Study, results: Results) -> list[Run]:
    """The finished runs that belong to a study, by what identifies its problem."""
    keys = ("model", "model_fingerprint", "dataset_fingerprint", "split", "tasks", "evaluation")
    wanted = dataclasses.asdict(study)
    return [run for run in results.runs() if all(_same(run.spec, key, wanted[key]) for key in keys)]


def _same(spec: RunSpec, key: str, value: object) -> bool:
    found = getattr(spec, key)
    return (dict(found) == dict(value)) if isinstance(value, dict) else found == value


def _enough(study: Study, results: Results) -> bool:
    """Whether the runs so far can be settled at all: the grid is complete."""
    runs = _finished(study, results)
    try:
        chosen_arms(study, runs)
    except KeyError:
        return False
    return study.spec(Arm(objective=BASE), study.seeds[0]).id in {run.spec.id for run in runs}


def _seconds_of_a_run(study: Study, problem: Problem, documents: int) -> float:
    """Estimate from a trial of a few steps and documents."""
    spec = study.spec(Arm(objective=NLL, learning_rate=study.learning_rates[0]), study.seeds[0])
    found = trial(spec, problem)
    answers = documents * (len(study.evaluation["temperatures"]) + study.evaluation["repeats"])
    steps = steps_of(study, len(problem.train))
    return float(found.loading + found.step * steps + found.answer * answers)


def steps_of(study: Study, rows: int) -> int:
    """Optimiser steps of a run."""
    training = study.training
    if int(training.get("max_steps", -1)) > 0:
        return int(training["max_steps"])
    size = int(training.get("per_device_train_batch_size", 8))
    size *= int(training.get("gradient_accumulation_steps", 1))
    return max(1, round(-(-rows // size) * float(training.get("num_train_epochs", 1))))


def default_objectives(recommended: str) -> tuple[str, ...]:
    """The arms of a confirmation: NLL, -p, the threshold, CADFT, and what was recommended."""
    return tuple(dict.fromkeys((NLL, "neg_p", "threshold", "cadft", recommended)))


def labels_of(objectives: Sequence[str]) -> tuple[str, ...]:
    """Objectives as the user typed them to labels, each once, `nll` first: aliases are one arm."""
    from advisor.objectives import get_objective

    labels = [get_objective(text).label for text in objectives]
    return tuple(dict.fromkeys((NLL, *labels)))
