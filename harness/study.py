"""What to run to settle an objective: arms, learning rates, seeds, and who is still in the race.

Pure: `next_runs(study, runs)` looks at the finished runs and says which to do next, an empty list when
there is nothing left. So a study that was killed goes on where it stopped, and never runs a thing twice.

1. The untouched base is scored.
2. Every objective runs once at every learning rate of the same grid; each keeps the rate that is best on the
   development documents at the temperature of use.
3. Each then runs on the remaining seeds, NLL also at a tenth of its rate, because a lower rate alone often
   does what another objective is credited with. Arms clearly behind after a seed get no more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError
from harness.records import Run, RunSpec
from harness.statistics import paired_difference, survivors

BASE = "base"
NLL = "nll"
OPD, FIRE = "opd", "fire"
"""Methods that need a teacher; their settings stand in parentheses after the name."""
SEED_SD = 0.1
"""Largest standard deviation over seeds that racing reckons with, in the unit of the scores (10 points)."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One thing that is compared: an objective at a learning rate, or the untouched base."""

    objective: str
    """Label in the table of objectives, of a method, or "base"."""
    learning_rate: float | None = None
    """None for the base."""
    tenth: bool = False
    """Whether it is the control at a tenth of the chosen rate."""

    @property
    def label(self) -> str:
        """How it is called in tables and plots."""
        return f"{self.objective}, lr/10" if self.tenth else self.objective


@dataclass(frozen=True, kw_only=True)
class Study:
    """A comparison of objectives on one model and dataset."""

    model: str
    """As the user typed it."""
    model_fingerprint: str
    """Of the weights."""
    dataset: str
    """As the user typed it."""
    dataset_fingerprint: str
    """Of the content."""
    objectives: tuple[str, ...]
    """Labels, also of what is no objective of the table (`methods.py`); `nll` is always among them."""
    learning_rates: tuple[float, ...]
    """The same grid for every objective."""
    seeds: tuple[int, ...]
    """Of the order of the data, the initialisation of adapters and sampling."""
    tasks: tuple[str, ...]
    """Names of lm-eval tasks; the mean over them decides."""
    temperature: float
    """Of use; decides."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of TRL's SFTConfig beyond the learning rate and the seed."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Temperatures, repeats, limits."""
    split: str | None = None
    """Of the dataset."""
    reading: Mapping[str, Any] | None = None
    """How the dataset is read, where that was said."""
    teachers: Mapping[str, Any] | None = None
    """As of `RunSpec`, of the arms that have one."""
    full: bool = False
    """Run every arm on every seed: no racing."""

    def spec(self, arm: Arm, seed: int) -> RunSpec:
        """The run of an arm with a seed."""
        return RunSpec(
            model=self.model,
            model_fingerprint=self.model_fingerprint,
            dataset=self.dataset,
            dataset_fingerprint=self.dataset_fingerprint,
            split=self.split,
            objective=arm.objective,
            learning_rate=arm.learning_rate,
            seed=seed,
            training={} if arm.objective == BASE else dict(self.training),
            tasks=self.tasks,
            evaluation=dict(self.evaluation),
            reading=self.reading,
            teachers=self.teachers if needs_teacher(arm.objective) else None,
        )

    def grid(self) -> list[RunSpec]:
        """Every objective at every learning rate, on the first seed."""
        return [
            self.spec(Arm(objective=name, learning_rate=rate), self.seeds[0])
            for name in self.objectives
            for rate in self.learning_rates
        ]

    def without(self, refused: Collection[str]) -> Study:
        """The study less some objectives."""
        return replace(self, objectives=tuple(x for x in self.objectives if x not in refused))


def needs_teacher(objective: str) -> bool:
    """Whether an arm of this label learns from a teacher."""
    return objective.partition("(")[0] in (OPD, FIRE)


def next_runs(study: Study, runs: Sequence[Run]) -> list[RunSpec]:
    """The specifications to run next; empty when the study is done."""
    done = {run.spec.id: run for run in runs}
    base = study.spec(Arm(objective=BASE), study.seeds[0])
    if missing := [spec for spec in (base, *study.grid()) if spec.id not in done]:
        return missing
    arms = [arm for arm in chosen_arms(study, runs) if arm.objective != BASE]
    for looks, seed in enumerate(study.seeds):
        racing = arms if study.full else in_the_race(study, arms, done, study.seeds[:looks])
        specs = [study.spec(arm, seed) for arm in racing]
        if missing := [spec for spec in specs if spec.id not in done]:
            return missing
    return []


def chosen_arms(study: Study, runs: Sequence[Run]) -> list[Arm]:
    """Base, each objective at its best learning rate, and NLL at a tenth of its own."""
    done = {run.spec.id: run for run in runs}
    arms = [Arm(objective=BASE)]
    for name in study.objectives:
        candidates = [Arm(objective=name, learning_rate=rate) for rate in study.learning_rates]
        best = max(
            candidates,
            key=lambda arm: part_mean(
                study, done[study.spec(arm, study.seeds[0]).id], "development"
            ),
        )
        arms.append(best)
        if name == NLL and best.learning_rate is not None:
            arms.append(Arm(objective=NLL, learning_rate=best.learning_rate / 10, tenth=True))
    return arms


def open_rates(study: Study, runs: Sequence[Run]) -> dict[str, tuple[float, ...]]:
    """By objective, its chosen learning rate and those that the development documents do not tell from it.

    The 95 % interval of a difference is wide on a hundred documents and one seed: a comparison of objectives
    that hangs on such a choice may be one of rates. Objectives whose rate is settled are left out.
    """
    done = {run.spec.id: run for run in runs}
    found = {}
    for arm in chosen_arms(study, runs):
        if arm.learning_rate is None or arm.tenth:
            continue
        scores = {
            rate: _of_all_tasks(
                study,
                done[study.spec(replace(arm, learning_rate=rate), study.seeds[0]).id],
                part="development",
            )
            for rate in study.learning_rates
        }
        best = scores.pop(arm.learning_rate)
        alike = [x for x, own in scores.items() if paired_difference(best, own).interval[0] <= 0]
        if alike:
            found[arm.objective] = (arm.learning_rate, *alike)
    return found


def steps_of(training: Mapping[str, Any], rows: int) -> int:
    """Optimiser steps of a run over so many rows, as Trainer counts them."""
    if int(training.get("max_steps", -1)) > 0:
        return int(training["max_steps"])
    size = int(training.get("per_device_train_batch_size", 8))
    size *= int(training.get("gradient_accumulation_steps", 1))
    return max(1, ceil(ceil(rows / size) * float(training.get("num_train_epochs", 1))))


def part_mean(study: Study, run: Run, part: str) -> float:
    """Mean over tasks of the score at the temperature of use on one part of the documents."""
    return float(np.mean([values.mean() for values in part_values(study, run, part).values()]))


def part_values(
    study: Study, run: Run, part: str, temperature: float | None = None
) -> dict[str, NDArray[np.float64]]:
    """Per task, [documents] scores at a temperature (of use), averaged over repeats."""
    wanted = study.temperature if temperature is None else temperature
    found = {
        score.task: np.array([np.mean(repeats) for repeats in score.values])
        for score in run.scores
        if score.part == part and score.temperature in (wanted, None)
    }
    return {task: found[task] for task in study.tasks}


def arm_scores(
    study: Study,
    arm: Arm,
    done: Mapping[str, Run],
    seeds: Sequence[int],
    temperature: float | None = None,
) -> NDArray[np.float64]:
    """[seeds, documents of all tasks] test scores; the base, which has no seed, is repeated.

    Scores of tasks of different sizes are scaled so that their mean is the mean over tasks.
    """
    used = [study.seeds[0]] * len(seeds) if arm.objective == BASE else seeds
    found = (done[study.spec(arm, seed).id] for seed in used)
    return np.array([_of_all_tasks(study, run, temperature=temperature) for run in found])


def _of_all_tasks(
    study: Study, run: Run, *, part: str = "test", temperature: float | None = None
) -> NDArray[np.float64]:
    values = list(part_values(study, run, part, temperature).values())
    each = sum(map(len, values)) / len(values)
    return np.concatenate([task * (each / len(task)) for task in values])


def same_documents(study: Study, runs: Sequence[Run]) -> None:
    """See that runs can be paired document by document.

    Raises:
        InputError: they were scored on different documents.
    """
    sets = {
        task: {score.documents for run in runs for score in run.scores
               if (score.task, score.part) == (task, "test")}
        for task in study.tasks
    }  # fmt: skip
    if mixed := [task for task, found in sets.items() if len(found) > 1]:
        raise InputError(
            f"runs were scored on different documents of {', '.join(mixed)}: give another --results folder"
        )


def in_the_race(
    study: Study, arms: Sequence[Arm], done: Mapping[str, Run], seeds: Sequence[int]
) -> list[Arm]:
    """The arms that get another seed: those not clearly behind the leader (`statistics.survivors`).

    NLL and its control always do, because the others are compared with them.
    """
    if not seeds:
        return list(arms)
    racing = {arm.label: arm for arm in arms if _has(study, arm, done, seeds)}
    kept = survivors(
        {label: arm_scores(study, arm, done, seeds) for label, arm in racing.items()},
        looks=max(1, len(study.seeds) - 1),
        seed_sd=SEED_SD,
        rivals=len(arms) - 1,
        keep=[label for label, arm in racing.items() if arm.objective == NLL],
    )
    return [racing[label] for label in kept]


def _has(study: Study, arm: Arm, done: Mapping[str, Run], seeds: Sequence[int]) -> bool:
    return all(study.spec(arm, seed).id in done for seed in seeds)
