"""The files of each trainer that an objective is taken to: settings as it writes them, and its program.

One function a trainer, from a `Job` to texts by file name and the command that runs them. Pure.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any, Literal

import yaml

from advisor.objectives import programs
from advisor.objectives.objective import Objective

Layout = Literal["messages", "prompt_completion"]
"""The columns of the dataset: `messages`, or `prompt` and `completion`."""
_SAME = {
    ("p_pow", "k", 1.0): "neg_p",
    ("threshold", "tau", 0.0): "nll",
    ("cadft", "beta", 0.0): "neg_p",
    ("cadft_mean", "beta", 0.0): "neg_p",
}
"""Parameters at which an objective is another one."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be trained; the defaults are those of `advisor train`."""

    model: str = "MODEL"
    """Folder or hub id."""
    dataset: str = "train.jsonl"
    """A file of JSON lines; for verl a parquet file."""
    layout: Layout = "messages"
    """Its columns."""
    learning_rate: float | None = None
    """None: the trainer's own default."""
    epochs: int = 3
    """Passes over the dataset."""
    batch_size: int = 8
    """Examples in an optimiser step on one device."""
    max_length: int = 2048
    """Longest sequence, tokens."""
    output_dir: str = "out"
    """Where the trainer saves."""


DEFAULTS = Wanted()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the writer of a trainer's files is told."""

    objective: Objective
    """To minimise."""
    wanted: Wanted
    """Model, data and rates."""
    setting: dict[str, Any] | None
    """The trainer's own settings; None where it takes a program with our loss."""

    @property
    def literal(self) -> str:
        """The objective as a text in Python."""
        return json.dumps(self.objective.label)

    def filled(self, program: Template) -> str:
        """A program with the objective in its places."""
        return program.substitute(label=self.objective.label, objective=self.literal)


def simplest(objective: Objective) -> str:
    """The name of the objective, or of the one that it is at these parameters."""
    name = objective.name
    for key, value in objective.settings.items():
        name = _SAME.get((objective.name, key, value), name)
    return name


def _given(wanted: Wanted, name: str) -> dict[str, float]:
    """The learning rate under a trainer's name for it, if one was given."""
    return {} if wanted.learning_rate is None else {name: wanted.learning_rate}


def _hugging_face(wanted: Wanted) -> dict[str, Any]:
    """Settings as transformers' TrainingArguments call them."""
    return {
        "output_dir": wanted.output_dir,
        "num_train_epochs": wanted.epochs,
        "per_device_train_batch_size": wanted.batch_size,
        "gradient_accumulation_steps": 1,
        **_given(wanted, "learning_rate"),
    }


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


Written = tuple[dict[str, str], str]
"""Files, and the command that runs them."""


def _trl(job: Job) -> Written:
    values = {
        "model_name_or_path": job.wanted.model,
        "datasets": [{"path": "json", "data_files": job.wanted.dataset}],
        "max_length": job.wanted.max_length,
        # Prompts beside a completion are left out by themselves
        **({"assistant_only_loss": True} if job.wanted.layout == "messages" else {}),
        **_hugging_face(job.wanted),
        **(job.setting or {}),
    }
    files = {"sft.yaml": _yaml(values)}
    if job.setting is not None:
        return files, "trl sft --config sft.yaml"
    return files | {"train.py": job.filled(programs.TRL)}, "python train.py --config sft.yaml"


def _transformers(job: Job, *, liger: bool = False) -> Written:
    objective, setting, wanted = job.objective, job.setting, job.wanted
    arguments = {**_hugging_face(wanted), "remove_unused_columns": False}
    imports, trainer, more = "", "Trainer", ""
    if liger:
        arguments["use_liger_kernel"] = True
    if setting is None and objective.beyond_a_batch:
        imports, trainer = programs.MIXED_IN, "ObjectiveTrainer"
        more = f"\n    objective=advisor.get_objective({job.literal}),"
    elif setting is None:
        more = f"\n    compute_loss_func=advisor.objective_loss({job.literal}),"
    elif liger and simplest(objective) == "neg_p":
        imports, trainer = programs.LIGER_DFT, "DFTTrainer"
    program = programs.TRANSFORMERS.substitute(
        label=objective.label, imports=imports, trainer=trainer, more=more,
        model=repr(wanted.model), dataset=repr(wanted.dataset), max_length=wanted.max_length,
    )  # fmt: skip
    files = {"arguments.json": json.dumps(arguments, indent=2) + "\n", "train.py": program}
    return files, "python train.py"


def _liger(job: Job) -> Written:
    return _transformers(job, liger=True)


def _llamafactory(job: Job) -> Written:
    described: dict[str, Any] = {"file_name": job.wanted.dataset}
    if job.wanted.layout == "messages":
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
        tags |= {"assistant_tag": "assistant", "system_tag": "system"}
        described |= {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    else:
        described["columns"] = {"prompt": "prompt", "response": "completion"}
    values = {
        "model_name_or_path": job.wanted.model,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "dataset_dir": ".",
        "dataset": "train",
        "cutoff_len": job.wanted.max_length,
        **_hugging_face(job.wanted),
        **({"use_dft_loss": True} if job.setting is None else job.setting),
    }
    files = {
        "sft.yaml": _yaml(values),
        "dataset_info.json": json.dumps({"train": described}, indent=2) + "\n",
    }
    if job.setting is not None:
        return files, "llamafactory-cli train sft.yaml"
    return files | {"train.py": job.filled(programs.LLAMAFACTORY)}, "python train.py sft.yaml"


def _ms_swift(job: Job) -> Written:
    values = {
        "model": job.wanted.model,
        "dataset": [job.wanted.dataset],
        "tuner_type": "full",
        "max_length": job.wanted.max_length,
        **_hugging_face(job.wanted),
        **(job.setting or {}),
    }
    if job.setting is not None:
        return {"sft.yaml": _yaml(values)}, "swift sft sft.yaml"
    values |= {"external_plugins": ["objective_plugin.py"], "loss_type": "advisor"}
    plugin = job.filled(programs.MS_SWIFT)
    return {"sft.yaml": _yaml(values), "objective_plugin.py": plugin}, "swift sft sft.yaml"


def _axolotl(job: Job) -> Written:
    data: dict[str, Any] = {"path": job.wanted.dataset, "ds_type": "json"}
    if job.wanted.layout == "messages":
        data |= {"type": "chat_template", "field_messages": "messages"}
        data |= {"roles_to_train": ["assistant"], "train_on_eos": "turn"}
    else:
        form = "{instruction}"
        data["type"] = {
            "field_instruction": "prompt", "field_output": "completion",
            "format": form, "no_input_format": form,
        }  # fmt: skip
    values = {
        "base_model": job.wanted.model,
        "datasets": [data],
        "sequence_len": job.wanted.max_length,
        "output_dir": job.wanted.output_dir,
        "num_epochs": job.wanted.epochs,
        "micro_batch_size": job.wanted.batch_size,
        "gradient_accumulation_steps": 1,
        **_given(job.wanted, "learning_rate"),
        **(
            {"plugins": ["objective_plugin.ObjectivePlugin"]}
            if job.setting is None
            else job.setting
        ),
    }
    files = {"axolotl.yaml": _yaml(values)}
    if job.setting is not None:
        return files, "axolotl train axolotl.yaml"
    files["objective_plugin.py"] = job.filled(programs.AXOLOTL)
    return files, "PYTHONPATH=. axolotl train axolotl.yaml"


def _verl(job: Job) -> Written:
    entry = "-m verl.trainer.sft_trainer" if job.setting is not None else "train.py"
    values = {
        "model.path": job.wanted.model,
        "data.train_files": job.wanted.dataset,
        "data.messages_key": "messages",
        "data.train_batch_size": job.wanted.batch_size,
        "data.max_length": job.wanted.max_length,
        "data.truncation": "right",
        **_given(job.wanted, "optim.lr"),
        "trainer.total_epochs": job.wanted.epochs,
        "trainer.default_local_dir": job.wanted.output_dir,
        "trainer.save_freq": "after_each_epoch",
        "trainer.logger": "console",
    }
    script = _script(f"torchrun --standalone --nproc-per-node 1 {entry}", values)
    files = {"sft.sh": script} | (
        {} if job.setting is not None else {"train.py": job.filled(programs.VERL)}
    )
    return files, "sh sft.sh"


def _nemo_rl(job: Job) -> Written:
    entry = "examples/run_sft.py" if job.setting is not None else "train.py"
    columns = {"+data.train.chat_key": "messages"}
    name = "openai_format"
    if job.wanted.layout != "messages":
        name, columns = (
            "ResponseDataset",
            {"+data.train.input_key": "prompt", "+data.train.output_key": "completion"},
        )
    values = {
        "policy.model_name": job.wanted.model,
        "policy.tokenizer.chat_template": "default",
        "policy.max_total_sequence_length": job.wanted.max_length,
        "policy.train_global_batch_size": job.wanted.batch_size,
        **_given(job.wanted, "policy.optimizer.kwargs.lr"),
        "sft.max_num_epochs": job.wanted.epochs,
        "sft.max_num_steps": 10**9,
        "data.train.dataset_name": name,
        "+data.train.data_path": job.wanted.dataset,
        **columns,
        "data.validation": None,
        "sft.val_period": 0,
        "sft.val_at_start": False,
        "checkpointing.metric_name": None,
        "checkpointing.checkpoint_dir": job.wanted.output_dir,
        "logger.wandb_enabled": False,
    }
    script = _script(f"uv run {entry} --config examples/configs/sft.yaml", values)
    files = {"sft.sh": script} | (
        {} if job.setting is not None else {"train.py": job.filled(programs.NEMO_RL)}
    )
    return files, "sh sft.sh"


def _script(command: str, values: Mapping[str, Any]) -> str:
    """A shell script of one command with Hydra's overrides."""
    words = [shlex.quote(f"{key}={_hydra(value)}") for key, value in values.items()]
    return " \\\n    ".join([command, *words]) + "\n"


def _hydra(value: Any) -> str:
    """A value as Hydra's overrides write it: words as they are, other texts quoted."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str) or re.fullmatch(r"[\w./-]+", value):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"


def _unsloth(job: Job) -> Written:
    arguments = {
        **_hugging_face(job.wanted),
        "max_length": job.wanted.max_length,
        **(job.setting or {}),
    }
    more = (
        ""
        if job.setting is not None
        else f"\n    compute_loss_func=advisor.objective_loss({job.literal}),"
    )
    program = programs.UNSLOTH.substitute(
        label=job.objective.label, imports="" if job.setting is not None else "\nimport advisor\n", more=more,
        model=repr(job.wanted.model), dataset=repr(job.wanted.dataset), max_length=job.wanted.max_length,
        arguments=repr(arguments),
    )  # fmt: skip
    return {"train.py": program}, "python train.py"


WRITERS: dict[str, Callable[[Job], Written]] = {
    "trl": _trl,
    "transformers": _transformers,
    "llamafactory": _llamafactory,
    "ms-swift": _ms_swift,
    "axolotl": _axolotl,
    "verl": _verl,
    "nemo-rl": _nemo_rl,
    "unsloth": _unsloth,
    "liger": _liger,
}
"""The writer of each trainer's files, by its name."""
