"""`advisor distill`, less the command line: planned, fitted to its models and data, and run.

In three steps, as `harness/train/fine_tune.py`: `plan`, `fit_to`, `distill`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trl.trainer.distillation_config import DistillationConfig

from advisor.data.dataset import SFTDataset
from advisor.errors import InputError
from advisor.files import check_folder, make_folder
from advisor.model.load import LoadedModel
from advisor.options import DataOptions, ModelOptions
from harness.distill.distill_options import DistillOptions
from harness.distill.distiller import build_distiller, check_settings, minimised
from harness.distill.fire_settings import Fire
from harness.distill.self_settings import SelfTeaching
from harness.distill.teachers import LOADING, Teachers, fingerprints, read_teachers
from harness.ladder.named_pair import Pair
from harness.train.checkpoints import MadeWith, find_checkpoint, refuse_others, remarks
from harness.train.run_training import Say, finish, pair_settings, run_trainer, trl_configs
from harness.train.trained_with import training_settings
from harness.train.training_options import OUT


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """A distillation that nothing speaks against so far."""

    options: DistillOptions
    """What is asked."""
    fire: Fire | None
    """Filter and weights; None: neither."""
    itself: SelfTeaching | None
    """How the student teaches itself; None: others do."""
    teachers: Teachers
    """Named, not loaded."""
    config: DistillationConfig
    """TRL's settings."""
    peft_config: Any
    """PEFT's; None where the whole model is trained."""
    made_with: Mapping[str, Any]
    """What a checkpoint keeps, by flag."""
    checkpoint: str | None
    """Where the training goes on; None: at its first step."""


def plan(
    options: DistillOptions,
    fire: Fire | None,
    settings: Mapping[str, Any],
    pair: Pair,
    model: ModelOptions,
    itself: SelfTeaching | None = None,
) -> Distillation:
    """The distillation that options and TRL's typed settings ask for; nothing is read or written.

    Raises:
        InputError: what cannot be distilled, or not be gone on with.
    """
    loading = {name: getattr(model, name) for name in LOADING}
    if itself is None:
        teachers = read_teachers(options.teacher or (), options.route, loading)
    else:
        _refuse_others(options, settings)
        teachers = Teachers(names={}, loading=loading)
    models = [pair.model, *teachers.names.values()]
    check_folder(options.output_dir, flag=OUT, dataset=pair.dataset, models=models)
    config, peft_config = trl_configs(settings, options, DistillationConfig, device=model.device)
    check_settings(config, options.form)
    made_with = {
        **minimised(options, config, fire, itself),
        "--use_peft": peft_config is not None,
        **training_settings(config, peft_config, by_forward=fire is not None and fire.by_forward),
    }
    checkpoint = find_checkpoint(config)
    refuse_others(checkpoint, made_with)
    return Distillation(
        options=options,
        fire=fire,
        itself=itself,
        teachers=teachers,
        config=config,
        peft_config=peft_config,
        made_with=made_with,
        checkpoint=checkpoint,
    )


def _refuse_others(options: DistillOptions, settings: Mapping[str, Any]) -> None:
    """Refuse what has no part in a model's teaching itself."""
    if "beta" in settings:
        raise InputError(
            f"--beta {settings['beta']}: --method sdft takes the forward KL, and with --sdft_reverse the "
            "reverse one: leave --beta out"
        )
    for flag, given in (("--teacher", options.teacher), ("--route", options.route)):
        if given:
            raise InputError(
                f"{flag}: with --method sdft the model is its own teacher: leave it out"
            )
    if options.form != "full":
        raise InputError(
            f"--form {options.form}: --method sdft compares whole distributions: leave it out"
        )


def fit_to(
    planned: Distillation, loaded: LoadedModel, dataset: SFTDataset, data: DataOptions
) -> Distillation:
    """The plan with what student and data add to it.

    Raises:
        InputError: a checkpoint of another model or dataset.
    """
    made_with = {**planned.made_with, **pair_settings(loaded, dataset, data)}
    return replace(planned, made_with=made_with)


def distill(
    planned: Distillation,
    loaded: LoadedModel,
    dataset: SFTDataset,
    *,
    evaluation: SFTDataset | None = None,
    say: Say = lambda lines: None,
) -> tuple[str, ...]:
    """Load the teachers, train, and write model, state and card; gives what is to be said of it.

    Args:
        planned: what `fit_to` gave.
        loaded: the student, changed in place.
        dataset: its prompts.
        evaluation: likewise, for evaluation during training.
        say: told where the training goes on, and which rows are dropped.

    Raises:
        InputError: a checkpoint of other teachers, or as of `build_distiller`.
        TrainingDiverged: a loss, gradient or weight is not finite.
    """
    options, config = planned.options, planned.config
    teachers = planned.teachers.load()
    made_with = {**planned.made_with, "--teacher": fingerprints(teachers, options.route)}
    refuse_others(planned.checkpoint, made_with)
    say(remarks(config, planned.checkpoint))
    make_folder(options.output_dir, flag=OUT)
    trainer = build_distiller(
        loaded,
        dataset,
        teachers,
        config,
        eval_dataset=evaluation,
        fire=planned.fire,
        itself=planned.itself,
        form=options.form,
        route=options.route,
        peft_config=planned.peft_config,
    )
    for data in (dataset, evaluation):
        say(list(data.losses()) if data is not None else [])
    trainer.add_callback(MadeWith(made_with))
    cautions = run_trainer(trainer, planned.checkpoint, say)
    finish(trainer)
    done = f"Distilled with {options.method}; the model is in {options.output_dir}."
    return (done, *trainer.remarks, *cautions)
