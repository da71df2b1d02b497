"""Trainings with CADFT's second stage, of a tiny model that ends its answers early.

`python -m tests.helpers.resampling FOLDER` trains one that saves every step, to be killed.
"""

import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

from advisor.objectives.table import get_objective
from advisor.objectives.weights import REFERENCE_COLUMNS
from harness.train.resampling import Resampler, Resampling
from harness.train.resampling_trainer import ResamplingTrainer
from tests.helpers.tiny import tiny_model, tiny_tokenizer
from tests.helpers.training import config, rows

EOS = 2


def eager_model() -> Any:
    """A tiny model that ends one answer in five or so at every token."""
    model = tiny_model(initializer_range=0.3)
    model.generation_config.eos_token_id = EOS
    model.generation_config.update(do_sample=True, top_k=2)  # for its users, not for resampling
    return model


def demonstrations(count: int = 48) -> list[dict[str, Any]]:
    found = rows(count)
    for number, row in enumerate(found):
        for name in REFERENCE_COLUMNS:
            row.pop(name, None)
        row["input_ids"][-1] = row["labels"][-1] = EOS
        row["row"] = 3 * number  # as if two rows of three had no target
    return found


def build(
    folder: Path, settings: Resampling | None = None, *, ends: Any = (EOS,), **changes: Any
) -> ResamplingTrainer:
    settings = settings or Resampling(warmup=0.3, interval=0.2, share=0.1)
    data = demonstrations()
    return ResamplingTrainer(
        resampler=Resampler(settings, rows=3 * len(data), examples=len(data), seed=0),
        max_length=24,
        ends=ends,
        objective=get_objective("cadft"),
        model=eager_model(),
        args=config(folder, **{"max_steps": 18, **changes}),
        train_dataset=Dataset.from_list(data),
        processing_class=tiny_tokenizer(),
    )


def trained(folder: Path, settings: Resampling | None = None, **changes: Any) -> ResamplingTrainer:
    trainer = build(folder, settings, **changes)
    trainer.train()
    return trainer


if __name__ == "__main__":
    trained(Path(sys.argv[1]), save_strategy="steps", save_steps=1, max_steps=18)
