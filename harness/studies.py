"""Studies rebuilt from their records: which runs belong together, and what is left to do.

Pure. A record says what one run does, so the plan comes back from all of them: the objectives, the rates,
the seeds that were tried. Whether racing was off is not recorded, nor are seeds that no run has begun.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.records import Run, RunSpec
from harness.study import BASE, NLL, Arm, Study, chosen_arms, next_runs

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

    @property
    def done(self) -> dict[str, Run]:
        """The runs by id."""
        return {run.spec.id: run for run in self.runs}

    def left(self) -> list[RunSpec]:
        """What `advisor confirm` would run next; meaningful where there is no `obstacle`."""
        return next_runs(self.study, self.runs)

    @property
    def prior(self) -> Mapping[str, Any]:
        """What was measured before training, by any of the runs; empty where none was."""
        return next((run.prior for run in self.runs if run.prior), {})

    def arms(self) -> list[Arm]:
        """The base, each objective at its chosen rate, NLL at a tenth of its own; those that have run."""
        return [arm for arm in chosen_arms(self.study, self.runs) if self.seeds(arm)]

    def seeds(self, arm: Arm) -> list[int]:
        """The seeds on which an arm has run; the base counts once."""
        seeds = self.study.seeds[:1] if arm.objective == BASE else self.study.seeds
        done = self.done
        return [seed for seed in seeds if self.study.spec(arm, seed).id in done]

    def obstacle(self) -> str | None:
        """Why nothing can be settled yet, as the end of a sentence; None where it can."""
        study, done = self.study, self.done
        if not {"temperature", "temperatures"} <= study.evaluation.keys():
            return "the records do not say at which temperature the model is used"
        if not self.seeds(Arm(objective=BASE)):
            return "the untouched model has not been scored"
        if NLL not in study.objectives:
            return "there is no run of nll to compare with"
        grid = study.grid()
        missing = [
            f"{spec.objective} at {spec.learning_rate:g}" for spec in grid if spec.id not in done
        ]
        if missing:
            some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            return (
                f"{len(missing)} of {len(grid)} runs of the learning-rate grid are missing ({some})"
            )
        return None


def evidence_of(runs: Sequence[Run]) -> list[Evidence]:
    """The studies that finished runs are of, each with its own runs, in a fixed order."""
    return [
        Evidence(study=study, runs=tuple(run for run in runs if belongs(run.spec, study)))
        for study in studies_of([run.spec for run in runs])
    ]


def belongs(spec: RunSpec, study: Study) -> bool:
    """Whether a specification is one of a study's, whatever its objective, rate and seed."""
    return spec == study.spec(_arm(spec), spec.seed)


def studies_of(specs: Sequence[RunSpec]) -> list[Study]:
    """The studies that specifications are of.

    Runs with other settings of training are another study; the base belongs to all on its problem. The grid
    is every rate tried but NLL's control at a tenth, so that a study killed within its grid comes
    back with what had begun.
    """
    tuned: dict[tuple[str, str], list[RunSpec]] = defaultdict(list)
    base: dict[str, list[RunSpec]] = defaultdict(list)
    for spec in specs:
        if spec.objective == BASE:
            base[_problem(spec)].append(spec)
        else:
            tuned[_problem(spec), _canonical(spec.training)].append(spec)
    trained = {problem for problem, _ in tuned}
    groups = [
        part + base[key[0]]
        for key in sorted(tuned)
        for part in by_teachers(tuned[key], lambda spec: spec)
    ]
    groups += [base[problem] for problem in sorted(base) if problem not in trained]
    return [_study(group) for group in groups]


def by_teachers(items: Sequence[T], spec_of: Callable[[T], RunSpec]) -> list[list[T]]:
    """What belongs to each set of teachers, first what has them; what has none belongs to all of them."""
    sets: dict[str, list[T]] = defaultdict(list)
    for item in items:
        if spec_of(item).teachers:
            sets[_canonical(spec_of(item).teachers)].append(item)
    plain = [item for item in items if not spec_of(item).teachers]
    return [sets[key] + plain for key in sorted(sets)] or [plain]


def _study(specs: Sequence[RunSpec]) -> Study:
    first = specs[0]
    fields: dict[str, Any] = {name: getattr(first, name) for name in PROBLEM}
    names = {spec.objective for spec in specs} - {BASE}
    return Study(
        **fields,
        objectives=tuple(sorted(names, key=lambda name: (name != NLL, name))),
        learning_rates=_grid(specs),
        seeds=_seeds(specs),
        temperature=float(first.evaluation.get("temperature", 0.0)),
        training=first.training,
        teachers=first.teachers,
    )


def _grid(specs: Sequence[RunSpec]) -> tuple[float, ...]:
    """The rates tried by every objective; what only NLL has and is a tenth of another is its control."""
    rates: dict[str, set[float]] = defaultdict(set)
    for spec in specs:
        if spec.learning_rate is not None:
            rates[spec.objective].add(spec.learning_rate)
    own = rates.pop(NLL, set())
    shared = set().union(*rates.values())
    tenths = {low for low in own - shared if any(math.isclose(10 * low, high) for high in own)}
    if not shared:  # nothing but NLL: its grid may hold tenths of its own
        tenths &= {min(own)} if own else set()
    return tuple(sorted((own | shared) - tenths))


def _seeds(specs: Sequence[RunSpec]) -> tuple[int, ...]:
    """Of all runs; the base's comes first, because the grid is run on it."""
    of_base = [spec.seed for spec in specs if spec.objective == BASE]
    return tuple(dict.fromkeys((*of_base[:1], *sorted(spec.seed for spec in specs))))


def _arm(spec: RunSpec) -> Arm:
    return Arm(objective=spec.objective, learning_rate=spec.learning_rate)


def _problem(spec: RunSpec) -> str:
    return _canonical([getattr(spec, name) for name in PROBLEM])


def _canonical(value: Mapping[str, Any] | Sequence[Any] | None) -> str:
    return json.dumps(value, sort_keys=True)
