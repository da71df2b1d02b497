"""A training in pieces: each goes on from the checkpoint of the one before, as if it had never stopped."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from advisor.errors import InputError
from harness.runtime.quiet import quiet
from harness.train.checkpoints import newest_checkpoint
from harness.train.kept_beginning import BeginningLost, remove
from harness.train.looks import steps_at
from harness.train.mendable import written
from harness.train.whole_checkpoint import check_whole

SEALED = "scored"
"""File of a checkpoint whose scores are known: from another one no training goes on, so that a piece that was
killed before it was scored is made again as it was."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """How far a training is to go, and where it goes on from."""

    place: Path
    """Folder of the checkpoints of this training and of no other."""
    until: float
    """Share of the steps after which it stops; 1: its end, of which no checkpoint is kept."""


class StopsAfter(TrainerCallback):
    """Stops after a share of the steps, with a checkpoint and an entry in the log.

    A training of few steps may have that share behind it already: then it makes no step more.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Once a checkpoint is taken up."""
        if state.global_step >= steps_at(self.share, state.max_steps):
            control.should_training_stop = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The schedule of learning rates stays that of the whole training."""
        if state.global_step >= steps_at(self.share, state.max_steps):
            control.should_log = control.should_save = control.should_training_stop = True


def train_piece(trainer: Any, piece: Piece) -> None:
    """Train on from the sealed checkpoint of a place, or from the first step; the one before stays.

    Args:
        trainer: whose output folder is in the place, so that its checkpoint moves as a whole; one that looks
            before its first step whether it is to stop (`ReadsWholeCheckpoints`).
        piece: how far.

    Raises:
        BeginningLost: a checkpoint that cannot be read is removed, and the model is of no more use.
        OSError: its own cannot be written.
    """
    for path in piece.place.glob("checkpoint-*"):
        if not (path / SEALED).exists():
            remove(path)
    checkpoint = newest_checkpoint(str(piece.place))
    if piece.until < 1:
        trainer.add_callback(StopsAfter(piece.until))
    try:
        check_whole(checkpoint)
        with quiet(), written():
            trainer.train(resume_from_checkpoint=checkpoint)
    except InputError as error:
        if checkpoint is None:
            raise
        logger.warning("%s: the training begins anew.", error)
        remove(Path(checkpoint))
        raise BeginningLost(checkpoint) from error
    if piece.until < 1:
        made = newest_checkpoint(trainer.args.output_dir)
        if made is not None:  # else the one before is its own, too
            Path(made).rename(piece.place / Path(made).name)


def seal(place: Path) -> None:
    """Say of the newest checkpoint of a place that its scores are known, and remove those before it."""
    newest = newest_checkpoint(str(place))
    if newest is not None:
        (Path(newest) / SEALED).touch()
    for path in place.glob("checkpoint-*"):
        if str(path) != newest:
            remove(path)
