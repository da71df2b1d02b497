"""One fine-tuning run, from a loaded model and a tokenised dataset to a trained trainer.

What an objective needs besides the batch is prepared here: log-probabilities under the model before
training, a quantile of them, a frozen copy. The run itself is TRL's (see `train.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from trl.data_utils import pack_dataset
from trl.trainer.sft_config import SFTConfig

from advisor.data.dataset import Example, SFTDataset
from advisor.errors import InputError
from advisor.model.forward import copied
from advisor.model.load import LoadedModel
from advisor.model.objective_step import at_quantiles
from advisor.objectives.table import Objective
from advisor.prior.prior import Prior
from advisor.progress import Progress, untold
from harness.generate.decoding import turn_ends
from harness.generate.own_answers import answers_of
from harness.generate.turn_end import turn_end_of
from harness.train.before_training import Columns, measured, positions
from harness.train.model_card import facts_of
from harness.train.objective_trainer import ObjectiveTrainer
from harness.train.packed_attention import attend_within_documents
from harness.train.precision import as_loaded, float_copies, float_masters, to_train
from harness.train.resampling import Resampler, Resampling, Row
from harness.train.resampling_trainer import ResamplingTrainer
from harness.train.saving import carry_template
from harness.train.switches import check_steps
from harness.train.trl_settings import by_nll, check_metric


def build_trainer(
    loaded: LoadedModel,
    dataset: SFTDataset,
    objective: Objective,
    config: SFTConfig,
    *,
    eval_dataset: SFTDataset | None = None,
    peft_config: Any = None,
    prior: Prior | None = None,
    resampling: Resampling | None = None,
    keep: Path | None = None,
    on_progress: Progress = untold,
) -> ObjectiveTrainer:
    """A trainer ready to `train()`; the model is the loaded one and is changed in place.

    Args:
        loaded: the model before training.
        dataset: its targets; rows without any are left out.
        objective: what to minimise.
        config: TRL's settings; how the data are prepared is not theirs to say.
        eval_dataset: likewise, for evaluation during training.
        peft_config: of PEFT, to train an adapter.
        prior: goes into the model card, like the names of model and dataset.
        resampling: resamples the least compatible examples while it trains, for `cadft`.
        keep: folder for what is measured of the model before training, so that a training that goes on
            need not measure it again.
        on_progress: told how many examples of how many were read for reference log-probabilities.

    Raises:
        InputError: no targets, or settings that the objective cannot be exact with.
    """
    by_nll(config)
    check_settings(objective, config, resampling)
    _check_precision(loaded, config, peft_config)
    resampling = prepare_resampling(resampling, dataset, config)
    rows = _rows(dataset)
    tests = [] if eval_dataset is None else _rows(eval_dataset)
    names = tuple(
        dict.fromkeys((*objective.before_training, *(["logp"] if objective.by_quantile else [])))
    )
    if names:
        reference = _reference(loaded, dataset, rows, names, keep, on_progress)
        objective = (
            at_quantiles(objective, reference["reference_logp"])
            if objective.by_quantile
            else objective
        )
    if objective.before_training and eval_dataset is not None:
        _reference(loaded, eval_dataset, tests, objective.before_training, None, untold)
    build: Callable[..., ObjectiveTrainer] = ObjectiveTrainer
    if resampling is not None:
        build = _resampling_trainer(resampling, dataset, rows, config)
    config.dataset_kwargs = {"skip_prepare_dataset": True}
    config.remove_unused_columns = False
    if config.padding_free and not config.packing:
        config.max_length = None  # TRL would insist on cutting; the rows are cut already
    carry_template(loaded.tokenizer, dataset)
    frozen = copied(loaded.model) if "anchor" in objective.needs else None
    masters = float_masters(loaded, peft_config)
    if config.packing or config.padding_free:
        attend_within_documents(loaded.model)
    try:
        trainer = build(
            objective=objective,
            model=to_train(loaded.model),
            reference_model=frozen,
            facts=facts_of(loaded, dataset, prior),
            turn_end=turn_end_of(dataset),
            args=config,
            train_dataset=_packed(rows, config),
            eval_dataset=None if eval_dataset is None else Dataset.from_list(tests),
            processing_class=loaded.tokenizer,
            peft_config=peft_config,
        )
    except ValueError as error:
        as_loaded(loaded.model, masters)
        raise _refusal(error) from error
    if peft_config is not None and (
        config.bf16 or config.fp16
    ):  # without autocast dtypes would not meet
        masters = float_copies(trainer.model)
    trainer.masters = masters
    return trainer


def _check_precision(loaded: LoadedModel, config: SFTConfig, peft_config: Any) -> None:
    """Refuse to train float16 weights themselves with Adam.

    Its epsilon of 1e-8 is 0 in float16, and so are the squares of small gradients: weights jump by 0 / 0 or
    many times the learning rate, and a few steps destroy a model without an error. An adapter is float32.
    """
    if loaded.dtype_chosen:  # it is trained in float32: see `float_masters`
        return
    if loaded.dtype == "float16" and peft_config is None and "adam" in str(config.optim).lower():
        raise InputError(
            f"{loaded.name}: is in float16, in which Adam destroys a model within a few steps: train it with "
            "--dtype float32 or bfloat16 (in memory: model.float()), or an adapter with --use_peft"
        )


def check_settings(objective: Objective, config: SFTConfig, resampling: Resampling | None) -> None:
    """Refuse what would make an objective other than it says; the model and the data are not needed."""
    if resampling is not None and objective.name != "cadft":
        raise InputError(
            f"--resample is the second stage of --objective cadft, not of {objective.name} (cadft(0) is dft)"
        )
    if resampling is not None and objective.before_training:
        raise InputError(
            f"--resample exchanges targets, and objective {objective.label} weighs them by the model before "
            "training, which never saw the new ones: leave out one of them"
        )
    if resampling is not None and config.packing:
        raise InputError(
            "resampling exchanges single examples: leave out --packing (--padding_free is fine)"
        )
    check_metric(objective.name, config)
    if config.max_steps > 0:
        check_steps(objective, config.max_steps)
    if objective.by_forward and config.train_batch_size * config.world_size == 1:
        raise InputError(
            f"objective {objective.label}: of one example in a forward none can be left out: give "
            "--per_device_train_batch_size 2 or more, or select over the whole step with whole=1"
        )
    whole = {"example", "step"} & set(objective.needs)
    if config.packing and config.packing_strategy != "bfd" and whole:
        raise InputError(
            f"objective {objective.name} needs whole examples: packing_strategy "
            f"{config.packing_strategy} cuts them, use bfd"
        )
    if "anchor" in objective.needs and (config.packing or config.padding_free):
        raise InputError(
            f"objective {objective.name} compares with the model before training on padded batches: "
            "leave out --packing and --padding_free"
        )


def prepare_resampling(
    resampling: Resampling | None, dataset: SFTDataset, config: SFTConfig
) -> Resampling | None:
    """The same with the form of this dataset's answers, where answers are to be verified.

    Raises:
        InputError: a training in which nothing could be resampled, or resampled rows never be trained on;
            rows with weights.
    """
    if resampling is None:
        return None
    rows = sum(1 for example in dataset if example.target_tokens)
    dataset.refuse_weights("--resample, which exchanges targets,")
    step = config.train_batch_size * config.gradient_accumulation_steps * config.world_size
    epochs = (
        config.max_steps * step / max(rows, 1) if config.max_steps > 0 else config.num_train_epochs
    )
    if epochs <= 1:
        raise InputError(
            f"resampling changes nothing where no example is seen twice (epochs: {epochs:.2g}): give "
            "--num_train_epochs 2 or more"
        )
    if resampling.verify:
        resampling = replace(
            resampling, answer_pattern=_pattern(dataset, resampling.answer_pattern)
        )
    return resampling


def _resampling_trainer(
    resampling: Resampling, dataset: SFTDataset, rows: list[Row], config: SFTConfig
) -> Callable[..., ObjectiveTrainer]:
    """The trainer that resamples; adds to every row its number in the source."""
    numbers = [i for i, example in enumerate(dataset) if example.target_tokens]
    for row, number in zip(rows, numbers, strict=True):
        row["row"] = number
    resampler = Resampler(resampling, rows=len(dataset), examples=len(rows), seed=config.seed)
    return partial(
        ResamplingTrainer,
        resampler=resampler,
        max_length=dataset.info.max_length,
        ends=turn_ends(dataset),
    )


def _pattern(dataset: SFTDataset, given: str | None) -> str:
    pattern = answers_of(dataset, given)
    if pattern is None:
        raise InputError(
            f"--resample_verify: the completions of {dataset.info.name} end in no answer of a known form; "
            "give --answer_regex with one group that finds it"
        )
    return pattern


def _rows(dataset: SFTDataset) -> list[Row]:
    """The rows of a dataset that have a target, as the collator takes them."""
    examples = [example for example in dataset if example.target_tokens]
    if not examples:
        dataset.require_targets()
    weighted = any(example.weights is not None for example in examples)
    return [_row(example, weighted=weighted) for example in examples]


def _row(example: Example, *, weighted: bool) -> Row:
    ends = set(example.terminators)
    ones = [1.0] * len(example.input_ids)
    return {
        **({"loss_weights": list(example.weights or ones)} if weighted else {}),
        "input_ids": example.input_ids,
        "labels": [-100, *example.labels[1:]],  # nothing precedes the first token
        "terminator": [int(i in ends) for i in range(len(example.input_ids))],
    }


def _reference(
    loaded: LoadedModel,
    dataset: SFTDataset,
    rows: list[Row],
    names: Sequence[str],
    keep: Path | None,
    on_progress: Progress,
) -> Columns:
    """Add what is read of the model before training to every row; returns it for all targets."""
    examples = [example for example in dataset if example.target_tokens]
    columns = measured(loaded, examples, names, keep=keep, on_progress=on_progress)
    end = 0
    for example, row in zip(examples, rows, strict=True):
        places = positions(example)
        part = slice(end, end := end + len(places))
        for name, values in columns.items():
            column = np.zeros(len(example.input_ids), dtype=np.float32)
            column[places] = values[part]
            row[name] = column.tolist()
    return columns


def _packed(rows: list[Row], config: SFTConfig) -> Dataset:
    dataset = Dataset.from_list(rows)
    if not config.packing:
        return dataset
    longest = max(len(row["input_ids"]) for row in rows)  # packing into less would cut examples
    return pack_dataset(dataset, max(config.max_length or 0, longest), config.packing_strategy)


def _refusal(error: ValueError) -> InputError:
    """What TRL refuses, in one line, with the way out where it is known."""
    text = " ".join(str(error).split())
    if "lm_head" in text and "adapter" in text:
        text += " Or train it whole: --lora_modules_to_save lm_head."
    return InputError(text)
