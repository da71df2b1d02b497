"""TRL's own settings from the command line: every field of a trainer's, and the adapter's of ModelConfig."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import torch
from transformers import HfArgumentParser
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from trl.trainer.model_config import ModelConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.utils import get_peft_config

from advisor.errors import InputError
from harness.train.trl_fields import refuse_ours, unknown

ADAPTER = ("lora_", "use_rslora", "use_dora")
"""How the names of an adapter's settings begin."""
CHOOSES = ("best", "reduce_lr_on_plateau")
"""Values of settings with which a checkpoint or a rate is chosen by a metric of evaluation."""
NLL = "eval_nll"
"""By which: the mean over all target tokens, whatever the objective and the size of a batch. A weighted
objective's own loss tends to 0 where p does, so that it would choose the model that has forgotten most."""
SMALLER_IS_BETTER = ("nll", "loss", "share_p_below_0.1")


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def read_words(words: Sequence[str], config_type: Any = SFTConfig) -> dict[str, Any]:
    """The settings that words give, each of its field's type; what is not given is left out.

    Args:
        words: `--name value` words, in snake case.
        config_type: which of TRL's configurations they may be of, beside ModelConfig.

    Raises:
        InputError: an unknown field, naming the nearest; a value that its type refuses.
    """
    refuse_ours(word.removeprefix("--").split("=")[0] for word in words if word.startswith("--"))
    parser = _Parser(cast(Any, (config_type, ModelConfig)), allow_abbrev=False)
    nothing = object()  # stands where nothing is given, so that no default is set
    unset = SimpleNamespace(**dict.fromkeys(_names(config_type), nothing))
    found, rest = parser.parse_known_args(list(words), unset)
    if rest:
        raise InputError(unknown(rest[0], _names(config_type), config_type.__name__))
    return {name: value for name, value in vars(found).items() if value is not nothing}


def configured(
    settings: Mapping[str, Any], config_type: Any = SFTConfig, *, device: str = "auto"
) -> tuple[Any, Any]:
    """Typed settings to (configuration, PEFT configuration or None).

    Args:
        settings: fields of the configuration and of ModelConfig, by name.
        config_type: which of TRL's configurations.
        device: that the model is on, or is asked for; Trainer moves a model to the GPU that it finds.

    Raises:
        InputError: an unknown field, naming the nearest; what TRL refuses.
    """
    refuse_ours(settings)
    of_adapter = {field.name for field in dataclasses.fields(ModelConfig)}
    for name in settings:
        if name not in _names(config_type):
            raise InputError(unknown(f"--{name}", _names(config_type), config_type.__name__))
    chosen = {**_defaults(settings, device), **_metric(settings, config_type), **settings}
    try:
        with (
            warnings.catch_warnings()
        ):  # TRL's own defaults use names that transformers has renamed
            warnings.simplefilter("ignore", FutureWarning)
            adapter = ModelConfig(**{k: v for k, v in chosen.items() if k in of_adapter})
            config = config_type(**{k: v for k, v in chosen.items() if k not in of_adapter})
    except (ValueError, ImportError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if (
        config.n_gpu > 1
    ):  # Trainer would copy the model to each: several GPUs are for several processes
        config._n_gpu = 1
    _check_reporters(config.report_to)
    return config, _peft_config(adapter, settings)


def typed(training: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training as its fields have them, from the texts that records keep.

    Raises:
        InputError: as of `read_words`.
    """
    texts = {
        name: value
        for name, value in training.items()
        if isinstance(value, str)
        or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    }
    read = read_words(_words(texts))
    return {name: read.get(name, value) for name, value in training.items()}


def _words(texts: Mapping[str, str | list[str]]) -> list[str]:
    """Settings as words of a command line; a list is several words after one flag."""
    words = []
    for name, value in texts.items():
        words += [f"--{name}", *value] if isinstance(value, list) else [f"--{name}={value}"]
    return words


def _names(config_type: Any) -> list[str]:
    """The fields that may be set: those of the configuration, then ModelConfig's."""
    return [field.name for kind in (config_type, ModelConfig) for field in dataclasses.fields(kind)]


def _peft_config(adapter: Any, settings: Mapping[str, Any]) -> Any:
    """PEFT's configuration; None where no adapter is trained.

    Raises:
        InputError: settings of an adapter without one.
    """
    if not adapter.use_peft:
        given = [name for name in settings if name.startswith(ADAPTER)]
        if given:
            raise InputError(
                f"--{given[0]} is of an adapter, and without --use_peft none is trained: add --use_peft, or "
                "leave it out"
            )
    for name in ("lora_target_modules", "lora_target_parameters"):
        value = getattr(adapter, name)
        # ModelConfig makes a list of one a text, which PEFT reads as a pattern for a module's whole path.
        if isinstance(value, str) and value != "all-linear" and re.fullmatch(r"[\w.]+", value):
            setattr(adapter, name, [value])
    return get_peft_config(adapter)


def _metric(settings: Mapping[str, Any], config_type: Any) -> dict[str, Any]:
    """By what the best checkpoint is chosen, and in which direction, where that was not said."""
    chooses = "load_best_model_at_end" in settings or any(
        value in CHOOSES for value in settings.values() if isinstance(value, str)
    )
    if not (chooses and issubclass(config_type, SFTConfig)) or "greater_is_better" in settings:
        return {}
    metric = settings.get("metric_for_best_model")
    if metric is None:
        return {"metric_for_best_model": NLL, "greater_is_better": False}
    smaller = metric.removeprefix("eval_") in SMALLER_IS_BETTER
    return {"greater_is_better": False} if smaller else {}


def by_nll(config: SFTConfig) -> None:
    """Have the best checkpoint chosen by NLL where TRL's own default stands, the reported loss."""
    if config.metric_for_best_model == "loss" and not config.greater_is_better:
        config.metric_for_best_model = NLL


def check_metric(objective: str, config: SFTConfig) -> None:
    """Refuse a choice by the loss that an objective reports, unless that is the NLL.

    Raises:
        InputError: names what to choose by instead.
    """
    if config.metric_for_best_model in ("loss", "eval_loss") and objective != "nll":
        raise InputError(
            f"--metric_for_best_model {config.metric_for_best_model}: the loss that {objective} reports can "
            "fall where the model gets worse: choose by eval_nll (the default) or eval_mean_p"
        )


def settings_for(config_type: Any, config: SFTConfig, given: Iterable[str]) -> dict[str, Any]:
    """What of the given settings another of TRL's configurations has too; packing and the like are not."""
    known = {field.name for field in dataclasses.fields(config_type)} & set(given)
    return {name: getattr(config, name) for name in sorted(known)}


def _defaults(settings: Mapping[str, Any], device: str) -> dict[str, Any]:
    """On a CPU bf16 autocast is slower than float32 and Trainer has to be told to stay there."""
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerated and device != "cpu":
        return {}
    chosen = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    return {name: value for name, value in chosen.items() if name not in settings}


def _check_reporters(names: list[str]) -> None:
    """Refuse what Trainer cannot report to, which it finds when everything is loaded."""
    for name in names:
        try:
            for callback in get_reporting_integration_callbacks([name]):
                callback()
        except (ValueError, ImportError, RuntimeError) as error:
            raise InputError(f"--report_to {name}: {' '.join(str(error).split())}") from error
