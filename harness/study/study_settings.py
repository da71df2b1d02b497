"""The settings of a study's short fine-tunes, refused before any run where every run would fail on them.

Adapter and optimiser are built once, on a model without weights; what a run is refused for only as it trains
is in its record.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from peft import get_peft_model
from transformers import Trainer
from trl.trainer.sft_config import SFTConfig

from advisor.errors import InputError
from advisor.model.load import LoadedModel
from harness.runtime.quiet import quiet
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
logger = logging.getLogger(__name__)


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
    config: SFTConfig = _configured(settings)[0]
    return config


def _configured(settings: Mapping[str, Any], device: str = "auto") -> tuple[Any, Any]:
    """The settings as TRL and PEFT read them; None for the latter where no adapter is trained."""
    ours = {"output_dir": "unused", "report_to": "none"}
    return configured({**typed(settings), **ours}, device=device)


def refuse_unbuildable(loaded: LoadedModel, training: Mapping[str, Any]) -> None:
    """Build the adapter and the optimiser of every run once, on the model's shape alone.

    Args:
        loaded: the model; it is left as it is.
        training: settings of every run.

    Raises:
        InputError: modules that the model has not, an optimiser that is not installed or that refuses its
            settings.
    """
    config, adapter = _configured(training, loaded.device)
    try:
        with torch.device("meta"), quiet():
            skeleton: Any = type(loaded.model)(deepcopy(loaded.model.config))
            if adapter is not None:
                skeleton = get_peft_model(skeleton, adapter)
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(config, skeleton)
        if isinstance(kind, type) and not {"params", "model", "optimizer_dict"} & settings.keys():
            kind([torch.nn.Parameter(torch.zeros(2, 2, device=loaded.device))], **settings)
    except (ValueError, ImportError) as error:
        raise InputError(" ".join(str(error).split())) from error
    except Exception as error:  # of a model's own code, say: its first run tells
        logger.debug("the settings were not tried out: %s", error)


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
