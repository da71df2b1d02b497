"""The models of the study, pretrained from their seeds; a killed pretraining goes on where it was."""

from __future__ import annotations

from pathlib import Path

from harness.calibration.grid import CHECKPOINTS, SIZES, Cell
from harness.ladder.build import save_model
from harness.ladder.pretrain import pretrain


def checkpoint(folder: Path, cell: Cell) -> Path:
    """Where a cell's model lies."""
    return folder / cell.family / f"step-{cell.step}"


def pretrain_family(folder: Path, size: str, seed: int) -> None:
    """Train one model of the study and keep it at its steps."""
    root = folder / f"{size}-{seed}"
    stops = CHECKPOINTS[size][seed]
    # A checkpoint is complete once its weights are under their final name.
    if all((root / f"step-{step}" / "model.safetensors").exists() for step in stops):
        return
    root.mkdir(parents=True, exist_ok=True)
    for step, model in pretrain(SIZES[size], seed=seed, stops=stops, folder=root):
        save_model(model, root / f"step-{step}")
