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
from harness.study.study_options import refuse_ours
from harness.train.resampling import Resampling
from harness.train.sft import check_settings, prepare_resampling
from harness.train.trl_settings import configured, typed

SHORT: Mapping[str, Any] = {
    "per_device_train_batch_size": 8,
    "num_train_epochs": 1.0,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "logging_steps": 5.0,
}
"""Settings of a short fine-tune."""


def training_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Typed settings on top of those of a short fine-tune.

    Raises:
        InputError: no setting of TRL's, one that is not the user's, a value that TRL refuses.
    """
    refuse_ours(settings)
    training = {**SHORT, **settings}
    _refuse_early(training)
    return training


def _refuse_early(settings: Mapping[str, Any]) -> None:
    """What TRL would refuse after minutes, and sizes that make no sense, before any work."""
    config = _config(settings)
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs"):
        if getattr(config, name) <= 0:
            raise InputError(f"--{name} {getattr(config, name)}: give a number above 0")


def _config(settings: Mapping[str, Any]) -> SFTConfig:
    """The settings as TRL reads them."""
    ours = {"output_dir": "unused", "report_to": "none"}
    config: SFTConfig = configured({**typed(settings), **ours})[0]
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
