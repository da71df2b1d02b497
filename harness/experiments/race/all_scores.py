"""What every study says of the racing arms: whole runs of the older ones, curves of this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from advisor.advice.belief import Array, angle_of
from advisor.advice.learnt_belief import known_of
from harness.experiments.calibration.grid import Cell, read_grid
from harness.experiments.calibration.ledger import CellLine, RunLine, read, unpack
from harness.experiments.race.curves import (
    FILES,
    RACERS,
    STAGES,
    base_of,
    runs_by_arm,
    runs_by_cell,
)
from harness.experiments.race.fit_belief import Scored
from harness.experiments.replay.ship import STUDIES


def all_scores(
    results: Path,
    temperature: float,
    *,
    folders: Sequence[str] = STUDIES,
    files: Sequence[str] = FILES,
) -> list[Scored]:
    """Every cell of every study, once a study, with a base and any of the arms.

    Args:
        results: folder of the studies.
        temperature: of the answers; 0 is greedy.
        folders: of the ledgers.
        files: that list the cells.
    """
    cells = {cell.name: cell for name in files for cell in read_grid(results / name)}
    found = []
    for folder in folders:
        measured, runs = read(results / folder)
        for name, some in runs_by_cell(runs).items():
            one = _scored(cells[name], measured[name], some, temperature)
            if one is not None:
                found.append(one)
    return found


def _scored(
    cell: Cell, line: CellLine, runs: Sequence[RunLine], temperature: float
) -> Scored | None:
    base = base_of(runs)
    angles = np.full((len(RACERS), len(STAGES)), np.nan)
    noise = np.ones_like(angles)
    for arm, stage, right in _answers(cell, runs, temperature):
        share = (right.sum() + 0.5) / (len(right) + 1)
        angles[arm, stage] = angle_of(share)
        noise[arm, stage] = 1 / (4 * len(right))
    if base is None or np.isnan(angles).all():
        return None
    accuracy = float(base.right("development", temperature).mean())
    return Scored(
        size=cell.size,
        skill=cell.skill,
        seed=cell.seed,
        known=known_of(accuracy, line.prior["mean_p"]),
        angles=angles.ravel(),
        noise=noise.ravel(),
    )


def _answers(
    cell: Cell, runs: Sequence[RunLine], temperature: float
) -> Iterator[tuple[int, int, Array]]:
    """Arm, stage and answers: of whole runs those of all problems, else of the development ones."""
    for arm, run in runs_by_arm(cell, runs):
        parts = [run.right(part, temperature) for part in ("development", "test")]
        yield arm, len(STAGES) - 1, np.concatenate(parts).astype(np.float64)
        for stage, share in enumerate(STAGES[:-1]):
            if f"{share:g}" in run.curve:
                packed = run.curve[f"{share:g}"][f"development@{temperature:g}"]
                yield arm, stage, unpack(packed).astype(np.float64)
