"""TRL's own settings from the command line: every field of a trainer's, and the adapter's of ModelConfig."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from transformers import HfArgumentParser
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from trl.trainer.model_config import ModelConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.utils import get_peft_config

from advisor.errors import InputError
from advisor.names import did_you_mean

QUANTISED = "the model is loaded as --dtype says, not quantised"
NOT_YOURS = {
    "loss_type": "the objective is chosen with --objective",
    "use_liger_kernel": "its fused loss is NLL; the loss here is fused already",
    "label_smoothing_factor": "it is defined for NLL alone",
    "dataset_kwargs": "the dataset is read and tokenised by the advisor",
    "dataset_text_field": "name columns with --prompt_field and --completion_field",
    "completion_only_loss": "targets are what `advisor validate` marks",
    "assistant_only_loss": "targets are what `advisor validate` marks",
    "chat_template_path": "give it with --chat_template",
    "model_name_or_path": "the model is the first argument",
    "model_revision": "give it with --revision",
    "teacher_model_name_or_path": "give it with --teacher",
    "teacher_model_revision": "give a local folder with --teacher",
    "teacher_model_init_kwargs": "teachers are loaded as the student is",
    "attn_implementation": "the model's own is used",
    "load_in_8bit": QUANTISED,
    "load_in_4bit": QUANTISED,
    "bnb_4bit_quant_type": QUANTISED,
    "bnb_4bit_quant_storage": QUANTISED,
    "use_bnb_nested_quant": QUANTISED,
}
"""Fields that something else decides here, with what."""
ADAPTER = ("lora_", "use_rslora", "use_dora")
"""How the names of an adapter's settings begin."""
CHOOSES = ("--load_best_model_at_end", "best", "reduce_lr_on_plateau")
"""Words with which a checkpoint or a rate is chosen by a metric of evaluation."""
NLL = "eval_nll"
"""By which: the mean over all target tokens, whatever the objective and the size of a batch. A weighted
objective's own loss tends to 0 where p does, so that it would choose the model that has forgotten most."""
SMALLER_IS_BETTER = ("nll", "loss", "share_p_below_0.1")


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def read_settings(
    flags: Sequence[str], fixed: Mapping[str, Any], config_type: Any = SFTConfig
) -> tuple[Any, Any]:
    """Flags to (configuration, PEFT configuration or None).

    Args:
        flags: `--name value` words, in snake case.
        fixed: fields that the command has decided.
        config_type: which of TRL's configurations.

    Raises:
        InputError: an unknown field, naming the nearest; a value that its type or TRL refuses.
    """
    kinds: Any = (config_type, ModelConfig)
    parser = _Parser(kinds, allow_abbrev=False)
    _refuse_ours(flags)
    words = [*_defaults(flags), *_metric(flags, config_type), *flags]
    for name, value in fixed.items():
        words += [f"--{name}", str(value)]
    try:
        with (
            warnings.catch_warnings()
        ):  # TRL's own defaults use names that transformers has renamed
            warnings.simplefilter("ignore", FutureWarning)
            config, adapter, rest = parser.parse_args_into_dataclasses(
                list(words), return_remaining_strings=True
            )
    except (ValueError, ImportError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if rest:
        raise InputError(_unknown(rest[0], config_type))
    _check_reporters(config.report_to)
    return config, _peft_config(adapter, flags)


def _peft_config(adapter: Any, flags: Sequence[str]) -> Any:
    """PEFT's configuration; None where no adapter is trained.

    Raises:
        InputError: settings of an adapter without one.
    """
    if not adapter.use_peft:
        given = [word.split("=")[0] for word in flags if word.startswith(_flags(ADAPTER))]
        if given:
            raise InputError(
                f"{given[0]} is of an adapter, and without --use_peft none is trained: add --use_peft, or "
                "leave it out"
            )
    for name in ("lora_target_modules", "lora_target_parameters"):
        value = getattr(adapter, name)
        # ModelConfig makes a list of one a text, which PEFT reads as a pattern for a module's whole path.
        if isinstance(value, str) and value != "all-linear" and re.fullmatch(r"[\w.]+", value):
            setattr(adapter, name, [value])
    return get_peft_config(adapter)


def _metric(flags: Sequence[str], config_type: Any) -> list[str]:
    """By what the best checkpoint is chosen, and in which direction, where that was not said."""
    given = {word.split("=")[0]: word.partition("=")[2] for word in flags}
    chooses = any(word in given or word in flags for word in CHOOSES)
    chooses = chooses or any(value in CHOOSES for value in given.values())
    if not (chooses and issubclass(config_type, SFTConfig)) or "--greater_is_better" in given:
        return []
    metric = given.get("--metric_for_best_model")
    if metric is None:
        return ["--metric_for_best_model", NLL, "--greater_is_better", "false"]
    name = metric or flags[list(flags).index("--metric_for_best_model") + 1]
    smaller = name.removeprefix("eval_") in SMALLER_IS_BETTER
    return ["--greater_is_better", "false"] if smaller else []


def _flags(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"--{name}" for name in names)


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


def _defaults(flags: Sequence[str]) -> list[str]:
    """On a CPU bf16 autocast is slower than float32 and Trainer has to be told that there is no GPU."""
    given = {word.split("=")[0] for word in flags}
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return []
    chosen = {"--use_cpu": "true", "--bf16": "false", "--gradient_checkpointing": "false"}
    return [word for flag, value in chosen.items() if flag not in given for word in (flag, value)]


def _refuse_ours(flags: Sequence[str]) -> None:
    for word in flags:
        name = word.removeprefix("--").split("=")[0]
        if word.startswith("--") and name in NOT_YOURS:
            raise InputError(f"--{name} cannot be set: {NOT_YOURS[name]}")


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings as words of a command line; a list is several words after one flag."""
    words = []
    for name, value in settings.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def _check_reporters(names: list[str]) -> None:
    """Refuse what Trainer cannot report to, which it finds when everything is loaded."""
    for name in names:
        try:
            for callback in get_reporting_integration_callbacks([name]):
                callback()
        except (ValueError, ImportError, RuntimeError) as error:
            raise InputError(f"--report_to {name}: {' '.join(str(error).split())}") from error


def _unknown(word: str, config_type: Any) -> str:
    names = [
        f"--{field.name}"
        for kind in (config_type, ModelConfig)
        for field in dataclasses.fields(kind)
    ]
    near = did_you_mean(word.split("=")[0], names)
    hint = f": {near}" if near else f" (fields of TRL's {config_type.__name__} are accepted)"
    return f"unknown argument {word}{hint}"
