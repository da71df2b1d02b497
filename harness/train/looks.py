"""Looks at a model while it trains: after some shares of its optimiser steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from harness.train.precision import without_autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Look = Callable[[float, "PreTrainedModel"], None]
"""Told the share of the steps that lie behind, and the model; it leaves weights and random numbers alone."""


def steps_at(share: float, steps: int) -> int:
    """The step after which a share of all steps lies behind; at least the first."""
    return max(1, round(share * steps))


class LooksAt(TrainerCallback):
    """Looks after some shares of the steps; a share whose step another one has taken already is left out."""

    def __init__(self, shares: Sequence[float], look: Look) -> None:
        self.shares, self.look = shares, look

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """In evaluation mode and without autocast, as the trained model is looked at."""
        for share in self.shares:
            if steps_at(share, state.max_steps) == state.global_step < state.max_steps:
                model = kwargs["model"]
                training = model.training
                model.eval()
                with without_autocast(model):
                    self.look(share, model)
                model.train(training)
                return
