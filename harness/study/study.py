"""What to run to settle an objective: arms, learning rates, seeds, and who is still in the race.

Pure: `next_runs(study, runs)` looks at the finished runs and says which to do next, an empty list when
there is nothing left. So a study that was killed goes on where it stopped, and never runs a thing twice.
A rate that failed (`Study.out`) is not planned again: its arm goes on at the others, or is left out.

1. The untouched base is scored.
2. Every objective runs once at every learning rate of the same grid; each keeps the rate that is best on the
   development documents at the temperature of use.
3. Each then runs on the remaining seeds, NLL also at a tenth of its rate, because a lower rate alone often
   does what another objective is credited with. Arms clearly behind after a seed get no more.

A study that has `steps` is a plan instead: exactly those runs, on one seed, some of them only where the best
before them scores too little. It ends early where the task cannot tell its runs apart (`ending_of`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError
from advisor.objectives.schedules import THEN
from harness.records.arm import BASE, NLL, TENTH, Arm, arm_of, needs_teacher
from harness.records.metrics import SHARE
from harness.records.runs import Run, RunSpec, Score
from harness.statistics.paired import paired_difference, survivors, task_weights
from harness.statistics.telling import Ending, at_floor, ending
from harness.study.contrasts import Sheet
from harness.study.study_options import RACE

SEED_SD = 0.1
"""Largest standard deviation over seeds that racing reckons with, in the unit of the scores (10 points)."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A run of a plan."""

    method: str
    """As `Arm.method` spells it."""
    learning_rate: float
    """Peak of the schedule."""
    below: float | None = None
    """Made where the best run before it scores below this on development documents, points; None: always."""


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
    """As `Arm.method` spells them, also what is no objective of the table (`methods.py`)."""
    learning_rates: tuple[float, ...]
    """The same grid for every objective."""
    seeds: tuple[int, ...]
    """Of the order of the data, the initialisation of adapters and sampling."""
    tasks: tuple[str, ...]
    """Names of lm-eval tasks; the mean over them decides."""
    temperature: float
    """Of use; decides."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of TRL's SFTConfig beyond the learning rate and the seed, as records have them."""
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
    steps: tuple[Step, ...] = ()
    """The runs of a plan, in place of every objective at every rate."""
    plan: str | None = None
    """Name of the plan; None where there are no steps."""
    first_share: int = 0
    """Of a race, place of the first share whose score may end an arm: short runs mislead where the task is
    not that of the demonstrations (arXiv:2604.06628)."""
    out: frozenset[tuple[str, float]] = frozenset()
    """Method and learning rate whose run failed: neither planned nor chosen (see `failures`)."""
    left_out: tuple[str, ...] = ()
    """What is said of the arms and rates that are not part of it, a sentence each."""

    @property
    def guards(self) -> tuple[str, ...]:
        """Names of the tasks that are scored to see what is forgotten."""
        return tuple(self.evaluation.get("guards", ()))

    def planned(self, at: float) -> dict[str, Any]:
        """What a record keeps of the plan that its run is part of; the last one counts.

        Args:
            at: when it was made, seconds since 1970.
        """
        return {
            "at": at,
            "objectives": list(self.objectives),
            "learning_rates": list(self.learning_rates),
            "seeds": list(self.seeds),
            "full": self.full,
            **self._planned_steps(),
        }

    def _planned_steps(self) -> dict[str, Any]:
        if not self.steps:
            return {}
        return {"plan": self.plan, "steps": [asdict(step) for step in self.steps]}

    def spec(self, arm: Arm, seed: int) -> RunSpec:
        """The run of an arm with a seed."""
        return RunSpec(
            model=self.model,
            model_fingerprint=self.model_fingerprint,
            dataset=self.dataset,
            dataset_fingerprint=self.dataset_fingerprint,
            split=self.split,
            arm=replace(arm, decoding=None),
            seed=seed,
            training={} if arm.objective == BASE else self.training,
            tasks=self.tasks,
            evaluation=dict(self.evaluation),
            reading=self.reading,
            teachers=self.teachers if needs_teacher(arm) else None,
        )

    def base(self) -> RunSpec:
        """The run of the untouched model."""
        return self.spec(Arm(objective=BASE), self.seeds[0])

    def grid(self) -> list[RunSpec]:
        """Every objective at every learning rate, on the first seed, less what failed; of a plan, its runs.

        Without those that are made only where they are needed.
        """
        if self.steps:
            return [
                self.run_of(step) for step in self.steps if step.below is None and self._is_in(step)
            ]
        return [
            self.spec(arm_of(method, learning_rate=rate), self.seeds[0])
            for method in self.objectives
            for rate in self.rates_of(method)
        ]

    def rates_of(self, objective: str) -> tuple[float, ...]:
        """The grid of an objective, less the rates at which it failed."""
        rates = self.learning_rates
        if self.steps:
            rates = tuple(step.learning_rate for step in self.steps if step.method == objective)
        return tuple(rate for rate in rates if (objective, rate) not in self.out)

    def run_of(self, step: Step) -> RunSpec:
        """The run of a step."""
        return self.spec(arm_of(step.method, learning_rate=step.learning_rate), self.seeds[0])

    def needed(self) -> list[tuple[RunSpec, float]]:
        """The runs of a plan that are made only where the best before them scores below so many points."""
        return [
            (self.run_of(step), step.below)
            for step in self.steps
            if step.below is not None and self._is_in(step)
        ]

    def of_steps(self) -> list[RunSpec]:
        """All runs of a plan, those that may not be needed last."""
        return [*self.grid(), *(spec for spec, _ in self.needed())]

    def _is_in(self, step: Step) -> bool:
        return step.method in self.objectives and (step.method, step.learning_rate) not in self.out

    def without_rates(self, failed: Collection[tuple[str, float]]) -> Study:
        """The study less some objectives at some rates, and less those with no rate left."""
        rest = replace(self, out=self.out | frozenset(failed))
        return rest.without([name for name in self.objectives if not rest.rates_of(name)])

    def without(self, refused: Collection[str]) -> Study:
        """The study less some objectives."""
        return replace(self, objectives=tuple(x for x in self.objectives if x not in refused))


def next_runs(study: Study, runs: Sequence[Run]) -> list[RunSpec]:
    """The specifications to run next; empty when the study is done."""
    done = {run.spec.id: run for run in runs}
    if study.steps and study.base().id in done:
        if ending_of(study, runs) is not None:
            return []
        if _nothing_right(study, done):
            return [s for s in study.of_steps() if s.arm.method == NLL and s.id not in done][:1]
    if missing := [spec for spec in (study.base(), *study.grid()) if spec.id not in done]:
        return _in_order(missing)
    if study.steps:
        return _if_needed(study, done)
    arms = [arm for arm in chosen_arms(study, runs) if arm.objective != BASE]
    for looks, seed in enumerate(study.seeds):
        racing = arms if study.full else in_the_race(study, arms, done, study.seeds[:looks])
        specs = [study.spec(arm, seed) for arm in racing]
        if missing := [spec for spec in specs if spec.id not in done]:
            return _in_order(missing)
    return []


def _if_needed(study: Study, done: Mapping[str, Run]) -> list[RunSpec]:
    """The next run of a plan that is made because the best so far scores too little, if there is one."""
    for spec, below in study.needed():
        if spec.id not in done and _best_of(study, done) < below:
            return [spec]
    return []


def _best_of(study: Study, done: Mapping[str, Run]) -> float:
    """The best run of a plan so far on development documents, points; below all where it is no share."""
    found = [done[spec.id] for spec in study.of_steps() if spec.id in done]
    if any(not in_points(run) for run in found):
        return float("-inf")
    return max((100 * part_mean(study, run, "development") for run in found), default=float("-inf"))


def in_points(run: Run) -> bool:
    """Whether a run's scores are shares, which are shown as points."""
    return bool(board_unit(run.scores)["unit"] == "points")


def ending_of(study: Study, runs: Sequence[Run]) -> Ending | None:
    """Why no further run of a plan would be told from those so far; None where one may be.

    Where scores are no shares, or smaller ones are better, nothing is known before. A race reckons by itself
    with what its runs have not told: only the untouched model counts.
    """
    of_race = study.plan == RACE
    done = {run.spec.id: run for run in runs if not of_race or run.spec.arm.objective == BASE}
    if not study.steps or study.base().id not in done:
        return None
    values = _values_so_far(study, done)
    if not values:
        return None
    return ending(
        values[0],
        values[1:],
        sizes=all_sizes(study, done[study.base().id]),
        generated=any(s.temperature is not None for s in done[study.base().id].scores),
        learnt=not any(s.arm.method == NLL and s.id not in done for s in study.of_steps()),
    )


def _nothing_right(study: Study, done: Mapping[str, Run]) -> bool:
    """Whether base and fine-tunes of a plan, of which there is one at least, are all at the floor."""
    values = _values_so_far(study, done)
    return len(values) > 1 and at_floor(values)


def _values_so_far(study: Study, done: Mapping[str, Run]) -> list[NDArray[np.float64]]:
    """[development and test documents] of the base and of every fine-tune of a plan; empty if no shares."""
    runs = [done[spec.id] for spec in (study.base(), *study.of_steps()) if spec.id in done]
    units = board_unit([score for run in runs for score in run.scores])
    values = [all_values(study, run) for run in runs]
    alike = len({found.size for found in values}) == 1
    return values if alike and units["unit"] == "points" and units["higher_is_better"] else []


def all_values(study: Study, run: Run) -> NDArray[np.float64]:
    """[development and test documents of all tasks] scores at the temperature of use; larger is better.

    Times `task_weights`, so that their mean is the one that decides.
    """
    found = _of_both_parts(study, run)
    return np.concatenate(found) * task_weights([len(values) for values in found])


def all_sizes(study: Study, run: Run) -> list[int]:
    """Development and test documents of each task."""
    return [len(values) for values in _of_both_parts(study, run)]


def _of_both_parts(study: Study, run: Run) -> list[NDArray[np.float64]]:
    """Of each task [development and test documents]."""
    parts = [part_scores(study, run, part) for part in ("development", "test")]
    found = ([part[task].oriented for part in parts if task in part] for task in study.tasks)
    return [np.concatenate(scores) for scores in found if scores]


def _in_order(specs: list[RunSpec]) -> list[RunSpec]:
    """Where arms begin as another one: rate by rate and those last, so that few beginnings wait for them."""
    if not any(THEN in spec.arm.objective for spec in specs):
        return specs
    return sorted(specs, key=lambda s: (s.arm.learning_rate or 0.0, THEN in s.arm.objective))


def chosen_arms(study: Study, runs: Sequence[Run]) -> list[Arm]:
    """Base, each objective at its best learning rate, NLL at a tenth of its own; first seed, any that ran.

    Rates are compared on the development documents, the lower of two alike is kept: a choice must not
    depend on the order in which rates were typed. Without development documents each rate is an arm.
    """
    done = {run.spec.id: run for run in runs}
    arms = [Arm(objective=BASE)]
    for method in study.objectives:
        found = _tried(study, method, done)
        chosen = [arm for arm, _ in found]
        if study.steps:
            arms += chosen
            continue
        if len(found) > 1 and all(mean is not None for _, mean in found):
            chosen = [max(found, key=lambda pair: (pair[1], -(pair[0].learning_rate or 0.0)))[0]]
        arms += chosen
        if method == NLL and len(chosen) == 1 and (rate := chosen[0].learning_rate) is not None:
            tenth = arm_of(NLL, learning_rate=rate / 10, control=TENTH)
            arms += [tenth] if (NLL, rate / 10) not in study.out else []
    return arms


def _tried(study: Study, method: str, done: Mapping[str, Run]) -> list[tuple[Arm, float | None]]:
    """An objective at each rate of the grid that has run on the first seed, and its development score."""
    arms = [arm_of(method, learning_rate=rate) for rate in study.rates_of(method)]
    pairs = ((arm, done.get(study.spec(arm, study.seeds[0]).id)) for arm in arms)
    return [
        (arm, part_mean(study, run, "development") if _developed(study, run) else None)
        for arm, run in pairs
        if run is not None
    ]


def _developed(study: Study, run: Run) -> bool:
    """Whether a run was scored on development documents of every task."""
    return {s.task for s in run.scores if s.part == "development"} >= set(study.tasks)


def open_rates(study: Study, runs: Sequence[Run]) -> dict[Arm, tuple[float, ...]]:
    """By arm, its chosen learning rate and those that the development documents do not tell from it.

    The 95 % interval of a difference is wide on a hundred documents and one seed: a comparison of objectives
    that hangs on such a choice may be one of rates. Objectives whose rate is settled are left out.
    """
    done = {run.spec.id: run for run in runs}
    found = {}
    for arm in chosen_arms(study, runs):
        if arm.objective == BASE or arm.control:
            continue
        tried = [other for other, mean in _tried(study, arm.method, done) if mean is not None]
        scores = {
            other: _of_all_tasks(
                study, done[study.spec(other, study.seeds[0]).id], part="development"
            )
            for other in tried
        }
        best = scores.pop(arm, None)
        if best is None or arm.learning_rate is None:
            continue
        sizes = _sizes(study, done[study.spec(arm, study.seeds[0]).id], "development")
        alike = [
            other.learning_rate
            for other, own in scores.items()
            if other.learning_rate is not None
            and paired_difference(best, own, sizes=sizes).interval[0] <= 0
        ]
        if alike:
            found[arm] = (arm.learning_rate, *alike)
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
    """Per task, [documents] scores at a temperature (of use), averaged over repeats; larger is better."""
    found = part_scores(study, run, part, temperature)
    if lacking := [task for task in study.tasks if task not in found]:
        raise InputError(
            f"the record of {run.spec.arm.label}, seed {run.spec.seed} ({run.spec.id}), has no {part} score "
            f"of {lacking[0]} at the temperature of use: move it away, and it is run again"
        )
    return {task: np.array(found[task].oriented) for task in study.tasks}


def part_scores(
    study: Study, run: Run, part: str, temperature: float | None = None
) -> dict[str, Score]:
    """By task, the score on one part of the documents at a temperature (of use)."""
    wanted = study.temperature if temperature is None else temperature
    return {
        score.task: score
        for score in run.scores
        if score.part == part and score.temperature in (wanted, None)
    }


def sheet_of(scores: Sequence[Score]) -> Sheet:
    """A run's scores in their own direction; of several tasks times `task_weights`."""
    several = len(scores) > 1
    sizes = [len(score.documents) for score in scores]
    return Sheet(
        documents=tuple(
            f"{s.task}/{document}" if several else document
            for s in scores
            for document in s.documents
        ),
        values=np.concatenate([score.per_document for score in scores]) * task_weights(sizes),
        sizes=tuple(sizes) if several else (),
    )


def board_unit(scores: Sequence[Score]) -> dict[str, Any]:
    """Direction, scale and unit of what some scores are compared in, as fields of a `Board`.

    Raises:
        InputError: tasks whose mean would mix directions or units.
    """
    directions = {score.higher_is_better for score in scores}
    # A metric of its own unit may look like shares in a run where all its values are 0 or 1.
    units = {score.unit for score in scores} - {SHARE} or {SHARE}
    metrics = {score.metric for score in scores}
    if len(directions) > 1 or len(units) > 1 or (units != {SHARE} and len(metrics) > 1):
        named = sorted({f"{s.task} ({s.metric}, {s.unit})" for s in scores})
        raise InputError(
            f"the mean over tasks would mix directions or units: {', '.join(named)}: give tasks of one kind, "
            "or one study a task"
        )
    unit = units.pop()
    return {
        "higher_is_better": directions != {False},
        "scale": 100.0 if unit == SHARE else 1.0,
        "unit": "points" if unit == SHARE else unit,
    }


def arm_scores(
    study: Study,
    arm: Arm,
    done: Mapping[str, Run],
    seeds: Sequence[int],
    temperature: float | None = None,
) -> NDArray[np.float64]:
    """[seeds, documents of all tasks] test scores times `task_weights`; those of the base are repeated."""
    used = [study.seeds[0]] * len(seeds) if arm.objective == BASE else seeds
    found = (done[study.spec(arm, seed).id] for seed in used)
    return np.array([_of_all_tasks(study, run, temperature=temperature) for run in found])


def _of_all_tasks(
    study: Study, run: Run, *, part: str = "test", temperature: float | None = None
) -> NDArray[np.float64]:
    values = list(part_values(study, run, part, temperature).values())
    return np.concatenate(values) * task_weights([len(task) for task in values])


def _sizes(study: Study, run: Run, part: str) -> list[int]:
    """Documents of each task on one part of them."""
    return [len(values) for values in part_values(study, run, part).values()]


def same_documents(study: Study, runs: Sequence[Run]) -> None:
    """See that runs can be paired document by document.

    Raises:
        InputError: they were scored on different documents, or by different metrics.
    """
    scores = [score for run in runs for score in run.scores if score.task in study.tasks]
    for task in study.tasks:
        names = sorted({score.name for score in scores if score.task == task})
        if len(names) > 1:
            raise InputError(
                f"runs were scored on {task} by {' and by '.join(names)}: choose one with --metric, or "
                "give another --results folder"
            )
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

    NLL and its control always do, because the others are compared with them. Where scores are no shares, how
    far seeds may differ is not known, and one seed drops nobody.
    """
    if not seeds:
        return list(arms)
    racing = [arm for arm in arms if _has(study, arm, done, seeds)]
    scores = [score for run in done.values() for score in run.scores if score.task in study.tasks]
    shares = board_unit(scores)["scale"] == 100.0
    sizes = _sizes(study, done[study.spec(racing[0], seeds[0]).id], "test")
    return list(
        survivors(
            {arm: arm_scores(study, arm, done, seeds) for arm in racing},
            looks=max(1, len(study.seeds) - 1),
            seed_sd=SEED_SD if shares else None,
            rivals=len(arms) - 1,
            keep=[arm for arm in racing if arm.method == NLL],
            sizes=sizes,
        )
    )


def _has(study: Study, arm: Arm, done: Mapping[str, Run], seeds: Sequence[int]) -> bool:
    return all(study.spec(arm, seed).id in done for seed in seeds)
