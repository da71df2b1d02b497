"""What all runs of a study have in common, and what of it a source of targets may need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advisor.data.dataset import SFTDataset
from harness.distill.teachers import Teachers
from harness.records.target_sources import ANSWERS, PAIRS, TEACHER, UNWEIGHTED, TargetSource
from harness.reinforce.grpo_settings import Then
from harness.study.beginnings import Beginnings
from harness.train.trackers import Trackers


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What all runs of a study have in common."""

    model: str
    """Folder or hub id to load before every run."""
    loading: Mapping[str, Any]
    """Keyword arguments of `load_model`."""
    train: SFTDataset
    """Demonstrations to train on."""
    held_out: SFTDataset | None
    """Demonstrations kept back: their NLL is recorded, and never the referee."""
    tasks: Sequence[Any]
    """lm-eval tasks, by name or as objects."""
    domain: str
    """"ladder" or "user"."""
    guards: Sequence[str] = ()
    """Tasks that nothing is trained for, scored of every run to see what it forgot."""
    origin: str | None = None
    """What an adapter that is kept names as its base, where `model` is a copy that will be deleted."""
    prior: Mapping[str, Any] | None = None
    """What was measured before training."""
    include_path: str | None = None
    """Folder with task files of the user's own."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """More keyword arguments of `evaluate`: few-shot examples, chat template, batch size."""
    rejected: SFTDataset | None = None
    """Rejected answers, row by row those of `train`; None where there are no pairs."""
    answer_pattern: str | None = None
    """Finds the final answer of a demonstration; None where none can be checked."""
    teachers: Teachers | None = None
    """Of the arms that learn from a teacher; None where there is none."""
    then: Then | None = None
    """What the untouched model and every arm are continued with; None: they are not."""
    checkpoints: Path | None = None
    """Folder in which every run leaves its checkpoint; None: no model is kept."""
    pieces: Path | None = None
    """Folder of the checkpoints between the pieces of a race; None: no run is trained in pieces."""
    looks: bool = False
    """Whether the development documents are answered along every training as well."""
    beginnings: Beginnings | None = None
    """What runs take over from each other; None: each trains all of its steps."""
    trackers: Trackers | None = None
    """Where the trainings report to; None: nowhere, their logs stand in the records."""
    limit: float | None = None
    """Seconds after which a run, or a piece of one, is ended as one that failed; None: there is no limit."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that a problem may lack."""

    has: Callable[[Problem], bool]
    """Whether a problem has it."""
    refusal: str
    """What is said where it has not, with the way to mend it."""


NEEDS = {
    PAIRS: Need(
        has=lambda problem: problem.rejected is not None,
        refusal="the dataset has no pairs: needed are columns chosen and rejected that differ, and targets "
        "read from chosen (--completion_field chosen)",
    ),
    ANSWERS: Need(
        has=lambda problem: problem.answer_pattern is not None,
        refusal="the completions end in no answer of a known form; give --answer_regex with one group that "
        "finds it",
    ),
    TEACHER: Need(
        has=lambda problem: problem.teachers is not None,
        refusal="needs a model to learn from: --teacher MODEL",
    ),
    UNWEIGHTED: Need(
        has=lambda problem: not any(example.weighted for example in problem.train),
        refusal="the data weigh their targets, and it trains on others, whose weights are not known: leave "
        "it out, or take the weights out (--weight_field none does so with those of rows)",
    ),
}
"""By the words of `TargetSource.needs`."""


def available(problem: Problem) -> set[str]:
    """What a problem has of what sources of targets need."""
    return {word for word, need in NEEDS.items() if need.has(problem)}


def lacking(source: TargetSource, problem: Problem) -> str | None:
    """What is said where a problem lacks what a source needs; None where it has all."""
    missing = (NEEDS[word] for word in source.needs if not NEEDS[word].has(problem))
    return next((need.refusal for need in missing), None)
