"""Distillations of a tiny student, and what is read off them."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from trl.trainer.distillation_config import DistillationConfig

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.model.load import LoadedModel
from harness.distill.distiller import build_distiller
from harness.distill.fire import Fire
from harness.distill.on_policy import OnPolicyTrainer
from tests.helpers.tiny import WORDS, tiny_model, tiny_tokenizer

ROWS = [
    {"prompt": " ".join("abcdefghij"[: 1 + i % 4]), "completion": " k l", "kind": "xy"[i % 2]}
    for i in range(32)
]
EOS = WORDS.index("<eos>")
GREEDY: dict[str, Any] = {"generation_kwargs": {"do_sample": False}, "max_steps": 3}
"""Rollouts that do not hang on random states, which ranks do not share."""


def loaded(model: Any) -> LoadedModel:
    return LoadedModel(
        model=model, tokenizer=tiny_tokenizer(), name="tiny", fingerprint="", parameters=0,
        dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip


def student() -> LoadedModel:
    return loaded(tiny_model(initializer_range=0.3))


def teacher(scale: float = 0.6) -> LoadedModel:
    return loaded(tiny_model(initializer_range=scale).requires_grad_(False))


def prompts(rows: list[dict[str, Any]] = ROWS) -> SFTDataset:
    return load_dataset(
        rows, tiny_tokenizer(), prompt_field="prompt", completion_field="completion"
    )


def config(folder: Path, **changes: Any) -> DistillationConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder), "max_steps": 2, "learning_rate": 5e-3, "optim": "adamw_torch",
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "bf16": False, "use_cpu": True, "seed": 0,
        "disable_tqdm": True, "gradient_checkpointing": False, "max_completion_length": 6,
    }  # fmt: skip
    return DistillationConfig(**{**settings, **changes})


def build(
    folder: Path, *, teachers: dict[str, LoadedModel] | None = None, route: str | None = None,
    fire: Fire | None = None, form: str = "full", evaluated: SFTDataset | None = None, **changes: Any,
) -> OnPolicyTrainer:  # fmt: skip
    return build_distiller(
        student(), prompts(), teachers or {"t": teacher()}, config(folder, **changes),
        eval_dataset=evaluated, fire=fire, form=form, route=route,
    )  # fmt: skip


def run(folder: Path, **settings: Any) -> OnPolicyTrainer:
    trainer = build(folder, **settings)
    trainer.train()
    return trainer


class Enough(Exception):
    """What was looked for has been seen."""


def micro_batches(trainer: OnPolicyTrainer) -> list[dict[str, Any]]:
    """What the losses of the first optimiser step are taken of; its weights are left as they were."""
    seen: list[dict[str, Any]] = []
    plain = trainer.compute_loss

    def noted(model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        seen.append(inputs)
        if len(seen) == trainer.args.gradient_accumulation_steps:
            raise Enough
        return plain(model, inputs, *rest, **more)

    trainer.compute_loss = noted
    with suppress(Enough):
        trainer.train()
    trainer.compute_loss = plain
    trainer.model.zero_grad()
    return seen


def gradients(trainer: OnPolicyTrainer) -> torch.Tensor:
    """Of the first micro-batch, which is drawn from the same random state each time."""
    batch, *_ = micro_batches(trainer)
    trainer.compute_loss(trainer.model, batch).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def evaluated() -> dict[str, Any]:
    """Settings with which every step ends in an evaluation, of an odd number of rows, one by one."""
    return {
        "evaluated": prompts(ROWS[:7]), "eval_strategy": "steps", "eval_steps": 1,
        "per_device_eval_batch_size": 1,
    }  # fmt: skip
