"""Trackers (`--report_to`): a name for every training, a run of its own, and a folder for TensorBoard.

They hear what the log holds: `loss`, `nll`, `mean_p` and the others, whatever the objective.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from transformers.integrations.integration_utils import TensorBoardCallback

from harness.train.trl_settings import configured

REPORTING = ("report_to", "project", "trackio_")
"""How the names of settings begin that say where a training reports to, and change nothing else."""
FOLDER = "tensorboard"
"""In a folder of records: the runs of a study, as TensorBoard reads them."""


@dataclass(frozen=True, kw_only=True)
class Trackers:
    """Where the runs of a study report to."""

    settings: Mapping[str, Any]
    """`report_to` and what belongs to it, typed as TRL has them."""
    folder: Path
    """Of TensorBoard's runs."""
    run: str = ""
    """Name of the run at hand."""

    def fields(self) -> dict[str, Any]:
        """Settings of the training of the run at hand."""
        return {**self.settings, "run_name": self.run}


def split(training: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a training without those of trackers, and those."""
    ours = {name: value for name, value in training.items() if name.startswith(REPORTING)}
    return {name: value for name, value in training.items() if name not in ours}, ours


def trackers_of(settings: Mapping[str, Any], results: Path) -> Trackers | None:
    """The trackers that settings name; None where they name none.

    Raises:
        InputError: one that is not installed, or that there is not.
    """
    names = configured({**settings, "output_dir": "unused"})[0].report_to if settings else []
    if not names:
        return None
    place = os.environ.get("TENSORBOARD_LOGGING_DIR") or results.resolve() / FOLDER
    return Trackers(settings={**settings, "report_to": names}, folder=Path(place))


def name_of(label: str, learning_rate: float, model: str, dataset: str) -> str:
    """`dft @ 1e-05, Qwen2.5-0.5B on train.jsonl`: the beginning of a name of a run."""
    pair = dict.fromkeys(Path(name).name for name in (model, dataset))
    return f"{label} @ {learning_rate:g}, {' on '.join(pair)}"


def name_single(config: Any, label: str, model: str, dataset: str) -> None:
    """Name a training by what it is and when it began, where trackers are asked for and no name was given.

    The time tells repeated trainings apart: Trackio goes on in a run of the same name.
    """
    if config.report_to and config.run_name is None:
        name = name_of(label, config.learning_rate, model, dataset)
        config.run_name = f"{name}, {datetime.now():%Y-%m-%d %H:%M:%S}"


def lead_to(trainer: Any, trackers: Trackers | None) -> None:
    """Have TensorBoard's files of a run written to its folder, and not into the run's temporary one."""
    if trackers is None:
        return
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(trackers.folder / trackers.run)


@contextmanager
def own_run(report_to: list[str]) -> Iterator[None]:
    """End the run of Weights & Biases that a training begins.

    Else the next training of the process would go on in it. A run that was there before stays open.
    """
    before = _run_of_wandb()
    try:
        yield
    finally:
        if "wandb" in report_to and before is None and _run_of_wandb() is not None:
            sys.modules["wandb"].finish()


def _run_of_wandb() -> Any:
    return getattr(sys.modules.get("wandb"), "run", None)
