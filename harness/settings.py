"""TRL's own settings from the command line: every field of a trainer's, and the adapter's of ModelConfig."""

from __future__ import annotations

import dataclasses
import difflib
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
}
"""Fields that something else decides here, with what."""


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
    words = [*_defaults(flags), *flags]
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
    return config, get_peft_config(adapter)


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
    near = difflib.get_close_matches(word.split("=")[0], names, n=1)
    hint = (
        f": did you mean {near[0]}?"
        if near
        else f" (fields of TRL's {config_type.__name__} are accepted)"
    )
    return f"unknown argument {word}{hint}"
