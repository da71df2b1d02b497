"""On-policy distillation and FiRe-OPD: `advisor distill STUDENT DATASET --teacher TEACHER`.

From loaded models and a dataset, of which the prompts alone are read, to a trained trainer (`on_policy.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel
from trl.trainer.distillation_config import DistillationConfig

from advisor.data.dataset import Example, SFTDataset
from advisor.errors import InputError
from advisor.model.load import CONTEXT_FIELDS, LoadedModel
from harness.distill.distill_options import DistillOptions
from harness.distill.fire_settings import Fire
from harness.distill.on_policy import FORMS, OnPolicyTrainer
from harness.distill.self_settings import SelfTeaching, in_context
from harness.distill.self_teaching import SelfTeachingTrainer
from harness.distill.teachers import (
    check_route,
    check_teacher,
    named,
    shared_vocabulary,
    teacher_of,
)
from harness.generate.decoding import KEPT, prompt_of, refuse_padded
from harness.generate.in_context import prompts_in_context
from harness.generate.room import answer_length, with_room
from harness.generate.turn_end import turn_end_of
from harness.train.model_card import facts_of
from harness.train.precision import as_loaded, float_masters, to_train
from harness.train.saving import carry_template

logger = logging.getLogger(__name__)

NEUTRAL = {"top_p": 1, "top_k": 0, "min_p": None, "repetition_penalty": 1}
"""Settings that leave the distribution whole."""
HARMLESS = {*KEPT, "max_new_tokens", "do_sample", "temperature"}
"""Of `generate`: what has no part in that, and what is looked at by itself."""
Rows = Sequence[dict[str, Any]]
"""`prompt`, token ids, and `teacher`, a number."""


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
    itself: SelfTeaching | None = None,
    peft_config: Any = None,
) -> OnPolicyTrainer:
    """A trainer ready to `train()`; the student's model is changed in place.

    Args:
        student: the model that learns, from its own answers.
        dataset: its prompts: what stands before the last target of each row. The targets are not read, and
            may be empty where no chat template is applied.
        teachers: by key; several need `route`. None where the student teaches itself.
        config: TRL's settings. Prompts that leave less than `max_completion_length` in the shortest context
            are left out; where those were most, it is lowered.
        eval_dataset: its prompts, likewise, for evaluation during training; training is the same without.
        fire: None is plain on-policy distillation.
        form: "full" or "sampled", see FORMS.
        route: column whose value is the key of the row's teacher.
        itself: the student with the demonstration in its context is the teacher; the targets are read.
        peft_config: of PEFT, to train an adapter.

    Raises:
        InputError: teachers that do not fit the student or the rows, too few prompts for a step, or rows with
            weights.
    """
    check_settings(config, form)
    if itself is None:
        check_route(teachers, route)
    for teacher in teachers.values():
        check_teacher(student, teacher)
    for model in (student, *teachers.values()):
        refuse_padded(model, "distillation")
    models = [student.model, *(teacher.model for teacher in teachers.values())]
    context = _context(models)
    rows = _rows(dataset, list(teachers), route, context if itself else None, itself is not None)
    config.max_completion_length = longest = answer_length(
        list(map(_length, rows)), config.max_completion_length, context, named(dataset)
    )
    rows = with_room(rows, _length, longest, context, named(dataset))
    _check_step(config, rows, dataset.info.name)
    evaluation = None
    if eval_dataset is not None:
        evaluation = _rows(
            eval_dataset, list(teachers), route, context if itself else None, itself is not None
        )
        evaluation = with_room(evaluation, _length, longest, context, named(eval_dataset))
    carry_template(student.tokenizer, dataset)
    build: Callable[..., OnPolicyTrainer] = partial(
        OnPolicyTrainer,
        teachers=models[1:],
        vocabulary=shared_vocabulary(student, teachers.values()) if teachers else None,
    )
    if itself is not None:
        config.beta = 1.0 if itself.reverse else 0.0
        build = partial(SelfTeachingTrainer, itself=itself)
    masters = float_masters(student, peft_config)
    try:
        trainer = build(
            model=to_train(student.model),
            fire=fire,
            form=form,
            facts=facts_of(student, dataset),
            turn_end=turn_end_of(dataset),
            args=config,
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(evaluation) if evaluation else None,
            processing_class=student.tokenizer,
            peft_config=peft_config,
        )
    except (ValueError, ImportError) as error:
        as_loaded(student.model, masters)
        raise InputError(" ".join(str(error).split())) from error
    trainer.masters = masters
    return trainer


def minimised(
    options: DistillOptions,
    config: DistillationConfig,
    fire: Fire | None,
    itself: SelfTeaching | None = None,
) -> dict[str, Any]:
    """What is minimised, as flags and their values."""
    weights = asdict(fire) if fire else {}
    own = asdict(itself) if itself else {}
    return {
        "--method": options.method,
        "--form": options.form,
        "--beta": config.beta,
        "--route": options.route,
        **{f"--fire_{name}": value for name, value in weights.items()},
        **{f"--sdft_{name}": value for name, value in own.items()},
    }


def check_settings(config: DistillationConfig, form: str) -> None:
    """Refuse what cannot be distilled with; the models and the data are not needed."""
    if form not in FORMS:
        raise InputError(f"form {form!r}: use {' or '.join(FORMS)}")
    if not config.temperature > 0:
        raise InputError(
            f"--temperature {config.temperature:g}: answers are drawn, at a temperature above 0"
        )
    overruled: Any = config.generation_kwargs or {}  # TRL lets these win
    heat = overruled.get("temperature", config.temperature)
    if heat != config.temperature:
        raise InputError(
            f"--generation_kwargs temperature {heat}: give --temperature, at which the loss is taken, too"
        )
    if config.remove_unused_columns:
        raise InputError(
            "--remove_unused_columns true: it would take away the column that says whose a row is: "
            "leave it out"
        )
    length = config.max_completion_length
    if length is not None and length < 1:
        raise InputError(f"--max_completion_length {length}: an answer has 1 token or more")
    if form == "sampled" and config.beta != 1:
        raise InputError(f"--beta {config.beta:g}: the sampled form is the reverse KL, --beta 1")
    shaping = {**dict.fromkeys(overruled.keys() - HARMLESS), **NEUTRAL}
    for name, whole in shaping.items():
        value = {**vars(config), **overruled}[name]
        if form == "sampled" and (value or 0) != (whole or 0):
            flag = f"--generation_kwargs {name}" if name in overruled else f"--{name}"
            raise InputError(
                f"{flag} {value}: the sampled form needs answers drawn from the student's whole "
                f"distribution: leave it out, or use --form full"
            )


def _rows(
    dataset: SFTDataset, keys: list[str], route: str | None, context: int | None, itself: bool
) -> list[dict[str, Any]]:
    """Prompts as token ids, with the number of the teacher, or what the student reads as its own."""
    prompts = {i: _prompt(dataset, example) for i, example in enumerate(dataset)}
    answered = [i for i in prompts if (dataset[i].target_tokens if itself else prompts[i])]
    if not answered:
        dataset.require_targets()
    dataset.refuse_weights("distillation, which trains on the student's own answers,")
    if len(answered) < len(prompts):
        logger.warning(
            "%s: %d of %d rows are left out: no answer follows, or it was cut off",
            named(dataset), len(prompts) - len(answered), len(prompts),
        )  # fmt: skip
    if itself:
        asked = _in_context(dataset, answered, context)
        return [
            {"prompt": prompts[i], "teacher": 0, "teacher_prompt": ids} for i, ids in asked.items()
        ]
    return [
        {"prompt": prompts[i], "teacher": teacher_of(dataset, i, keys, route)} for i in answered
    ]


def _in_context(
    dataset: SFTDataset, rows: Sequence[int], context: int | None
) -> dict[int, list[int]]:
    """Row -> the prompt with its demonstration, of those rows where it fits; it is said where some do not.

    Raises:
        InputError: none fits.
    """
    asked = prompts_in_context(dataset, rows, in_context, context)
    longest = context or dataset.info.max_length
    if not asked:
        raise InputError(
            f"{named(dataset)}: no prompt with its demonstration fits a context of {longest}: take shorter "
            "rows, or --method opd with a --teacher"
        )
    if len(asked) < len(rows):
        logger.warning(
            "%s: %d of %d rows are left out: the prompt with its demonstration does not fit a context of %d",
            named(dataset), len(rows) - len(asked), len(rows), longest,
        )  # fmt: skip
    return asked


def _prompt(dataset: SFTDataset, example: Example) -> list[int]:
    """What precedes the last target; without one a plain row is a prompt as it stands, if it is whole.

    Not so a conversation: what begins the answer's turn is missing.
    """
    if example.target_tokens:
        return prompt_of(example)
    plain = dataset.info.template == "none" and not example.truncated
    return example.input_ids if plain else []


def _length(row: Mapping[str, Any]) -> int:
    """Tokens before the answer, in the longer of the contexts in which it is read."""
    return max(len(row["prompt"]), len(row.get("teacher_prompt", ())))


def _check_step(config: DistillationConfig, rows: Rows, where: str) -> None:
    """Refuse fewer prompts than an optimiser step takes."""
    step = (
        config.per_device_train_batch_size * config.gradient_accumulation_steps * config.world_size
    )
    if len(rows) < step:
        raise InputError(
            f"{where}: {len(rows)} prompts, fewer than the {step} of an optimiser step: lower "
            "--per_device_train_batch_size or --gradient_accumulation_steps"
        )


def _context(models: Sequence[PreTrainedModel]) -> int | None:
    """Tokens of the shortest context; None where no model names one."""
    texts = [model.config.get_text_config() for model in models]
    found = [getattr(text, name, None) for text in texts for name in CONTEXT_FIELDS]
    return min((int(length) for length in found if length), default=None)
