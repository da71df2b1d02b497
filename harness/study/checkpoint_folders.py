"""Checkpoints of a plan: every run leaves its own, and only the best so far stays on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.records.arm import BASE
from harness.records.runs import Run, RunSpec
from harness.study.study import Study, part_mean

FOLDER = "checkpoints"
"""In the folder of the records."""


def folder_of(results: Path, spec: RunSpec) -> Path:
    """Where the checkpoint of a run lies."""
    return results / FOLDER / spec.id


def best_of(study: Study, runs: Iterable[Run]) -> Run | None:
    """The fine-tune that is best on the development documents."""
    tuned = sorted(
        (run for run in runs if run.spec.arm.objective != BASE),
        key=lambda run: run.spec.arm.preference,
    )
    # Rounded, so that sums of other orders are still alike.
    return max(tuned, key=lambda run: round(part_mean(study, run, "development"), 12), default=None)


def prune(results: Path, study: Study, runs: Sequence[Run]) -> None:
    """Delete the checkpoints of finished runs that are not the best; none while the best has none itself."""
    best = best_of(study, runs)
    if best is None or not folder_of(results, best.spec).is_dir():
        return
    for run in runs:
        if run.spec.id != best.spec.id:
            drop(results, run.spec)


def drop(results: Path, spec: RunSpec) -> None:
    """Delete the checkpoint of a run, if it has one."""
    folder = folder_of(results, spec)
    for path in (folder, folder.with_name(f"{folder.name}.part")):
        shutil.rmtree(path, ignore_errors=True)


def prune_all(results: Path, study: Study, runs: Sequence[Run]) -> None:
    """Delete every checkpoint of a plan that has ended but the best, those of runs that failed as well."""
    best = best_of(study, runs)
    for spec in map(study.run_of, study.steps):
        if best is None or spec.id != best.spec.id:
            drop(results, spec)
