"""`advisor train`: fine-tune with any objective of the table."""

from __future__ import annotations

import argparse

from advisor.files import check_folder
from advisor.model.gguf import refuse as refuse_gguf
from advisor.objectives.table import get_objective
from advisor.options import DataOptions, ModelOptions
from harness.cli.early import check_pair
from harness.cli.flags import add_options, add_pair, read
from harness.cli.inputs import given_pair, measure, read_evaluation, read_pair_to_train, say
from harness.train.training_options import OUT, TrainingOptions

DESCRIPTION = (
    "Fine-tune MODEL on DATASET. Beside the options below, it takes every field of TRL's SFTConfig and the "
    "adapter fields of its ModelConfig (--use_peft, --lora_r, ...), as flags and in --config. "
    "For several processes: torchrun --nproc_per_node 2 -m advisor train ..."
)
EXAMPLE = "advisor train Qwen/Qwen2.5-0.5B train.jsonl --objective dft --learning_rate 1e-5 --output_dir out"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags; those of TRL are handed on."""
    add_pair(parser)
    add_options(parser, ModelOptions, only=("revision", "trust_remote_code"))
    add_options(parser, TrainingOptions)
    add_options(parser.add_argument_group("data"), DataOptions)
    model = parser.add_argument_group("model")
    add_options(model, ModelOptions, only=("dtype", "device", "allow_pickle"))


def run(args: argparse.Namespace) -> None:
    """Refuse early, then plan, read, train and save."""
    options = read(TrainingOptions, args)
    get_objective(options.objective)
    pair, model, data = given_pair(args)
    refuse_gguf(pair.model, "train")
    check_folder(options.output_dir, flag=OUT, dataset=pair.dataset, models=[pair.model])
    check_pair(pair, data)

    from harness.cli import display
    from harness.train.fine_tune import fine_tune, fit_to, plan
    from harness.train.run_training import ignore_renames
    from harness.train.trl_settings import read_words

    ignore_renames()
    planned = plan(options, read_words(args.settings), pair, data, device=model.device)
    loaded, dataset = read_pair_to_train(pair, model, data)
    planned = fit_to(planned, loaded, dataset, data, say)
    evaluation = read_evaluation(options.eval_split, pair, data, loaded)
    trained = fine_tune(
        planned,
        loaded,
        dataset,
        evaluation=evaluation,
        prior=measure(loaded, dataset) if options.measure_prior else None,
        say=say,
        on_progress=display.Shown("log p before training"),
    )
    display.notes(trained.notes)
