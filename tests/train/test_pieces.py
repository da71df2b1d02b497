"""A training in pieces is the training at once, to the last bit."""

from pathlib import Path

import pytest
import torch

from harness.train.checkpoints import newest_checkpoint
from harness.train.kept_beginning import BeginningLost
from harness.train.objective_trainer import ObjectiveTrainer
from harness.train.pieces import Piece, seal, train_piece
from tests.helpers.training import build, curve, weights

OBJECTIVES = ("nll", "cadft(1)", "p_anneal(0, 1, 0, 1)")


def piece(
    place: Path, objective: str, until: float, name: str = "", steps: int = 8
) -> ObjectiveTrainer:
    """A trainer of its own for every piece, as a process has after a kill."""
    folder = place / f"tmp-{until:g}{name}"
    folder.mkdir(parents=True)
    settings = {
        "max_steps": steps,
        "warmup_steps": 2,
        "lr_scheduler_type": "cosine",
        "logging_steps": 3,
    }
    trainer = build(folder, objective, **settings)
    train_piece(trainer, Piece(place=place, until=until))
    return trainer


def step_of(place: Path) -> int:
    """Steps of the newest checkpoint of a place; 0 without one."""
    newest = newest_checkpoint(str(place))
    return int(newest.rpartition("-")[2]) if newest else 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pieces_make_the_same_steps_as_one_training(objective: str, tmp_path: Path) -> None:
    whole = piece(tmp_path / "whole", objective, 1.0)
    place = tmp_path / "pieces"
    for until, step in ((1 / 8, 1), (1 / 4, 2), (1 / 2, 4)):
        part = piece(place, objective, until)
        assert (part.state.global_step, step_of(place)) == (step, step)
        assert len(list(place.glob("checkpoint-*"))) <= 2  # the one before stays until it is scored
        seal(place)
    last = piece(place, objective, 1.0)
    assert torch.equal(weights(last), weights(whole))
    assert curve(last, "learning_rate")[-1] == curve(whole, "learning_rate")[-1]
    assert step_of(place) == 4  # of the end no checkpoint is kept


@pytest.mark.parametrize(
    ("steps", "ends"), [(1, (1, 1, 1)), (2, (1, 1, 1)), (4, (1, 1, 2)), (5, (1, 1, 2))]
)
def test_pieces_of_a_training_of_few_steps_make_none_too_many(
    steps: int, ends: tuple[int, ...], tmp_path: Path
) -> None:
    """Breaks where a piece whose share is reached already makes another step, or finds no checkpoint."""
    whole, place = piece(tmp_path / "whole", "nll", 1.0, steps=steps), tmp_path / "pieces"
    for until, step in zip((1 / 8, 1 / 4, 1 / 2), ends, strict=True):
        part = piece(place, "nll", until, steps=steps)
        assert (part.state.global_step, step_of(place)) == (step, step)
        seal(place)
    last = piece(place, "nll", 1.0, steps=steps)
    assert last.state.global_step == steps and torch.equal(weights(last), weights(whole))


def test_a_piece_that_was_not_scored_is_made_again_as_it_was(tmp_path: Path) -> None:
    """Breaks where a training goes on from a checkpoint that is at the end of the piece already."""
    first = piece(tmp_path, "nll", 1 / 4)
    seal(tmp_path)
    for again in ("a", "b"):  # killed after the first, before its scores were kept
        half = piece(tmp_path, "nll", 1 / 2, name=again)
        assert (half.state.global_step, step_of(tmp_path)) == (4, 4)
        assert len(half.state.log_history) > len(first.state.log_history)


def test_a_checkpoint_that_cannot_be_read_is_removed_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    piece(tmp_path, "nll", 1 / 4)
    seal(tmp_path)
    (tmp_path / "checkpoint-2" / "optimizer.pt").write_bytes(b"cut")
    with pytest.raises(BeginningLost):
        piece(tmp_path, "nll", 1 / 2)
    assert step_of(tmp_path) == 0
    assert "optimizer.pt" in caplog.text
    whole, again = piece(tmp_path / "whole", "nll", 1.0), piece(tmp_path, "nll", 1.0)
    assert torch.equal(weights(again), weights(whole))
