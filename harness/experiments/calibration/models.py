"""The models of the study, pretrained from their seeds; a killed pretraining goes on where it was."""

from __future__ import annotations

from pathlib import Path

from harness.experiments.calibration.grid import KEPT, SIZES, Cell
from harness.ladder.build import save_model
from harness.ladder.pretrain import pretrain


def checkpoint(folder: Path, cell: Cell) -> Path:
    """Where a cell's model lies."""
    return folder / cell.family / f"step-{cell.step}"


def pretrain_family(output_dir: Path, size: str, seed: int) -> None:
    """Train one model of the study and keep it at its steps."""
    root = output_dir / f"{size}-{seed}"
    stops = KEPT[size][seed]
    if all((root / f"step-{step}").exists() for step in stops):
        return
    root.mkdir(parents=True, exist_ok=True)
    for step, model in pretrain(SIZES[size], seed=seed, stops=stops, folder=root):
        folder = root / f"step-{step}"
        if not folder.exists():  # a killed pretraining passes its last checkpoints again
            part = root / f"part-{step}"
            save_model(model, part)
            part.rename(folder)
