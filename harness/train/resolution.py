"""Weights of 16 bits: how many did not move, because every update was below their resolution.

A bfloat16 weight has 8 bits of precision: an update under 1/512 of it is rounded away, and Adam's are about
the learning rate, 1e-5, while a weight is about 0.02. A training in such weights may look as if it ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from harness.train.precision import COARSE
from harness.train.shards import on_this_rank

SAMPLE = 4096
"""Weights watched of each parameter, evenly spread over it."""
WORTH_SAYING = 0.05
"""Share of the weights."""


@dataclass(kw_only=True)
class _Watched:
    weight: Any
    at: Tensor
    """[sample] places in the flat parameter."""
    before: Tensor
    """[sample] values before training."""
    pulled: Tensor
    """[sample] whether a gradient has pulled at it: an unused embedding moves in no precision."""


class WatchResolution(TrainerCallback):
    """Watches a sample of the trained 16-bit weights; costs nothing where there are none."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remembers where the weights were."""
        for weight in kwargs["model"].parameters():
            own = on_this_rank(weight.detach())
            if not (weight.requires_grad and weight.dtype in COARSE and own.numel()):
                continue
            step = max(1, own.numel() // SAMPLE)
            at = torch.arange(0, own.numel(), step, device=own.device)[:SAMPLE]
            before = own.flatten()[at].clone()
            self._watched.append(
                _Watched(weight=weight, at=at, before=before, pulled=torch.zeros_like(at).bool())
            )

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Sees which of them a gradient pulls at."""
        for one in self._watched:
            gradient = one.weight.grad
            if gradient is not None and gradient.numel() == one.weight.numel():
                one.pulled |= on_this_rank(gradient.detach()).flatten()[one.at] != 0

    def share(self) -> float | None:
        """Of the weights that a gradient pulled at, those that are where they were; None without any."""
        pulled = stayed = 0
        for one in self._watched:
            now = on_this_rank(one.weight.detach()).flatten()[one.at]
            same = now.to(one.before.device) == one.before
            pulled += int(one.pulled.sum())
            stayed += int((same & one.pulled).sum())
        return stayed / pulled if pulled else None

    def remarks(self, trainer: Any) -> tuple[str, ...]:
        """A caution where the updates were lost on many weights."""
        share = self.share()
        if share is None or share < WORTH_SAYING:
            return ()
        dtype = str(self._watched[0].weight.dtype).removeprefix("torch.")
        return (
            f"{share:.0%} of the trained weights did not move: they are {dtype}, and every update at "
            f"--learning_rate {trainer.args.learning_rate:g} was below its resolution. Train with --dtype "
            "float32 (with --bf16 true the computation stays as fast), an adapter, or a higher rate.",
        )
