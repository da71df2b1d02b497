"""An objective that changes while it trains: when, by what, and what is told of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.train.objective_trainer import ObjectiveTrainer
from tests.helpers.training import build, curve, smooth_model, train, weights

RATE = 0.3
PLAIN = {
    "max_steps": 6, "learning_rate": RATE, "optim": "sgd", "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0, "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
}  # fmt: skip
"""Settings of a training that a few lines of torch can repeat."""
Weight = Callable[[Tensor, int], Tensor]


def recorded(trainer: ObjectiveTrainer) -> list[list[dict[str, Tensor]]]:
    """Trains; gives the micro-batches of every step."""
    seen: list[list[dict[str, Tensor]]] = []
    draw = trainer.get_batch_samples

    def drawn(*args: Any, **kwargs: Any) -> Any:
        found = draw(*args, **kwargs)
        seen.append([dict(batch) for batch in found[0]])
        return found

    trainer.get_batch_samples = drawn  # type: ignore[method-assign]
    trainer.train()
    return seen


def by_hand(steps: list[list[dict[str, Tensor]]], weight: Weight) -> Tensor:
    """The weights after plain gradient descent on w * -log p over the targets of each step."""
    model = smooth_model()
    for step, micro_batches in enumerate(steps):
        losses, targets = [], 0
        for batch in micro_batches:
            labels = batch["labels"][:, 1:]
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            log_q = model(**inputs).logits[:, :-1].log_softmax(-1)
            log_p = log_q.gather(-1, labels.clamp(min=0)[..., None])[..., 0][labels != -100]
            losses.append((weight(log_p.detach().exp(), step) * -log_p).sum())
            targets += len(log_p)
        gradients = torch.autograd.grad(torch.stack(losses).sum() / targets, model.parameters())
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= RATE * gradient
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def staged(p: Tensor, step: int) -> Tensor:
    """`nll>neg_p`, of six steps."""
    return torch.ones_like(p) if step < 3 else p


def in_three(p: Tensor, step: int) -> Tensor:
    """`neg_p>nll>threshold(0.3)`, of six steps."""
    return p if step < 2 else torch.ones_like(p) if step < 4 else (p >= 0.3).to(p)


def annealed(p: Tensor, step: int) -> Tensor:
    """`p_anneal(0.5, 2)`, of six steps."""
    return p ** (0.5 + 1.5 * step / 6)


@pytest.mark.parametrize(
    ("objective", "weight"),
    [
        ("nll>neg_p", staged),
        ("neg_p>nll>threshold(0.3)", in_three),
        ("p_anneal(0.5, 2)", annealed),
    ],
)
def test_a_training_is_that_of_a_plain_loop(tmp_path: Path, objective: str, weight: Weight) -> None:
    trainer = build(tmp_path, objective, **PLAIN)
    steps = recorded(trainer)
    assert [len(step) for step in steps] == [2] * 6
    expected, start = by_hand(steps, weight), weights(build(tmp_path, "nll"))
    torch.testing.assert_close(weights(trainer), expected, rtol=0, atol=1e-5)
    assert (weights(trainer) - start).abs().max() > 0.01
    never = by_hand(steps, lambda p, step: weight(p, 0))
    late = by_hand(steps, lambda p, step: weight(p, max(step - 1, 0)))
    for other in (never, late):  # what a switch that is not made, or a step late, would end with
        assert (other - expected).abs().max() > 1e-3


@pytest.mark.parametrize("objective", ["nll>cadft", "nll>neg_p", "p_anneal"])
@pytest.mark.parametrize("killed", [2, 4, 6])
def test_resuming_before_at_and_after_the_switch_equals_never_stopping(
    tmp_path: Path, objective: str, killed: int
) -> None:
    saved = {"save_strategy": "steps", "save_steps": 2, "max_steps": 8}
    whole = train(tmp_path, objective, **saved)
    for step in range(killed + 2, 9, 2):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    again = build(tmp_path, objective, **saved)
    again.train(resume_from_checkpoint=True)
    assert torch.equal(weights(again), weights(whole))
    for name in ("loss", "nll", "mean_weight", "power" if objective == "p_anneal" else "stage"):
        assert curve(again, name) == pytest.approx(curve(whole, name), rel=1e-12), name


@pytest.mark.parametrize("objective", ["nll>cadft", "nll>neg_p"])
def test_evaluation_takes_what_is_in_force_and_moves_no_switch(
    tmp_path: Path, objective: str
) -> None:
    asked = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 16}
    trainer, alone = (train(tmp_path, objective, max_steps=4, **more) for more in (asked, {}))
    assert torch.equal(weights(trainer), weights(alone))
    assert curve(trainer, "stage") == curve(alone, "stage") == [1, 1, 2, 2]
    assert curve(trainer, "eval_stage") == [1, 2, 2, 2]  # after step 2 the next is of stage 2
    loss, nll = curve(trainer, "eval_loss"), curve(trainer, "eval_nll")
    assert loss[0] == pytest.approx(nll[0], rel=1e-5)
    assert all(one < 0.9 * other for one, other in zip(loss[1:], nll[1:], strict=True))
    assert trainer.evaluate()["eval_stage"] == 2
    assert build(tmp_path, objective).evaluate()["eval_stage"] == 1  # before any training


@pytest.mark.parametrize(
    ("objective", "logged"),
    [("nll>neg_p", {4: 1, 5: 1, 8: 2}), ("nll>cadft(at=0.3)>neg_p", {3: 1, 4: 2, 7: 2, 8: 3})],
)
def test_no_entry_of_the_log_is_of_two_stages(
    tmp_path: Path, objective: str, logged: dict[int, float]
) -> None:
    """Every fourth step has one, and the last of each stage."""
    settings = {"max_steps": 10, "optim": "sgd", "lr_scheduler_type": "constant"}
    fine = train(tmp_path, objective, **settings)
    coarse = train(tmp_path, objective, logging_steps=4, **settings)
    stages, losses = curve(fine, "stage"), curve(fine, "loss")
    found = [entry for entry in coarse.state.log_history if "loss" in entry]
    assert {entry["step"]: entry["stage"] for entry in found} == logged
    before = 0
    for entry in found:
        after = entry["step"]
        assert set(stages[before:after]) == {entry["stage"]}
        assert entry["loss"] == pytest.approx(
            sum(losses[before:after]) / (after - before), rel=1e-4
        )
        before = after


def test_the_power_is_logged(tmp_path: Path) -> None:
    trainer = train(tmp_path, "p_anneal", max_steps=4)
    assert curve(trainer, "power") == [0, 0.25, 0.5, 0.75]
    assert curve(trainer, "stage") == []
    assert curve(trainer, "mean_weight")[0] == 1


def test_what_was_minimised_when_is_said_and_stands_in_the_card(tmp_path: Path) -> None:
    trainer = train(tmp_path, "nll>neg_p", max_steps=10)
    said = "nll for steps 1 to 5, then neg_p for steps 6 to 10."
    assert trainer.notes == (said,)
    trainer.create_model_card()
    card = (tmp_path / "README.md").read_text()
    assert said in card and "`nll>neg_p(at=0.5)`" in card
    assert build(tmp_path, "nll>neg_p").notes == ()
    assert train(tmp_path, "neg_p", max_steps=2).notes == ()
