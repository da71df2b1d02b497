"""The commands that train or generate; heavy imports stand inside."""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

from advisor.commands import LADDER, measure, read_pair, resolve_ladder
from advisor.errors import printable
from advisor.inputs import read_dataset, read_rows


def train(args: argparse.Namespace) -> None:
    """`advisor train`."""
    from advisor import display
    from advisor.objectives import get_objective
    from harness.finetune import build_trainer
    from harness.settings import read_settings
    from harness.targets import read_rewriting

    _ignore_renames()
    rewriting = read_rewriting(args.rewrite, args.rewrite_verify, args.answer_regex)
    objective = get_objective(args.objective)
    resolve_ladder(args)
    fixed = {"output_dir": args.output_dir}
    if args.max_length:
        fixed["max_length"] = args.max_length
    config, peft_config = read_settings(args.settings, fixed)
    loaded, dataset = read_pair(args)
    evaluation = (
        read_dataset(args, loaded.tokenizer, split=args.eval_split) if args.eval_split else None
    )
    prior = measure(loaded, dataset)
    trainer = build_trainer(
        loaded,
        dataset,
        objective,
        config,
        eval_dataset=evaluation,
        peft_config=peft_config,
        prior=prior,
        rewriting=rewriting,
        on_progress=display.counter("log p before training"),
    )
    trainer.train(resume_from_checkpoint=_checkpoint(config))
    _keep(trainer)
    trained = f"Trained with {trainer.objective.label}; the model is in {args.output_dir}."
    display.notes((trained, *trainer.notes))


def distill_model(args: argparse.Namespace) -> None:
    """`advisor distill`."""
    from trl.trainer.distillation_config import DistillationConfig

    from advisor import display
    from advisor.model import load_model
    from harness.distill import distill, fire_settings, teacher_names
    from harness.settings import read_settings

    _ignore_renames()
    fire = fire_settings(args)
    names = teacher_names(args.teacher, args.route)
    resolve_ladder(args)
    config, peft_config = read_settings(
        args.settings, {"output_dir": args.output_dir}, DistillationConfig
    )
    loaded, dataset = read_pair(args)
    teachers = {
        key: load_model(
            _model_folder(name),
            dtype=args.dtype,
            device=args.device,
            trust_remote_code=args.trust_remote_code,
            allow_pickle=args.allow_pickle,
        )
        for key, name in names.items()
    }
    trainer = distill(
        loaded,
        dataset,
        teachers,
        config,
        fire=fire,
        form=args.form,
        route=args.route,
        peft_config=peft_config,
        resume_from_checkpoint=_checkpoint(config),
    )
    _keep(trainer)
    display.notes((f"Distilled with {args.method}; the model is in {args.output_dir}.",))


def _model_folder(name: str) -> str:
    """What a model's name stands for: `ladder:NAME` is a folder of the installation."""
    from harness.ladder import resolve

    return str(resolve(name.removeprefix(LADDER))[0]) if name.startswith(LADDER) else name


def rewrite(args: argparse.Namespace) -> None:
    """`advisor rewrite`."""
    from advisor import display
    from harness.rewrite_command import output_file, remarks, run_rewriting, settings_of

    path, settings = output_file(args.output_path), settings_of(args)
    resolve_ladder(args)
    loaded, dataset = read_pair(args)
    found = run_rewriting(
        args,
        path,
        settings,
        loaded,
        dataset,
        lambda rows: read_rows(args, loaded.tokenizer, rows, whole_context=True),
        display.counter("rows"),
    )
    display.notes(remarks(found))
    print(json.dumps(found.to_dict()) if args.json else printable(found.path))


def confirm(args: argparse.Namespace) -> None:
    """`advisor confirm`."""
    from advisor import display
    from advisor.model import decoding_temperature
    from advisor.recommend import recommend
    from harness.command import run_confirmation

    _ignore_renames()
    resolve_ladder(args)
    loaded, dataset = read_pair(args)
    if args.temperature is None:
        args.temperature, origin = decoding_temperature(loaded.model)
        display.notes((f"Decoding at temperature {args.temperature:g}: {origin}.",))
    prior = measure(loaded, dataset)
    advice = recommend(prior, temperature=args.temperature, kind=getattr(args, "model_kind", None))
    run_confirmation(
        args,
        loaded,
        dataset,
        advice,
        lambda rows: read_rows(args, loaded.tokenizer, rows),
    )


def _keep(trainer: Any) -> None:
    """Model, state and card into the output folder."""
    trainer.save_model()
    trainer.save_state()
    trainer.create_model_card()


def _ignore_renames() -> None:
    """TRL and PEFT still use names that transformers has renamed; nobody who trains can mend that."""
    warnings.filterwarnings("ignore", message=".*will be removed in v6", category=FutureWarning)


def _checkpoint(config: Any) -> str | None:
    """`--resume_from_checkpoint true` means the newest whole checkpoint of the output folder, if any."""
    from harness.finetune import newest_checkpoint

    text: str | None = config.resume_from_checkpoint
    return newest_checkpoint(config.output_dir) if str(text).lower() in ("true", "1") else text
