"""Trainings of a tiny model on random rows, and what is read off them."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig

from advisor.objectives.table import get_objective
from harness.train.objective_trainer import ObjectiveTrainer
from tests.helpers.tiny import WORDS, tiny_model, tiny_tokenizer

STEPS = 20
WEIGHTED = "weighted "
"""Before the name of an objective that is trained on rows that weigh their targets."""
SHARDED = "sharded "
"""Before the name of one whose model is spread over the ranks."""


def rows(count: int, seed: int = 0) -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    found = []
    for _ in range(count):
        prompt, length = draw(1, 6), draw(1, 12)
        ids = torch.randint(3, len(WORDS), (prompt + length,), generator=generator).tolist()
        found.append({
            "input_ids": ids, "labels": [-100] * prompt + ids[prompt:],
            "terminator": [0] * (len(ids) - 1) + [1],
            "reference_logp": torch.linspace(-3, -0.5, len(ids)).tolist(),
            "reference_mass": [0.3 + 0.4 * (i % 2) for i in range(len(ids))],
        })  # fmt: skip
    return found


def weighted_rows(count: int, seed: int = 0, **more: float) -> list[dict[str, Any]]:
    """The same rows, weighed token by token from 0.2 to 3; `weight` weighs all of them alike."""
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows(count, seed)):
        generator = torch.Generator().manual_seed(number)
        drawn = 0.2 + 2.8 * torch.rand(len(row["input_ids"]), generator=generator)
        weights = torch.full_like(drawn, more["weight"]) if "weight" in more else drawn
        found.append({**row, "loss_weights": weights.tolist()})
    return found


def config(folder: Path, **changes: Any) -> SFTConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder), "max_steps": STEPS, "learning_rate": 5e-3, "optim": "adamw_torch",
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "bf16": False, "use_cpu": True, "seed": 0,
        "disable_tqdm": True, "gradient_checkpointing": False, "max_grad_norm": 1.0,
        "dataset_kwargs": {"skip_prepare_dataset": True}, "remove_unused_columns": False,
    }  # fmt: skip
    return SFTConfig(**{**settings, **changes})


def smooth_model() -> Any:
    """Weights small enough that rounding is not amplified from step to step."""
    return tiny_model(initializer_range=0.3)


def build(
    folder: Path, objective: str, *, data: list[dict[str, Any]] | None = None, **changes: Any
) -> ObjectiveTrainer:
    chosen = get_objective(objective)
    return ObjectiveTrainer(
        objective=chosen,
        model=smooth_model(),
        reference_model=smooth_model() if "anchor" in chosen.needs else None,
        args=config(folder, **changes),
        train_dataset=Dataset.from_list(data or rows(64)),
        eval_dataset=Dataset.from_list(rows(16, seed=1)),
        processing_class=tiny_tokenizer(),
    )


def train(folder: Path, objective: str, **changes: Any) -> ObjectiveTrainer:
    trainer = build(folder, objective, **changes)
    trainer.train()
    return trainer


def weights(trainer: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def curve(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]
