"""On-policy distillation and FiRe-OPD: `advisor distill STUDENT DATASET --teacher TEACHER`.

From loaded models and a dataset, of which the prompts alone are read, to a trained trainer (`on_policy.py`).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel
from trl.trainer.distillation_config import DistillationConfig

from advisor.data import Example, SFTDataset
from advisor.errors import InputError
from advisor.model import CONTEXT_FIELDS, LoadedModel
from harness.fire import Fire
from harness.on_policy import FORMS, OnPolicyTrainer
from harness.teachers import check_teacher, named, teacher_of

logger = logging.getLogger(__name__)


def build_distiller(
    student: LoadedModel,
    dataset: SFTDataset,
    teachers: Mapping[str, LoadedModel],
    config: DistillationConfig,
    *,
    eval_dataset: SFTDataset | None = None,
    fire: Fire | None = None,
    form: str = "full",
    route: str | None = None,
    peft_config: Any = None,
) -> OnPolicyTrainer:
    """A trainer ready to `train()`; the student's model is changed in place.

    Args:
        student: the model that learns, from its own answers.
        dataset: its prompts: what stands before the last target of each row. The targets are not read.
        teachers: by key; several need `route`.
        config: TRL's settings; `max_completion_length` is lowered to what the models' contexts leave.
        eval_dataset: its prompts, likewise, for evaluation during training; training is the same without.
        fire: None is plain on-policy distillation.
        form: "full" or "sampled", see FORMS.
        route: column whose value is the key of the row's teacher.
        peft_config: of PEFT, to train an adapter.

    Raises:
        InputError: teachers that do not fit the student or the rows, or too few prompts for a step.
    """
    _check(student, teachers, config, form=form, route=route)
    rows = _rows(dataset, list(teachers), route)
    step = (
        config.per_device_train_batch_size * config.gradient_accumulation_steps * config.world_size
    )
    if len(rows) < step:
        raise InputError(
            f"{dataset.info.name}: {len(rows)} prompts, fewer than the {step} of an optimiser step: "
            "lower --per_device_train_batch_size or --gradient_accumulation_steps"
        )
    models = [student.model, *(teacher.model for teacher in teachers.values())]
    _fit_context(config, models, _longest(rows))
    evaluation = None
    if eval_dataset is not None:
        evaluation = _rows(eval_dataset, list(teachers), route)
        _check_room(config, models, _longest(evaluation), named(eval_dataset))
    try:
        return OnPolicyTrainer(
            model=student.model.requires_grad_(True).train(),
            teachers=models[1:],
            fire=fire,
            form=form,
            args=config,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(evaluation) if evaluation else None,
            processing_class=student.tokenizer,
            peft_config=peft_config,
        )
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error


def fire_settings(args: argparse.Namespace) -> Fire | None:
    """What `--method` and the `--fire_...` flags say; None is plain on-policy distillation."""
    named = {field.name: getattr(args, f"fire_{field.name}") for field in fields(Fire)}
    given = {name: value for name, value in named.items() if value is not None}
    if args.method == "fire":
        return Fire(**given)
    if given:
        raise InputError(f"--fire_{next(iter(given))} goes with --method fire")
    return None


def minimised(
    args: argparse.Namespace, config: DistillationConfig, fire: Fire | None
) -> dict[str, Any]:
    """What is minimised, as flags and their values."""
    weights = asdict(fire) if fire else {}
    return {
        "--method": args.method,
        "--form": args.form,
        "--beta": config.beta,
        "--route": args.route,
        **{f"--fire_{name}": value for name, value in weights.items()},
    }


def _check(
    student: LoadedModel,
    teachers: Mapping[str, LoadedModel],
    config: DistillationConfig,
    *,
    form: str,
    route: str | None,
) -> None:
    """Refuse what cannot be distilled."""
    if form not in FORMS:
        raise InputError(f"form {form!r}: use {' or '.join(FORMS)}")
    if form == "sampled" and config.beta != 1:
        raise InputError(f"--beta {config.beta:g}: the sampled form is the reverse KL, --beta 1")
    if not teachers:
        raise InputError("no teacher: give one with --teacher")
    if len(teachers) > 1 and route is None:
        raise InputError(
            "several teachers: --route FIELD names the column that says whose a row is"
        )
    for teacher in teachers.values():
        check_teacher(student, teacher)


def _rows(dataset: SFTDataset, keys: list[str], route: str | None) -> list[dict[str, Any]]:
    """Prompts as token ids, each with the number of its teacher."""
    rows = []
    for i, example in enumerate(dataset):
        if example.target_tokens:
            rows.append(
                {"prompt": _prompt(example), "teacher": teacher_of(dataset, i, keys, route)}
            )
    if not rows:
        dataset.require_targets()
    return rows


def _prompt(example: Example) -> list[int]:
    """What precedes the last target."""
    last = max(i for i, label in enumerate(example.labels) if label != -100 and i > 0)
    first = next((i + 1 for i in range(last, 0, -1) if example.labels[i] == -100), 1)
    return example.input_ids[:first]


def _fit_context(
    config: DistillationConfig, models: Sequence[PreTrainedModel], longest: int
) -> None:
    """Lower `max_completion_length` to what the longest prompt leaves of the shortest context."""
    given = config.max_completion_length
    if given is not None and given < 1:
        raise InputError(f"--max_completion_length {given}: an answer has 1 token or more")
    room = _room(models, longest)
    if room is not None and (given is None or room < given):
        logger.warning("max_completion_length is %d: more does not fit the context", room)
        config.max_completion_length = room


def _check_room(
    config: DistillationConfig, models: Sequence[PreTrainedModel], longest: int, where: str
) -> None:
    """Refuse prompts of evaluation that leave less room than training's: neither is cut for the other."""
    room, length = _room(models, longest), config.max_completion_length
    if room is not None and length is not None and room < length:
        raise InputError(
            f"{where}: a prompt of {longest} tokens leaves {room} in the context, answers in training have "
            f"up to {length}: give --max_completion_length {room}"
        )


def _room(models: Sequence[PreTrainedModel], longest: int) -> int | None:
    """Tokens that the longest prompt leaves of the shortest context; None where no model names one."""
    texts = [model.config.get_text_config() for model in models]
    found = [getattr(text, name, None) for text in texts for name in CONTEXT_FIELDS]
    contexts = [length for length in found if length]
    if not contexts:
        return None
    if longest >= min(contexts):
        raise InputError(
            f"a prompt of {longest} tokens leaves no room in a context of {min(contexts)}"
        )
    return int(min(contexts)) - longest


def _longest(rows: Sequence[Mapping[str, Any]]) -> int:
    return max(len(row["prompt"]) for row in rows)
