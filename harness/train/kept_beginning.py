"""A training that goes on from where another one was, as long as both were the same.

A kept beginning is a whole checkpoint at a step up to which two trainings are equal to the last bit. It is a
cache and nothing but a cache: whatever is wrong with it, the training begins at its first step instead.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from transformers import TrainerCallback

from advisor.errors import InputError
from advisor.files import read_json
from harness.runtime.quiet import quiet
from harness.train.checkpoints import STATE
from harness.train.whole_checkpoint import check_whole

EXACT = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps",
    "lr_scheduler_", "warmup_", "logging_steps", "weight_decay", "adam_", "max_grad_norm", "bf16",
    "gradient_checkpointing", "packing", "padding_free", "use_peft", "lora_", "use_rslora", "use_dora",
)  # fmt: skip
"""How the names of settings begin with which a training goes on as if it had never stopped. What orders rows
by the global random numbers, or keeps its state elsewhere than in a checkpoint, is none of them."""
RNG, PLACE = "rng_state.pth", "place"
"""Files of a kept checkpoint: the random numbers, and where it belongs."""
ROOM = 6
"""Times the trained weights: a checkpoint is three times as large, and as much is left to others."""

logger = logging.getLogger(__name__)


class BeginningLost(Exception):
    """A kept beginning that could not be read; the model may hold a part of it."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a training may take over from another one, and keep for others."""

    place: Path
    """Folder of its checkpoints; what stands there was trained exactly so."""
    label: str
    """Of the arm that trains so."""
    until: float
    """Share of the optimiser steps at which this training becomes another one; 1 where it stays."""
    wanted: tuple[float, ...] = ()
    """Shares at which others do that go on from here, none above `until`."""

    @property
    def name(self) -> str:
        """What a checkpoint says of where it belongs."""
        return f"{self.place.parent.name}/{self.place.name}"

    def found(self) -> Path | None:
        """The latest checkpoint that this training would have come to; broken ones are removed.

        None of a training that stays as it is: the log of another one speaks of stages.
        """
        if self.until == 1:
            return None
        for path in sorted(self.place.glob("checkpoint-*"), key=_step, reverse=True):
            try:
                if self._fits(path):
                    return path
            except (OSError, ValueError, LookupError, TypeError):  # an InputError is a ValueError
                remove(path)
        return None

    def _fits(self, path: Path) -> bool:
        state = read_json(path / STATE)
        if not same_until(self.until, state["global_step"], state["max_steps"]):
            return False
        if (path / PLACE).read_text(encoding="utf-8") != self.name or not _is_there(path):
            raise InputError(f"{path}: is none of this training")
        check_whole(str(path))
        return True


def same_until(share: float, done: int, steps: int) -> bool:
    """Whether none of the steps done was made at or after a share of all steps."""
    return (done - 1) / steps < share


def last_common_step(share: float, steps: int, logged: float) -> int:
    """The last step to go on from for a training that becomes another one at a share of all steps; 0: none.

    The log has means since the entry before, which no checkpoint holds: it has to be a step that is logged.
    """
    fitting = (s for s in range(1, steps) if s % logged == 0 and same_until(share, s, steps))
    return max(fitting, default=0)


def train_from(trainer: Any, beginning: Beginning | None) -> tuple[int, float] | None:
    """Train, from a kept beginning where there is one; gives the steps and epochs that were taken over.

    Args:
        trainer: ready to train; with a beginning an `ObjectiveTrainer`.
        beginning: what it may take over, and keeps.

    Raises:
        BeginningLost: the training has not begun, and its model is of no more use.
    """
    checkpoint = None
    if beginning is not None:
        trainer.add_callback(_Keeps(trainer, beginning))
        checkpoint = beginning.found()
    if checkpoint is None:
        trainer.train()
        return None
    began = _Began(trainer, checkpoint)
    trainer.add_callback(began)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint))
    except Exception as error:
        if began.at is not None:
            raise
        remove(checkpoint)
        raise BeginningLost(str(checkpoint)) from error
    return began.at


def remove(path: Path) -> None:
    """Remove a folder that others may be reading: at once for them, and in peace."""
    gone = path.with_name(f".{secrets.token_hex(4)}.gone")
    try:
        path.rename(gone)
    except OSError:  # it is not there
        return
    shutil.rmtree(gone, ignore_errors=True)


class _Began(TrainerCallback):
    """Where a training has gone on from, once all of its checkpoint has been read."""

    def __init__(self, trainer: Any, checkpoint: Path) -> None:
        self.trainer, self.checkpoint = trainer, checkpoint
        self.at: tuple[int, float] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The log says of each step what it would say had the step been made here."""
        for entry in state.log_history:
            entry |= self.trainer.objective.logged((entry["step"] - 1) / state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Trainer goes on without what is missing; a checkpoint goes as a whole (see `remove`)."""
        if self.at is None:
            if not _is_there(self.checkpoint):
                raise FileNotFoundError(self.checkpoint)
            self.at = (state.global_step, state.epoch)


class _Keeps(TrainerCallback):
    """Keeps a checkpoint for each training that goes on from here, written whole or not at all."""

    def __init__(self, trainer: Any, beginning: Beginning) -> None:
        self.trainer, self.beginning = trainer, beginning
        self.steps: set[int] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Only now it is known of how many steps it is."""
        self.steps = {
            last_common_step(share, state.max_steps, state.logging_steps)
            for share in self.beginning.wanted
        }

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the step and its entry in the log."""
        target = self.beginning.place / f"checkpoint-{state.global_step}"
        if state.global_step not in self.steps or target.exists():
            return
        try:
            self._keep(target)
        except Exception as error:  # of a disk, a library, a device: the training itself goes on
            if not target.exists():  # somebody else's, the same
                reason = error.strerror if isinstance(error, OSError) else None
                _say(target.parents[2], reason or " ".join(str(error).split())[:160])

    def _keep(self, target: Path) -> None:
        place, trainer = target.parent, self.trainer
        place.mkdir(parents=True, exist_ok=True)
        weights = [w for w in trainer.model.parameters() if w.requires_grad]
        size = sum(weight.numel() * weight.element_size() for weight in weights)
        if shutil.disk_usage(place).free < ROOM * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = TemporaryDirectory(dir=place, prefix=".", ignore_cleanup_errors=True)
        with part as folder, patch.object(trainer.args, "output_dir", folder), quiet():
            trainer._save_checkpoint(trainer.model, None)
            made = Path(folder) / target.name
            (made / PLACE).write_text(self.beginning.name, encoding="utf-8")
            for path in made.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            made.rename(target)


def is_exact(settings: Iterable[str]) -> bool:
    """Whether a training with some settings goes on from a checkpoint as if it had never stopped."""
    return all(name.startswith(EXACT) for name in settings)


def _is_there(checkpoint: Path) -> bool:
    return (checkpoint / RNG).is_file()


def _step(checkpoint: Path) -> int:
    text = checkpoint.name.rpartition("-")[2]
    return int(text) if text.isdigit() else 0


@cache
def _say(folder: Path, reason: str) -> None:
    """One line, once."""
    logger.warning("No beginning is kept in %s (%s): each arm trains its own.", folder, reason)
