"""On-policy distillation and FiRe-OPD: `advisor distill STUDENT DATASET --teacher TEACHER`.

From loaded models and a dataset, of which the prompts alone are read, to a trained trainer (`on_policy.py`).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel
from trl.trainer.distillation_config import DistillationConfig

from advisor.data import Example, SFTDataset
from advisor.errors import InputError
from advisor.model import CONTEXT_FIELDS, LoadedModel
from harness.fire import Fire
from harness.on_policy import FORMS, OnPolicyTrainer

logger = logging.getLogger(__name__)


def build_distiller(
    student: LoadedModel,
    dataset: SFTDataset,
    teachers: Mapping[str, LoadedModel],
    config: DistillationConfig,
    *,
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
    _fit_context(config, models, max(len(row["prompt"]) for row in rows))
    try:
        return OnPolicyTrainer(
            model=student.model.requires_grad_(True).train(),
            teachers=models[1:],
            fire=fire,
            form=form,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=student.tokenizer,
            peft_config=peft_config,
        )
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error


def distill(
    student: LoadedModel,
    dataset: SFTDataset,
    teachers: Mapping[str, LoadedModel],
    config: DistillationConfig,
    *,
    resume_from_checkpoint: str | None = None,
    **settings: Any,
) -> OnPolicyTrainer:
    """Distil the teachers into the student; arguments are those of `build_distiller`.

    Returns:
        The trainer after training, to save the model with.
    """
    trainer = build_distiller(student, dataset, teachers, config, **settings)
    trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    return trainer


def fire_settings(args: argparse.Namespace) -> Fire | None:
    """What `--method` and the `--fire_...` flags say; None is plain on-policy distillation."""
    named = {field.name: getattr(args, f"fire_{field.name}") for field in fields(Fire)}
    given = {name: value for name, value in named.items() if value is not None}
    if args.method == "fire":
        return Fire(**given)
    if given:
        raise InputError(f"--fire_{next(iter(given))} goes with --method fire")
    return None


def teacher_names(words: Sequence[str], route: str | None) -> dict[str, str]:
    """Key to model name: with a route `KEY=MODEL`, or a model whose name is the key."""
    if route is None and len(words) > 1:
        raise InputError(
            "several teachers: --route FIELD names the column that says whose a row is"
        )
    if route is None:
        return {words[0]: words[0]}
    pairs = [word.partition("=") for word in words]
    names = {key: name or key for key, _, name in pairs}
    if len(names) < len(words):
        raise InputError("--teacher: two have the same key; give each as KEY=MODEL")
    return names


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
    vocabulary = student.tokenizer.get_vocab()
    for teacher in teachers.values():
        rows = [model.model.config.get_text_config().vocab_size for model in (student, teacher)]
        if rows[0] != rows[1] or teacher.tokenizer.get_vocab() != vocabulary:
            raise InputError(
                f"teacher {teacher.name}: its vocabulary ({rows[1]} rows) is not the student's "
                f"({rows[0]} rows): distillation compares them token by token, take a teacher of its family"
            )


def _rows(dataset: SFTDataset, keys: list[str], route: str | None) -> list[dict[str, Any]]:
    """Prompts as token ids, each with the number of its teacher."""
    rows = []
    for i, example in enumerate(dataset):
        if example.target_tokens:
            rows.append({"prompt": _prompt(example), "teacher": _teacher(dataset, i, keys, route)})
    if not rows:
        dataset.require_targets()
    return rows


def _prompt(example: Example) -> list[int]:
    """What precedes the last target."""
    last = max(i for i, label in enumerate(example.labels) if label != -100 and i > 0)
    first = next((i + 1 for i in range(last, 0, -1) if example.labels[i] == -100), 1)
    return example.input_ids[:first]


def _teacher(dataset: SFTDataset, row: int, keys: list[str], route: str | None) -> int:
    if route is None:
        return 0
    raw = dataset.raw(row)
    if route not in raw:
        raise InputError(f"--route {route}: no such column; there are {', '.join(map(str, raw))}")
    if str(raw[route]) not in keys:
        raise InputError(
            f"row {row} (counted from 0): no teacher for {route} {str(raw[route])!r}; there are "
            f"{', '.join(keys)}; give it as --teacher {raw[route]}=MODEL"
        )
    return keys.index(str(raw[route]))


def _fit_context(
    config: DistillationConfig, models: Sequence[PreTrainedModel], longest: int
) -> None:
    """Lower `max_completion_length` to what the longest prompt leaves of the shortest context."""
    texts = [model.config.get_text_config() for model in models]
    found = [getattr(text, name, None) for text in texts for name in CONTEXT_FIELDS]
    contexts = [length for length in found if length]
    if not contexts:
        return
    room = min(contexts) - longest
    if room < 1:
        raise InputError(
            f"a prompt of {longest} tokens leaves no room in a context of {min(contexts)}"
        )
    if room < (config.max_completion_length or room + 1):
        logger.warning("max_completion_length is %d: more does not fit the context", room)
        config.max_completion_length = room
