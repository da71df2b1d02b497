"""Stages with a learning rate of their own, and a stage that finds its own time: begun, logged, resumed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.errors import InputError
from advisor.objectives.schedules import Staged, Switch
from advisor.objectives.table import get_objective
from tests.helpers.tiny import WORDS
from tests.helpers.training import STEPS, build

AUTO = "nll>neg_p(at=auto)"


def certain(likely: float = 1.0) -> list[dict[str, Any]]:
    """Rows of the same words in order, soon known; the other share of the words is drawn at random."""
    generator = torch.Generator().manual_seed(0)
    words = torch.arange(4, 12)
    found = []
    for _ in range(64):
        guess = torch.rand(len(words), generator=generator) > likely
        other = torch.randint(4, len(WORDS), (len(words),), generator=generator)
        ids = [3, *torch.where(guess, other, words).tolist(), 2]
        ends = [0] * (len(ids) - 1) + [1]
        found.append({"input_ids": ids, "labels": [-100, *ids[1:]], "terminator": ends})
    return found


def stages(trainer: Any) -> list[float]:
    """The stage of every step, from the log."""
    return [entry["stage"] for entry in trainer.state.log_history if "stage" in entry]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant_with_warmup"])
def test_a_stage_trains_at_its_factor_of_the_learning_rate(tmp_path: Path, schedule: str) -> None:
    rates = {}
    for objective in ("nll>neg_p(at=0.5)", "nll>neg_p(at=0.5, rate=0.3)"):
        trainer = build(tmp_path, objective, lr_scheduler_type=schedule, warmup_steps=2)
        trainer.train()
        log = trainer.state.log_history[:STEPS]
        rates[objective] = [entry["learning_rate"] for entry in log]
    plain, own = rates.values()
    assert own[: STEPS // 2] == plain[: STEPS // 2]
    assert own[STEPS // 2 :] == pytest.approx([0.3 * rate for rate in plain[STEPS // 2 :]])
    assert max(plain) == pytest.approx(5e-3)


def test_a_rate_of_its_own_under_a_schedule_that_follows_the_loss_is_refused(
    tmp_path: Path,
) -> None:
    trainer = build(
        tmp_path,
        "nll>neg_p(rate=0.3)",
        lr_scheduler_type="reduce_lr_on_plateau",
        eval_strategy="steps",
        eval_steps=5,
        metric_for_best_model="nll",
    )
    with pytest.raises(InputError, match="the rate of a stage goes with a learning rate that"):
        trainer.train()


def test_a_stage_that_waits_begins_once_the_targets_are_likely(tmp_path: Path) -> None:
    trainer = build(tmp_path, AUTO, data=certain(), learning_rate=0.05)
    trainer.train()
    seen = stages(trainer)
    assert seen[0] == 1.0
    assert seen[-1] == 2.0
    first = seen.index(2.0)
    assert first >= Switch().earliest * STEPS
    assert trainer.objective.label == f"nll>neg_p(at={first / STEPS!r})"
    assert get_objective(trainer.objective.label) == trainer.objective
    weights = [entry["mean_weight"] for entry in trainer.state.log_history[:STEPS]]
    assert weights[:first] == [1.0] * first
    assert max(weights[first:]) < 1.0


def test_a_stage_that_waits_for_what_cannot_be_learnt_never_begins(tmp_path: Path) -> None:
    trainer = build(tmp_path, AUTO, data=certain(likely=0.5), learning_rate=0.05)
    trainer.train()
    assert set(stages(trainer)) == {1.0}
    assert trainer.objective.label == AUTO


@pytest.mark.parametrize("at", [0.8, 0.81])
def test_a_stage_that_waits_leaves_none_before_it_out(tmp_path: Path, at: float) -> None:
    """Breaks where the targets are likely while the stage before it has yet to begin: the run died there."""
    objective = f"nll>neg_p(at={at})>cadft(at=auto)"
    trainer = build(tmp_path, objective, data=certain(), learning_rate=0.05)
    trainer.train()
    second = math.ceil(at * STEPS)
    last = [3.0] * (STEPS - second - 1)
    assert stages(trainer)[:STEPS] == [*[1.0] * second, 2.0, *last]


@pytest.mark.parametrize("rows", [1, 2])
def test_accumulation_moves_no_switch(tmp_path: Path, rows: int) -> None:
    found = []
    for size in (8, rows):
        trainer = build(
            tmp_path,
            AUTO,
            data=certain(likely=0.9),
            learning_rate=0.02,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
        )
        trainer.train()
        found.append(trainer.objective.label)
    assert found[0] == found[1] != AUTO


@pytest.mark.parametrize("killed", [3, 10])
def test_a_resumed_training_begins_the_stage_when_it_was_due(tmp_path: Path, killed: int) -> None:
    """Before the switch the counts of the last steps are known again, behind it when it was."""
    settings: dict[str, Any] = {
        "data": certain(),
        "learning_rate": 0.05,
        "lr_scheduler_type": "cosine",
    }
    objective = "nll>neg_p(at=auto, rate=0.3)"
    whole = build(tmp_path / "a", objective, save_strategy="steps", save_steps=killed, **settings)
    whole.train()
    again = build(tmp_path / "b", objective, **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "a" / f"checkpoint-{killed}"))
    assert again.objective == whole.objective
    begun = whole.objective
    assert isinstance(begun, Staged)
    assert 3 < begun.stages[-1].start * STEPS < 10
    pairs = zip(whole.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_both_tests_have_to_be_passed_within_the_guards() -> None:
    switch = Switch()
    assert switch.due(0.25, likely=0.8, end=0.9)
    assert switch.due(0.25, likely=0.8, end=None)
    assert not switch.due(0.24, likely=1.0, end=1.0)
    assert not switch.due(0.5, likely=0.79, end=1.0)
    assert not switch.due(0.5, likely=1.0, end=0.89)
    assert not switch.due(1.0, likely=1.0, end=1.0)
    assert not switch.due(0.5, likely=math.nan, end=1.0)
