"""What each source of targets does: early refusals, what precedes the training, the trainer, what came of it.

The names are those of `records/target_sources.py`'s table; a source is a row there and an entry of `EFFECTS`
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trl.trainer.distillation_config import DistillationConfig
from trl.trainer.sft_config import SFTConfig

from advisor.data.dataset import SFTDataset
from advisor.data.labels import last_target
from advisor.model.load import LoadedModel
from advisor.objectives.table import get_objective
from harness.distill.distiller import build_distiller
from harness.distill.fire_settings import Fire
from harness.distill.self_settings import SelfTeaching
from harness.generate.cascade import Cascaded, cascade
from harness.generate.decoding import SPARE_TOKENS
from harness.generate.own_answers import ArmRefused, Sampled, own_answers
from harness.records.runs import RunSpec
from harness.records.target_sources import (
    CASCADE,
    DEMONSTRATIONS,
    DPO,
    FIRE,
    OPD,
    OWN,
    RESAMPLED,
    SDFT,
    SIMPO,
)
from harness.study.failures import read_before
from harness.study.methods import Method
from harness.study.problem import Problem, lacking
from harness.study.study import steps_of
from harness.train.dpo import build_pair_trainer, pairs
from harness.train.resampling import Resampling
from harness.train.sft import build_trainer, check_settings, prepare_resampling
from harness.train.simpo import build_simpo_trainer
from harness.train.switches import check_steps
from harness.train.trl_settings import settings_for

Facts = Mapping[str, Any]
"""What a record keeps beside the prior, by name."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a trainer is built of."""

    method: Method
    """Objective and source of targets."""
    problem: Problem
    """As `Effects.prepare` left it."""
    loaded: LoadedModel
    """Changed in place."""
    config: SFTConfig
    """The settings that every arm trains with."""
    given: tuple[str, ...]
    """Names of those settings that are not TRL's defaults."""
    peft_config: Any
    """Of PEFT, to train an adapter; None: the whole model."""


Built = tuple[Any, int]
"""A trainer ready to train, and the tokens of one epoch, 0 where the trainer counts its own."""


def _as_it_is(
    method: Method, spec: RunSpec, problem: Problem, loaded: LoadedModel
) -> tuple[Problem, Facts]:
    return problem, {}


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What a source of targets does."""

    trainer: Callable[[Training], Built]
    """Builds the trainer."""
    check: Callable[[Method, SFTConfig, Problem], None] = lambda method, config, problem: None
    """Raises InputError, before any run, where the trainer would refuse its settings; what the source needs
    of the problem (`TargetSource.needs`) is checked for all of them."""
    prepare: Callable[[Method, RunSpec, Problem, LoadedModel], tuple[Problem, Facts]] = _as_it_is
    """What is done with the untouched model: the problem with the targets to train on, what came of it."""
    found: Callable[[Any], Facts] = lambda trainer: {}
    """What a trainer that has trained tells of its targets."""
    as_many_steps: bool = False
    """Whether it makes the optimiser steps that a run on the demonstrations makes, having other rows."""


def refuse_lacking(method: Method, problem: Problem) -> None:
    """Raise ArmRefused where a problem lacks what an arm trains on."""
    if (why := lacking(method.source, problem)) is not None:
        raise ArmRefused(why)


def fire_of(method: Method) -> Fire | None:
    """Filter and weights of the rollouts; None: neither."""
    if method.source.name != FIRE:
        return None
    values = method.values
    return Fire(
        alpha=values["alpha"],
        beta=values["beta"],
        percentile=values["percentile"],
        filter_per_teacher=bool(values["per_teacher"]),
    )


def self_teaching_of(method: Method) -> SelfTeaching | None:
    """How the model teaches itself; None: it does not."""
    if method.source.name != SDFT:
        return None
    values = method.values
    return SelfTeaching(
        ema=values["ema"], skip=int(values["skip"]), reverse=bool(values["reverse"])
    )


def _check_objective(method: Method, config: SFTConfig, problem: Problem) -> None:
    objective = get_objective(method.objective)
    check_settings(objective, config, None)
    if (
        objective.scheduled and not config.packing
    ):  # how many rows are packed into one is seen later
        rows = sum(1 for example in problem.train if example.target_tokens)
        check_steps(objective, steps_of(vars(config), rows))


def _check_resampled(method: Method, config: SFTConfig, problem: Problem) -> None:
    resampling = Resampling(share=method.values["share"])
    check_settings(get_objective(method.objective), config, resampling)
    prepare_resampling(resampling, problem.train, config)


def _answered(
    answer: Callable[..., tuple[SFTDataset, Sampled | Cascaded]],
    fact: str,
    method: Method,
    spec: RunSpec,
    problem: Problem,
    loaded: LoadedModel,
) -> tuple[Problem, Facts]:
    """The demonstrations with right answers of the untouched model in their place, and what came of it."""
    assert problem.answer_pattern is not None  # `refuse_lacking` has seen to it
    train, found = answer(
        loaded,
        problem.train,
        pattern=problem.answer_pattern,
        per_prompt=int(method.values["samples"]),
        temperature=spec.evaluation["temperature"],
        seed=spec.seed,
    )
    return replace(problem, train=train), {fact: found.to_dict()}


def _objective_trainer(training: Training) -> Built:
    return _supervised(training, None)


def _resampling_trainer(training: Training) -> Built:
    return _supervised(training, Resampling(share=training.method.values["share"]))


def _supervised(training: Training, resampling: Resampling | None) -> Built:
    """The trainer of an objective of the table."""
    train = training.problem.train
    trainer = build_trainer(
        training.loaded,
        train,
        get_objective(training.method.objective),
        training.config,
        peft_config=training.peft_config,
        resampling=resampling,
    )
    return trainer, sum(len(example.input_ids) for example in train)


def _pair_trainer(training: Training) -> Built:
    """The trainer of DPO or of SimPO."""
    problem, values = training.problem, training.method.values
    assert problem.rejected is not None  # `refuse_lacking` has seen to it
    simpo = training.method.source.name == SIMPO
    rows = pairs(problem.train, problem.rejected, whole=simpo)
    build: Callable[..., Any] = build_simpo_trainer if simpo else build_pair_trainer
    trainer = build(
        training.loaded,
        rows,
        training.config,
        training.given,
        **values,
        peft_config=training.peft_config,
    )
    both = (2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in rows)
    return trainer, sum(both)


def _distiller(training: Training) -> Built:
    """The trainer of on-policy distillation; answers may be a little longer than the demonstrations."""
    problem, method = training.problem, training.method
    itself, named = self_teaching_of(method), problem.teachers
    with read_before():
        teachers = {} if itself or named is None else named.load()
    spans = [last_target(example.labels) for example in problem.train if example.target_tokens]
    longest = SPARE_TOKENS + max(end - first for first, end in spans)
    settings = settings_for(DistillationConfig, training.config, training.given)
    settings["remove_unused_columns"] = False  # as every other trainer here
    trainer = build_distiller(
        training.loaded,
        problem.train,
        teachers,
        DistillationConfig(**settings, max_completion_length=longest),
        fire=fire_of(method),
        form="sampled" if method.values.get("sampled") else "full",
        route=named.route if teachers and named else None,
        itself=itself,
        peft_config=training.peft_config,
    )
    return trainer, 0


_ON_POLICY = Effects(trainer=_distiller, as_many_steps=True)

EFFECTS = {
    DEMONSTRATIONS: Effects(trainer=_objective_trainer, check=_check_objective),
    OWN: Effects(
        trainer=_objective_trainer,
        check=_check_objective,
        prepare=partial(_answered, own_answers, "own_answers"),
        as_many_steps=True,
    ),
    CASCADE: Effects(
        trainer=_objective_trainer,
        check=_check_objective,
        prepare=partial(_answered, cascade, "cascade"),
    ),
    RESAMPLED: Effects(
        trainer=_resampling_trainer,
        check=_check_resampled,
        found=lambda trainer: {"resampling": trainer.resampler.summary()},
    ),
    DPO: Effects(trainer=_pair_trainer),
    SIMPO: Effects(trainer=_pair_trainer),
    OPD: _ON_POLICY,
    FIRE: _ON_POLICY,
    SDFT: _ON_POLICY,
}
"""By the names of `TARGET_SOURCES`."""
