"""The settings of a study's short fine-tunes, refused before any run where a run would fail on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trl.trainer.sft_config import SFTConfig

from advisor.errors import InputError
from harness.study.methods import read_method
from harness.study.problem import Problem
from harness.study.study_options import refuse_ours
from harness.study.target_effects import EFFECTS, refuse_lacking
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


def refuse_arms(
    labels: Sequence[str], training: Mapping[str, Any], problem: Problem, *, plan: str | None = None
) -> None:
    """What an arm would be refused for when its turn comes, before any work.

    Args:
        labels: of the arms.
        training: settings of every run.
        problem: what the arms train on.
        plan: the plan whose arms they are; None: they were asked for.

    Raises:
        InputError: a problem without what an arm trains on, or settings that its trainer would refuse.
    """
    config = _config(training)
    for method in map(read_method, labels):
        try:
            refuse_lacking(method, problem)
            EFFECTS[method.source.name].check(method, config, problem)
        except InputError as error:
            asked = f"--plan {plan}" if plan else f"--objectives {method.label}"
            raise InputError(f"{asked}: {error}") from error
