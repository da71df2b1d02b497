"""The settings that shape a training, as plain data: what a checkpoint keeps and a resumed training compares.

Trainer restores optimiser and schedule from a checkpoint whatever is asked for now, so that another
`--learning_rate` would be ignored in silence and another `--max_steps` bend the schedule.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from advisor.errors import InputError
from advisor.files import read_json

Setting = str | int | float | bool | None

ROWS = "an optimiser step of"
"""Rows of it; how they are cut up into micro-batches and ranks changes nothing, but for `FORWARD`."""
FORWARD = "a forward of"
"""Rows of it over all ranks, where the objective selects among them."""
STEPS = ("--max_steps", "--num_train_epochs")
_FREE = (
    "output_dir", "log", "save", "eval", "per_device", "gradient_", "activation_", "hub_", "push_to_hub",
    "report_to", "run_name", "project", "trackio", "disable_tqdm", "dataloader_num", "dataloader_p",
    "dataloader_multi", "ddp_", "fsdp", "deepspeed", "torch_", "parallelism", "debug", "skip_memory", "do_",
    "resume", "restore", "local_rank",
    "include_", "batch_eval", "prediction_loss", "load_best", "auto_find", "enable_jit",
    "use_cpu", "use_cache", "bf16", "fp16", "tf32", "vllm", "use_vllm", "num_completions", "ds3_",
    "dataset_num_proc", "trust_remote_code", "remove_unused", "max_length", "eos_token", "pad_token",
    "dataset_kwargs", "average_tokens", "cache_implementation", "model_init", "teacher_model",
)  # fmt: skip
"""How the names of settings begin that change no number beyond rounding, or are compared elsewhere."""
_ADAPTER = {
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_target_modules": "target_modules",
    "lora_target_parameters": "target_parameters",
    "lora_modules_to_save": "modules_to_save",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}
"""Flag to field of PEFT's LoraConfig."""


def training_settings(
    config: Any, peft_config: Any = None, *, by_forward: bool = False
) -> dict[str, Setting]:
    """Flag to value of everything that shapes a training, its adapter included.

    Args:
        config: TRL's settings, as the user gave them.
        peft_config: of PEFT, where an adapter is trained.
        by_forward: whether how a step is cut up shapes it too, as of `Objective` and `Fire`.
    """
    fields = config.to_dict()
    fields["accelerator_config"] = _of_rows(fields.get("accelerator_config"))
    known = {f"--{k}": _plain(v) for k, v in fields.items() if not k.startswith(_FREE)}
    chosen = config.load_best_model_at_end
    if not chosen:
        known.pop("--metric_for_best_model", None)
        known.pop("--greater_is_better", None)
    by_steps = config.max_steps > 0
    for flag in STEPS:
        known.pop(flag)
    length = {
        "--max_steps": config.max_steps if by_steps else None,
        "--num_train_epochs": None if by_steps else float(config.num_train_epochs),
    }
    forward = config.train_batch_size * config.world_size
    return {
        **length,
        **known,
        ROWS: f"{forward * config.gradient_accumulation_steps} rows",
        **({FORWARD: f"{forward} rows"} if by_forward else {}),
        **_adapter(peft_config.to_dict() if peft_config else {}),
    }


def found_in(checkpoint: Path, wanted: Mapping[str, Setting]) -> dict[str, Setting]:
    """What the files of a checkpoint say themselves, where it does not list its settings.

    Args:
        checkpoint: of this or another trainer.
        wanted: the settings of now: they say in which form a number of steps is compared.
    """
    state = _settings(checkpoint / "trainer_state.json")
    found: dict[str, Setting] = {}
    epochs = wanted.get("--num_train_epochs")
    if wanted.get("--max_steps") is not None:
        found["--max_steps"] = state.get("max_steps")
    elif isinstance(epochs, float) and math.ceil(epochs) != state.get("num_train_epochs"):
        found["--num_train_epochs"] = state.get("num_train_epochs")
    adapter = checkpoint / "adapter_config.json"
    if adapter.is_file():
        fields = _adapter(_settings(adapter))
        # PEFT writes there what it chose itself where nothing was asked for.
        found |= {flag: value for flag, value in fields.items() if wanted.get(flag) is not None}
    schedule = checkpoint / "scheduler.pt"
    if schedule.is_file():
        rates = torch.load(schedule, weights_only=True).get("base_lrs")
        found |= {"--learning_rate": float(rates[0])} if rates else {}
    return {name: value for name, value in found.items() if value is not None}


def _settings(file: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint."""
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: is broken ({error}): copy the checkpoint again") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: holds no settings: copy the checkpoint again")
    return found


def _adapter(fields: Mapping[str, Any]) -> dict[str, Setting]:
    return {f"--{flag}": _plain(fields[name]) for flag, name in _ADAPTER.items() if name in fields}


def _of_rows(accelerator: Any) -> Any:
    """What Accelerate's settings say on which rows a step takes, without what only moves them."""
    moves = ("non_blocking", "gradient_accumulation_kwargs")
    if not isinstance(accelerator, Mapping):
        return accelerator
    return {name: value for name, value in accelerator.items() if name not in moves}


def _plain(value: Any) -> Setting:
    """As JSON keeps it: lists and sets in order, and as text; what was not given is None."""
    if isinstance(value, list | set | tuple):
        return " ".join(sorted(map(str, value))) or None
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, default=str) if value else None
    return value if value is None or isinstance(value, bool | str | int | float) else str(value)
