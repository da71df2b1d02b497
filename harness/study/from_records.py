"""Studies rebuilt from their records: which runs belong together, what they show, what is left to do.

Pure. A record says what one run does and what was asked when it was run (`Run.planned`), so the last plan
comes back from all of them; of records of the first format, which say the first alone, it is what was
tried.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from advisor.errors import InputError
from harness.records.arm import BASE, NLL, TENTH, Arm
from harness.records.runs import Run, RunSpec
from harness.records.training_texts import settled
from harness.study.contrasts import Board, Sheet
from harness.study.failures import failure_of, without
from harness.study.study import (
    Step,
    Study,
    board_unit,
    chosen_arms,
    next_runs,
    part_scores,
    same_documents,
    sheet_of,
)
from harness.study.study_options import RACE

T = TypeVar("T")

PROBLEM = (
    "model",
    "model_fingerprint",
    "dataset",
    "dataset_fingerprint",
    "split",
    "tasks",
    "evaluation",
    "reading",
)
"""What all runs of a study share, the untouched base included."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A study and its finished runs."""

    study: Study
    """What was asked, as far as the runs tell."""
    runs: tuple[Run, ...]
    """Finished ones, of this study alone."""

    @cached_property
    def done(self) -> dict[str, Run]:
        """The runs by id."""
        return {run.spec.id: run for run in self.runs}

    def left(self) -> list[RunSpec]:
        """What `advisor confirm` would run next; nothing of a race that has taken a run to its end."""
        if self.study.plan == RACE and any(run.spec.arm.objective != BASE for run in self.runs):
            return []
        return next_runs(self.study, self.runs)

    @property
    def prior(self) -> Mapping[str, Any]:
        """What was measured before training, by any of the runs; empty where none was."""
        return next((run.prior for run in self.runs if run.prior), {})

    def arms(self) -> list[Arm]:
        """The base, NLL, its tenth and each other objective at its chosen rate, of those that can be judged.

        An objective whose learning-rate grid is not finished is not among them, unless nothing is.
        """
        unfinished = self._unfinished()
        found = [arm for arm in chosen_arms(self.study, self.runs) if self.seeds(arm)]
        whole = [arm for arm in found if arm.method not in unfinished]
        arms = whole if any(arm.objective != BASE for arm in whole) else found
        return sorted(arms, key=lambda arm: arm.order)

    def seeds(self, arm: Arm) -> list[int]:
        """The seeds on which an arm has run; the base counts once."""
        seeds = self.study.seeds[:1] if arm.objective == BASE else self.study.seeds
        done = self.done
        return [seed for seed in seeds if self.study.spec(arm, seed).id in done]

    def board(
        self, arms: Sequence[Arm], *, task: str | None = None, temperature: float | None = None
    ) -> Board:
        """Test scores of arms at a temperature (of use) on one task, or on all with the same weight."""
        study, done = self.study, self.done
        heat = study.temperature if temperature is None else temperature
        tasks = study.tasks if task is None else (task,)
        runs: dict[Arm, dict[int, Sheet]] = {}
        for arm in arms:
            own = heat if arm.decoding is None else arm.decoding
            for seed in self.seeds(arm):
                scores = part_scores(study, done[study.spec(arm, seed).id], "test", own)
                if set(tasks) <= scores.keys():
                    runs.setdefault(arm, {})[seed] = sheet_of([scores[name] for name in tasks])
        of_tasks = [s for run in self.runs for s in run.scores if s.task in tasks]
        return Board(task=", ".join(tasks), temperature=heat, runs=runs, **board_unit(of_tasks))

    def obstacle(self) -> str | None:
        """Why nothing can be settled yet, as the end of a sentence; None where it can."""
        study, done = self.study, self.done
        if not {"temperature", "temperatures"} <= study.evaluation.keys():
            return "the records do not say at which temperature the model is used"
        if not self.seeds(Arm(objective=BASE)):
            return "the untouched model has not been scored"
        if study.steps:
            return (
                "it is a plan, which keeps a checkpoint and compares no arms; the same advisor confirm, "
                "started again, says which"
            )
        if NLL not in study.objectives:
            return "there is no run of nll to compare with"
        try:
            same_documents(study, self.runs)
            board_unit([s for run in self.runs for s in run.scores if s.task in study.tasks])
        except InputError as error:
            return str(error)
        grid = study.grid()
        missing = [spec for spec in grid if spec.id not in done]
        if any(spec.arm.method == NLL for spec in missing) or len(self._unfinished()) == len(
            study.objectives
        ):
            some = ", ".join(f"{s.arm.method} at {s.arm.learning_rate:g}" for s in missing[:3])
            more = ", ..." if len(missing) > 3 else ""
            return f"{len(missing)} of {len(grid)} runs of the learning-rate grid are missing ({some}{more})"
        if not any(spec.arm.method == NLL for spec in grid):
            return "no run of nll came to an end"
        kept = Counter(arm.method for arm in self.arms() if not arm.control)
        if several := [method for method, count in kept.items() if count > 1]:
            return f"no development documents tell which learning rate of {several[0]} to keep"
        return None

    def _unfinished(self) -> set[str]:
        """Methods of which a run of the grid is missing."""
        return {spec.arm.method for spec in self.study.grid() if spec.id not in self.done}

    def incomplete(self) -> str | None:
        """What is still to be run, as a sentence; None where the study is complete."""
        left = self.left()
        if not left:
            return None
        names = sorted(self._unfinished())
        what = "1 run is due" if len(left) == 1 else f"at least {len(left)} runs are due"
        apart = f", {' and '.join(names)} not judged yet" if names else ""
        return f"Not complete ({what}{apart})"


def evidence_of(runs: Sequence[Run], failed: Sequence[Run] = ()) -> list[Evidence]:
    """The studies that finished runs are of, each with its own runs, in a fixed order.

    Args:
        runs: finished.
        failed: of the same folders; what failed and did not go well later is not waited for.
    """
    done = {run.spec.id for run in runs}
    return [
        Evidence(
            study=_less(study, [run for run in failed if run.spec.id not in done]),
            runs=tuple(run for run in runs if belongs(run.spec, study)),
        )
        for study in studies_of([run.spec for run in runs], [run.planned for run in runs])
    ]


def _less(study: Study, failed: Iterable[Run]) -> Study:
    """A study as `confirm` goes on with it: less the arms and rates that failed, for good or not."""
    found = []
    for run in failed:
        if belongs(run.spec, study):
            with suppress(InputError):  # of the base, or the machine's fault: that run is due
                found.append(failure_of(run))
    failures = [failure for failure in found if failure is not None]
    try:
        return without(study, failures)
    except InputError:  # NLL at every rate: it is due
        return without(study, [failure for failure in failures if failure.method != NLL])


def belongs(spec: RunSpec, study: Study) -> bool:
    """Whether a specification is one of a study's, whatever its arm and seed."""
    return spec.id == study.spec(spec.arm, spec.seed).id


def studies_of(
    specs: Sequence[RunSpec], planned: Sequence[Mapping[str, Any] | None] = ()
) -> list[Study]:
    """The studies that specifications are of.

    Runs with other settings of training are another study; the base belongs to all on its problem. The grid
    is every rate tried but NLL's control at a tenth, so that a study killed within its grid comes
    back with what had begun, and with what it had planned where the records say so.

    Args:
        specs: of runs.
        planned: `Run.planned` of each; empty where nothing is known.
    """
    plans = dict(zip((spec.id for spec in specs), planned, strict=False))
    tuned: dict[tuple[str, str], list[RunSpec]] = defaultdict(list)
    base: dict[str, list[RunSpec]] = defaultdict(list)
    for spec in specs:
        if spec.arm.objective == BASE:
            base[_problem(spec)].append(spec)
        else:
            tuned[_problem(spec), _canonical(settled(spec.training))].append(spec)
    trained = {problem for problem, _ in tuned}
    groups = [
        part + base[key[0]]
        for key in sorted(tuned)
        for part in by_teachers(tuned[key], lambda spec: spec)
    ]
    groups += [base[problem] for problem in sorted(base) if problem not in trained]
    return [_study(group, [plan for s in group if (plan := plans.get(s.id))]) for group in groups]


def by_teachers(items: Sequence[T], spec_of: Callable[[T], RunSpec]) -> list[list[T]]:
    """What belongs to each set of teachers, first what has them; what has none belongs to all of them."""
    sets: dict[str, list[T]] = defaultdict(list)
    for item in items:
        if spec_of(item).teachers:
            sets[_canonical(spec_of(item).teachers)].append(item)
    plain = [item for item in items if not spec_of(item).teachers]
    return [sets[key] + plain for key in sorted(sets)] or [plain]


def _study(specs: Sequence[RunSpec], plans: Sequence[Mapping[str, Any]]) -> Study:
    """What the last plan asked for; without one, what was tried."""
    first = specs[0]
    fields: dict[str, Any] = {name: getattr(first, name) for name in PROBLEM}
    # A plan on the same problem compares nothing: it does not hide a study of arms.
    comparing = [plan for plan in plans if not plan.get("steps")]
    plan = max(comparing or plans, key=lambda plan: plan["at"], default={})
    names = {spec.arm.method for spec in specs if spec.arm.objective != BASE}
    return Study(
        **fields,
        objectives=tuple(
            sorted(plan.get("objectives", names), key=lambda name: (name != NLL, name))
        ),
        learning_rates=tuple(sorted(plan["learning_rates"])) if plan else _grid(specs),
        seeds=tuple(plan["seeds"]) if plan else _seeds(specs),
        temperature=float(first.evaluation.get("temperature", 0.0)),
        training=next((spec.training for spec in specs if spec.arm.objective != BASE), {}),
        teachers=next((spec.teachers for spec in specs if spec.teachers), None),
        full=bool(plan.get("full")),
        plan=plan.get("plan"),
        steps=tuple(Step(**step) for step in plan.get("steps", ())),
    )


def _grid(specs: Sequence[RunSpec]) -> tuple[float, ...]:
    """The rates tried by every objective; what only NLL has and is a tenth of another is its control."""
    rates: dict[str, set[float]] = defaultdict(set)
    for spec in specs:
        if spec.arm.learning_rate is not None and spec.arm.control != TENTH:
            rates[spec.arm.method].add(spec.arm.learning_rate)
    own = rates.pop(NLL, set())
    shared = set().union(*rates.values())
    if any(spec.arm.control == TENTH for spec in specs):  # the records say which one it is
        return tuple(sorted(own | shared))
    tenths = {low for low in own - shared if any(math.isclose(10 * low, high) for high in own)}
    if not shared:  # nothing but NLL: its grid may hold tenths of its own
        tenths &= {min(own)} if own else set()
    return tuple(sorted((own | shared) - tenths))


def _seeds(specs: Sequence[RunSpec]) -> tuple[int, ...]:
    """Of all runs; the base's comes first, because the grid is run on it."""
    of_base = [spec.seed for spec in specs if spec.arm.objective == BASE]
    return tuple(dict.fromkeys((*of_base[:1], *sorted(spec.seed for spec in specs))))


def settings_of(studies: Sequence[Evidence]) -> list[str]:
    """What tells each study from the others, in as few words as do; empty for a single one."""
    facets = [_facets(one.study) for one in studies]
    names = list(dict.fromkeys(name for facet in facets for name in facet))
    telling = [name for name in names if len({repr(facet.get(name)) for facet in facets}) > 1]
    for name in reversed(telling):  # the last are those that a reader knows least
        fewer = [other for other in telling if other != name]
        if len(set(_worded(facets, fewer))) == len(set(_worded(facets, telling))):
            telling = fewer
    texts = _worded(facets, telling)
    return [
        text if texts.count(text) == 1 else f"{text} ({texts[:i].count(text) + 1})".strip()
        for i, text in enumerate(texts)
    ]


def _worded(facets: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    plain = ("model", "dataset")  # the same word for both is said once
    return [
        " ".join(dict.fromkeys(str(f[n]) if n in plain else f"{n}={f[n]}" for n in names if n in f))
        for f in facets
    ]


def _facets(study: Study) -> dict[str, Any]:
    """What may tell a study from another, in the order in which a reader would name it."""
    return {
        "model": Path(study.model).name,
        "dataset": Path(study.dataset).name,
        "split": study.split,
        "temperature": study.temperature,
        **(study.reading or {}),
        **study.training,
        **({"teachers": " ".join(study.teachers["models"])} if study.teachers else {}),
        "tasks": " ".join(study.tasks),
        **{name: value for name, value in study.evaluation.items() if name != "temperature"},
        "seeds": len(study.seeds),
        "model_fingerprint": study.model_fingerprint,
        "dataset_fingerprint": study.dataset_fingerprint,
    }


def _problem(spec: RunSpec) -> str:
    return _canonical([getattr(spec, name) for name in PROBLEM])


def _canonical(value: Mapping[str, Any] | Sequence[Any] | None) -> str:
    return json.dumps(value, sort_keys=True)
