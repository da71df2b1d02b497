"""A training that diverges stops at once: nothing that is not finite is saved, or trained on."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from advisor.errors import TrainingDiverged
from harness.train.precision import ComesOutAsItWas
from harness.train.shards import on_this_rank

REMEDY = "lower --learning_rate, or look for the example that does it"


class StopsWhenDiverged(ComesOutAsItWas):
    """Mix-in before a Hugging Face trainer: raises `TrainingDiverged` before an update that would spoil it.

    Trainer itself leaves a NaN out of the logged loss (`logging_nan_inf_filter`), applies the update, and
    saves what comes of it. Here loss and gradient norm are seen before every update, on all ranks alike,
    and the weights before every save and at the end.
    """

    _finite: Tensor | None = None
    """Whether every loss of the optimiser step was finite so far, on this rank."""
    _proven: int | None = None

    @property
    def proven(self) -> int:
        """The number of updates after which weights last had a finite loss and gradient.

        A checkpoint is written after an update and before the next loss: finite weights alone do not
        show that it is good. Below 0 where no weights are known to be.
        """
        return self.state.global_step - 1 if self._proven is None else self._proven

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """As Trainer's; remembers a loss that is not finite, without waiting for the device."""
        loss: Tensor = super().training_step(*args, **kwargs)
        finite = torch.isfinite(loss.detach()).all()
        self._finite = finite if self._finite is None else self._finite & finite
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """As Trainer's, who calls it once an optimiser step, just before the update."""
        trainer: Any = super()
        self._proven = (
            self.proven
        )  # of a training that goes on: its checkpoint is not yet proven here
        norm = trainer._get_grad_norm(model, grad_norm)
        finite, self._finite = self._finite, None
        if finite is not None and not self._on_all_ranks(finite):
            raise self._diverged("the loss")
        # In fp16 the scaler of losses leaves out such a step itself; DeepSpeed's norm may be unknown.
        if norm is None or math.isfinite(float(norm)):
            self._proven = self.state.global_step
        elif not self.args.fp16:
            raise self._diverged("the gradient")
        return norm

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; what comes out is finite."""
        output = super().train(*args, **kwargs)
        self.require_finite()
        return output

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As Trainer's, in checkpoints and at the end, of finite weights only."""
        self.require_finite()
        super().save_model(output_dir, _internal_call)

    def require_finite(self) -> None:
        """Raise TrainingDiverged where a trained weight is not finite, on any rank."""
        model: Any = self.model
        trained = [w for w in model.parameters() if w.requires_grad and w.numel()]
        finite = [torch.isfinite(on_this_rank(weight.detach())).all() for weight in trained]
        if finite and not self._on_all_ranks(torch.stack([f.to(finite[0]) for f in finite]).all()):
            raise self._diverged("a weight")

    def _on_all_ranks(self, flag: Tensor) -> bool:
        others = self.accelerator.reduce((~flag).to(self.args.device).long(), reduction="sum")
        return int(others) == 0

    def _diverged(self, what: str) -> TrainingDiverged:
        done, steps = self.state.global_step, self.state.max_steps
        return TrainingDiverged(
            f"the training has diverged: {what} is not a finite number after {done} of {steps} steps "
            f"(--learning_rate {self.args.learning_rate:g})"
        )
