"""The settings of a study's short fine-tunes, refused before any run where a run would fail on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trl.trainer.sft_config import SFTConfig

from advisor.errors import InputError
from advisor.objectives.table import get_objective
from harness.records.arm import PAIRS, ROLLOUTS
from harness.study.fit_arm import Problem
from harness.study.methods import RESAMPLED, read_method
from harness.train.resampling import Resampling
from harness.train.sft import check_settings, prepare_resampling
from harness.train.trl_settings import read_settings, words_of

OURS = {
    "learning_rate": "give the grid with --learning_rates",
    "seed": "say how many with --seeds",
    "output_dir": "models are not kept; records go to --results",
    "save_strategy": "models are not kept; records go to --results",
    "resume_from_checkpoint": "started again, a study goes on by itself",
    "report_to": "the log of every run stands in its record",
    "disable_tqdm": "a study shows its own progress",
}
"""Settings of a training that a study decides, with how."""


def training_of(words: Sequence[str]) -> dict[str, Any]:
    """`--name value` words on top of the settings of a short fine-tune.

    Raises:
        InputError: a word that is no setting's, a setting that is not the user's, a value that TRL refuses.
    """
    settings: dict[str, Any] = {
        "per_device_train_batch_size": "8",
        "num_train_epochs": "1",
        "lr_scheduler_type": "cosine",
        "warmup_steps": "0.1",
        "logging_steps": "5",
    }
    given: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            if name in OURS:
                raise InputError(f"--{name} cannot be set: {OURS[name]}")
            given[name] = [value] if equals else []
        elif name:
            given[name].append(word)
        else:
            raise InputError(
                f"unknown argument {word}: MODEL and DATASET come first, all else has a flag"
            )
    for name, values in given.items():
        settings[name] = values if len(values) > 1 else values[0] if values else "true"
    _refuse_early(settings)
    return settings


def _refuse_early(settings: Mapping[str, Any]) -> None:
    """What TRL would refuse after minutes, and sizes that make no sense, before any work."""
    config = _config(settings)
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs"):
        if getattr(config, name) <= 0:
            raise InputError(f"--{name} {getattr(config, name)}: give a number above 0")


def _config(settings: Mapping[str, Any]) -> SFTConfig:
    """The settings as TRL reads them."""
    config: SFTConfig = read_settings(
        words_of(settings), {"output_dir": "unused", "report_to": "none"}
    )[0]
    return config


def refuse_arms(labels: Sequence[str], training: Mapping[str, Any], problem: Problem) -> None:
    """What the trainer of an arm would refuse when its turn comes, before any work."""
    config = _config(training)
    for method in map(read_method, labels):
        if method.targets in (PAIRS, ROLLOUTS):
            continue
        resampling = Resampling(share=method.share) if method.targets == RESAMPLED else None
        try:
            check_settings(get_objective(method.objective), config, resampling)
            prepare_resampling(resampling, problem.train, config)
        except InputError as error:
            why = str(error).replace("--resample ", "resampling ")
            raise InputError(f"--objectives {method.label}: {why}") from error
