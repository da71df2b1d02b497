"""The commands that train or generate; heavy imports stand inside."""

from __future__ import annotations

import argparse
import json
import warnings
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError, TrainingDiverged, printable
from harness.cli.commands import measure, read_pair, resolve_ladder
from harness.cli.inputs import DATA_FLAGS, read_dataset, read_rows

if TYPE_CHECKING:
    from advisor.data.dataset import SFTDataset
    from advisor.model.load import LoadedModel

OUT = "--output_dir"


def train(args: argparse.Namespace) -> None:
    """`advisor train`."""
    from advisor.files import check_folder, make_folder
    from advisor.model.gguf import refuse as refuse_gguf
    from advisor.objectives.table import get_objective
    from harness.cli import display
    from harness.train.checkpoints import MadeWith, find_checkpoint, refuse_others, remarks
    from harness.train.resampling import read_resampling
    from harness.train.sft import build_trainer, check_settings, prepare_resampling
    from harness.train.trained_with import training_settings

    _ignore_renames()
    resampling = read_resampling(
        args.resample, args.resample_verify, args.answer_regex, args.resample_share
    )
    objective = get_objective(args.objective)
    resolve_ladder(args)
    refuse_gguf(args.model, args.command)
    check_folder(args.output_dir, flag=OUT, dataset=args.dataset, models=[args.model])
    fixed = {"max_length": args.max_length} if args.max_length else {}
    config, peft_config = _settings(args, **fixed)
    check_settings(objective, config, resampling)
    made_with = {
        "--objective": objective.label,
        "--resample": args.resample,
        "--resample_verify": args.resample_verify,
        "--resample_share": args.resample_share,
        "--answer_regex": args.answer_regex,
        "--use_peft": peft_config is not None,
        **training_settings(config, peft_config),
    }
    checkpoint = find_checkpoint(config)
    refuse_others(checkpoint, made_with)
    loaded, dataset = _pair(args)
    made_with |= _pair_settings(args, loaded, dataset)
    refuse_others(checkpoint, made_with)
    display.notes(remarks(config, checkpoint))
    make_folder(args.output_dir, flag=OUT)
    resampling = prepare_resampling(resampling, dataset, config)
    evaluation = _evaluation(args, loaded.tokenizer)
    prior = measure(loaded, dataset)
    trainer = build_trainer(
        loaded,
        dataset,
        objective,
        config,
        eval_dataset=evaluation,
        peft_config=peft_config,
        prior=prior,
        resampling=resampling,
        on_progress=display.Shown("log p before training"),
    )
    _say_losses(dataset, evaluation)
    trainer.add_callback(MadeWith(made_with))
    cautions = _train(trainer, checkpoint)
    _finish(trainer)
    trained = f"Trained with {trainer.objective.label}; the model is in {args.output_dir}."
    display.notes((trained, *trainer.notes, *cautions))


def distill_model(args: argparse.Namespace) -> None:
    """`advisor distill`."""
    from trl.trainer.distillation_config import DistillationConfig

    from advisor.files import check_folder, make_folder
    from advisor.model.gguf import refuse as refuse_gguf
    from harness.cli import display
    from harness.distill.distiller import build_distiller, check_settings, fire_settings, minimised
    from harness.distill.teachers import LOADING, fingerprints, read_teachers
    from harness.train.checkpoints import MadeWith, find_checkpoint, refuse_others, remarks
    from harness.train.trained_with import training_settings

    _ignore_renames()
    fire = fire_settings(args)
    named = read_teachers(args.teacher, args.route, {name: getattr(args, name) for name in LOADING})
    resolve_ladder(args)
    refuse_gguf(args.model, args.command)
    models = [args.model, *named.names.values()]
    check_folder(args.output_dir, flag=OUT, dataset=args.dataset, models=models)
    config, peft_config = _settings(args, DistillationConfig)
    check_settings(config, args.form)
    made_with = {
        **minimised(args, config, fire),
        "--use_peft": peft_config is not None,
        **training_settings(config, peft_config),
    }
    checkpoint = find_checkpoint(config)
    refuse_others(checkpoint, made_with)
    loaded, dataset = _pair(args)
    made_with |= _pair_settings(args, loaded, dataset)
    evaluation = _evaluation(args, loaded.tokenizer)
    teachers = named.load()
    made_with["--teacher"] = fingerprints(teachers, args.route)
    refuse_others(checkpoint, made_with)
    display.notes(remarks(config, checkpoint))
    make_folder(args.output_dir, flag=OUT)
    trainer = build_distiller(
        loaded,
        dataset,
        teachers,
        config,
        eval_dataset=evaluation,
        fire=fire,
        form=args.form,
        route=args.route,
        peft_config=peft_config,
    )
    _say_losses(dataset, evaluation)
    trainer.add_callback(MadeWith(made_with))
    cautions = _train(trainer, checkpoint)
    _finish(trainer)
    done = f"Distilled with {args.method}; the model is in {args.output_dir}."
    display.notes((done, *trainer.remarks, *cautions))


def rewrite(args: argparse.Namespace) -> None:
    """`advisor rewrite`."""
    from advisor.model.gguf import refuse as refuse_gguf
    from harness.cli import display
    from harness.cli.rewrite_command import output_file, remarks, run_rewriting, settings_of

    settings = settings_of(args)
    resolve_ladder(args)
    refuse_gguf(args.model, args.command)
    path = output_file(args.output_path, args.dataset)
    loaded, dataset = _pair(args)
    found = run_rewriting(
        args,
        path,
        settings,
        loaded,
        dataset,
        lambda rows: read_rows(args, loaded.tokenizer, rows, whole_context=True),
        display.Shown("rewriting"),
    )
    _say_losses(dataset)
    display.notes(remarks(found))
    print(json.dumps(found.to_dict()) if args.json else printable(found.path))


def confirm(args: argparse.Namespace) -> None:
    """`advisor confirm`."""
    from advisor.advice.recommend import recommend
    from advisor.model.gguf import refuse as refuse_gguf
    from advisor.model.load import decoding_temperature
    from harness.cli import display
    from harness.cli.confirm_command import plan_study, run_study

    _ignore_renames()
    resolve_ladder(args)
    refuse_gguf(args.model, args.command)
    loaded, dataset = read_pair(args)
    if args.temperature is None:
        args.temperature, origin = decoding_temperature(loaded.model)
        display.notes((f"Decoding at temperature {args.temperature:g}: {origin}.",))
    prior = measure(loaded, dataset)
    advice = recommend(prior, temperature=args.temperature, kind=getattr(args, "model_kind", None))
    tokenizer = loaded.tokenizer
    display.tokenise(dataset, range(len(dataset)))
    _say_losses(dataset)
    study, problem = plan_study(
        args, loaded, dataset, advice, lambda rows: read_rows(args, tokenizer, rows)
    )
    del loaded  # every run loads its own
    run_study(args, study, problem)


def _pair(args: argparse.Namespace) -> tuple[LoadedModel, SFTDataset]:
    """Model and dataset; the model stops where the dataset's turns end, now and as it is saved."""
    from harness.generate.decoding import stop_where_turns_end

    loaded, dataset = read_pair(args)
    stop_where_turns_end(loaded, dataset)
    return loaded, dataset


def _say_losses(*datasets: SFTDataset | None) -> None:
    """How many of the rows read are dropped, and why, on stderr."""
    from harness.cli import display

    for dataset in datasets:
        display.notes(dataset.losses() if dataset is not None else ())


def _pair_settings(
    args: argparse.Namespace, loaded: LoadedModel, dataset: SFTDataset
) -> dict[str, Any]:
    """MODEL, DATASET and how it is read, as a checkpoint keeps them: what was chosen, by flag or not."""
    info = dataset.info
    template = "none" if info.template == "none" else f"of hash {info.template_hash}"
    return {
        "MODEL": f"of fingerprint {loaded.fingerprint}",
        "DATASET": f"of fingerprint {info.fingerprint}",
        **{f"--{name}": getattr(args, name) for name in DATA_FLAGS},
        "--split": info.split,
        "--chat_template": template,
        "--eos_token": info.eos_token or "none",
        "--max_length": info.max_length,
        "--dtype": loaded.dtype,
    }


def _settings(args: argparse.Namespace, config_type: Any = None, **fixed: Any) -> tuple[Any, Any]:
    """TRL's settings and PEFT's; with a split to evaluate on, that is done after every epoch by default.

    Raises:
        InputError: settings that are refused.
    """
    from trl.trainer.sft_config import SFTConfig

    from harness.train.trl_settings import read_settings

    words = ["--eval_strategy", "epoch"] if args.eval_split else []
    fixed["output_dir"] = args.output_dir
    found = read_settings([*words, *args.settings], fixed, config_type or SFTConfig)
    strategy = found[0].eval_strategy.value
    if strategy != "no" and not args.eval_split:
        raise InputError(f"--eval_strategy {strategy}: on what? name a split with --eval_split")
    return found


def _evaluation(args: argparse.Namespace, tokenizer: Any) -> SFTDataset | None:
    """The split to evaluate on."""
    if not args.eval_split:
        return None
    try:
        return read_dataset(args, tokenizer, split=args.eval_split)
    except InputError as error:
        raise InputError(str(error).replace("--split", "--eval_split")) from error


def _train(trainer: Any, checkpoint: str | None) -> tuple[str, ...]:
    """Train; gives cautions on what came of it, and says of what diverges which checkpoint is left.

    Raises:
        TrainingDiverged: a loss, gradient or weight is not finite.
    """
    from harness.cli import display
    from harness.runtime.quiet import bars_closed
    from harness.train.checkpoints import say_where_it_goes_on, what_is_left
    from harness.train.divergence import REMEDY
    from harness.train.resolution import WatchResolution

    watch = WatchResolution()
    trainer.add_callback(watch)
    say_where_it_goes_on(trainer, checkpoint, display.notes)
    try:
        with bars_closed(trainer):
            trainer.train(resume_from_checkpoint=checkpoint)
    except TrainingDiverged as error:
        done = trainer.state.global_step
        left = what_is_left(trainer.args.output_dir, proven=trainer.proven, done=done)
        raise TrainingDiverged(f"{error}; {left}: {REMEDY}") from error
    return watch.remarks(trainer)


def _finish(trainer: Any) -> None:
    """Model, state and card into the output folder; then the ranks part."""
    from harness.runtime.process_group import leave_process_group

    trainer.save_model()
    trainer.save_state()
    trainer.create_model_card()
    leave_process_group(trainer)


def _ignore_renames() -> None:
    """TRL and PEFT still use names that transformers has renamed; nobody who trains can mend that."""
    warnings.filterwarnings("ignore", message=".*will be removed in v6", category=FutureWarning)
