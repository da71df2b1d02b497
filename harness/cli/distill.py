"""`advisor distill`: train a model on its own answers towards a teacher's distribution."""

from __future__ import annotations

import argparse

from advisor.files import check_folder
from advisor.model.gguf import refuse as refuse_gguf
from advisor.options import DataOptions, ModelOptions
from harness.cli.early import check_pair
from harness.cli.flags import add_options, add_pair, given, read
from harness.cli.inputs import given_pair, read_evaluation, read_pair_to_train, say
from harness.distill.distill_options import DistillOptions
from harness.distill.fire_settings import Fire, fire_settings
from harness.distill.self_settings import SelfTeaching, self_settings
from harness.train.training_options import OUT

DESCRIPTION = (
    "Let MODEL, the student, answer the prompts of DATASET and move it towards the teacher at every token. "
    "The targets of DATASET are read with --method sdft alone. Beside the options below, every field of "
    "TRL's DistillationConfig and the adapter fields of ModelConfig are accepted as flags and in --config."
)
EXAMPLE = "advisor distill Qwen/Qwen2.5-0.5B train.jsonl --teacher Qwen/Qwen2.5-7B --output_dir out"
IN_GENERAL = ("output_dir", "eval_split")
PREFIX, OWN_PREFIX = "fire_", "sdft_"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags; those of TRL are handed on."""
    add_pair(parser)
    add_options(parser, ModelOptions, only=("revision", "trust_remote_code"))
    add_options(parser, DistillOptions, only=IN_GENERAL)
    add_options(parser.add_argument_group("data"), DataOptions)
    model = parser.add_argument_group("model")
    add_options(model, ModelOptions, only=("dtype", "device", "allow_pickle"))
    add_options(parser.add_argument_group("method"), DistillOptions, without=IN_GENERAL)
    add_options(parser.add_argument_group("fire"), Fire, prefix=PREFIX)
    add_options(parser.add_argument_group("sdft"), SelfTeaching, prefix=OWN_PREFIX)


def run(args: argparse.Namespace) -> None:
    """Refuse early, then plan, read, train and save."""
    options = read(DistillOptions, args)
    fire = fire_settings(options.method, given(Fire, args, prefix=PREFIX))
    itself = self_settings(options.method, given(SelfTeaching, args, prefix=OWN_PREFIX))
    pair, model, data = given_pair(args)
    refuse_gguf(pair.model, "distill")
    check_folder(options.output_dir, flag=OUT, dataset=pair.dataset, models=[pair.model])
    check_pair(pair, data)

    from trl.trainer.distillation_config import DistillationConfig

    from harness.cli import display
    from harness.distill.distill import distill, fit_to, plan
    from harness.train.run_training import ignore_renames
    from harness.train.trl_settings import read_words

    ignore_renames()
    settings = read_words(args.settings, DistillationConfig)
    planned = plan(options, fire, settings, pair, model, itself)
    loaded, dataset = read_pair_to_train(pair, model, data)
    planned = fit_to(planned, loaded, dataset, data)
    evaluation = read_evaluation(options.eval_split, pair, data, loaded)
    display.notes(distill(planned, loaded, dataset, evaluation=evaluation, say=say))
