"""Looks at a model while it trains change nothing, and see the model as it is at that step."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from harness.train.looks import LooksAt, steps_at
from tests.helpers.training import build, weights

SETTINGS = {"max_steps": 8, "learning_rate": 0.1, "optim": "sgd", "lr_scheduler_type": "constant"}


def test_looks_change_nothing_and_see_the_weights_of_their_step(tmp_path: Path) -> None:
    plain = build(tmp_path, "nll", **SETTINGS)
    plain.train()
    seen: dict[float, torch.Tensor] = {}
    modes = []

    def look(share: float, model: PreTrainedModel) -> None:
        modes.append(model.training)
        seen[share] = torch.cat([p.detach().flatten().clone() for p in model.parameters()])

    looked = build(tmp_path, "nll", **SETTINGS)
    looked.add_callback(LooksAt((1 / 8, 1 / 4, 1 / 2, 1.0), look))
    looked.train()
    assert list(seen) == [1 / 8, 1 / 4, 1 / 2]  # the end is no look: the trained model is at hand
    assert modes == [False] * 3
    assert torch.equal(weights(plain), weights(looked))
    half = build(tmp_path, "nll", **{**SETTINGS, "max_steps": 4})
    half.train()
    assert torch.equal(seen[1 / 2], weights(half))


def test_shares_of_one_step_are_one_look(tmp_path: Path) -> None:
    shares: list[float] = []
    trainer = build(tmp_path, "nll", **{**SETTINGS, "max_steps": 2})
    trainer.add_callback(LooksAt((1 / 8, 1 / 4, 1 / 2), lambda share, model: shares.append(share)))
    trainer.train()
    assert shares == [1 / 8]
    assert [steps_at(share, 60) for share in (1 / 8, 1 / 4, 1 / 2)] == [8, 15, 30]
