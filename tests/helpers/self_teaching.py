"""A tiny model that teaches itself."""

from pathlib import Path
from typing import Any

from harness.distill.distiller import build_distiller
from harness.distill.self_settings import SelfTeaching
from harness.distill.self_teaching import SelfTeachingTrainer
from tests.helpers.distilling import config, prompts, student

ITSELF = SelfTeaching(ema=0.1, skip=1)


def build(
    folder: Path, itself: SelfTeaching = ITSELF, peft_config: Any = None, **changes: Any
) -> SelfTeachingTrainer:
    trainer = build_distiller(
        student(), prompts(), {}, config(folder, **changes), itself=itself, peft_config=peft_config
    )
    assert isinstance(trainer, SelfTeachingTrainer)
    return trainer
