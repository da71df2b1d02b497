"""An objective that changes while it trains: what is refused, done, logged and told of it.

The log gets an entry at the end of every stage; a stage's factor reaches the learning rate; a stage that
finds its own time is begun when it is due, which a checkpoint remembers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from advisor.errors import InputError
from advisor.objectives.objective import Objective
from advisor.objectives.schedules import Staged, Switch
from harness.train.trl_settings import NLL


def check_steps(objective: Objective, steps: int) -> None:
    """Refuse a training of so many optimiser steps that would leave out a part of its objective.

    Raises:
        InputError: names the steps, and how to mend it.
    """
    if never := objective.unreached(steps):
        made = "the only optimiser step" if steps == 1 else f"any of the {steps} optimiser steps"
        raise InputError(
            f"objective {objective.label}: {never} does not come into force in {made}: train for more "
            "(--max_steps, --num_train_epochs, smaller batches), or have it begin earlier"
        )


def caution(objective: Objective, config: Any) -> list[str]:
    """A sentence where the choice of a checkpoint may undo what comes late in a training."""
    by_nll = config.metric_for_best_model in (NLL, NLL.removeprefix("eval_"))
    if not (objective.scheduled and config.load_best_model_at_end and by_nll):
        return []
    return [
        f"--load_best_model_at_end keeps the checkpoint of least {NLL}, which rises where an objective leans "
        f"on the prior: what {objective.label} does late may be undone. Leave it out, or choose by another "
        "--metric_for_best_model."
    ]


def told(trainer: Any) -> list[str]:
    """What the weights of a trainer were made with, a sentence each; nothing of an objective that stays."""
    objective, state, config = trainer.objective, trainer.state, trainer.args
    done = state.global_step
    if not (objective.scheduled and done):
        return []
    kept = done
    if config.load_best_model_at_end and state.best_model_checkpoint:
        kept = int(state.best_model_checkpoint.rpartition("-")[2])
    found = [f"{objective.course(state.max_steps, kept)}."]
    if kept < done:
        found.append(
            f"These are the weights after step {kept}, the best by {config.metric_for_best_model} "
            "(--load_best_model_at_end); what came later is not in them."
        )
    return found


class Switches(TrainerCallback, ExportableState):
    """Follows the stages of the objective of a trainer, which it changes once: `at=auto` gets its share."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.switch = Switch()
        self.recent: deque[list[float]] = deque()
        """Of the last optimiser steps: targets, likely ones, p of the turns' ends, ends."""
        self._step: Tensor | None = None

    @property
    def _waiting(self) -> Staged | None:
        """The objective, where its last stage has yet to find its time."""
        objective = self.trainer.objective
        return objective if isinstance(objective, Staged) and objective.waits else None

    def see(self, p: Tensor, ends: Tensor) -> None:
        """Take in the targets of a micro-batch in training: p and whether a token ends a turn, [targets]."""
        if self._waiting is not None:
            found = torch.stack([torch.ones_like(p), p.ge(0.5).to(p), p * ends, ends]).sum(1)
            self._step = found if self._step is None else self._step + found

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Goes on from a checkpoint; has the learning rate follow the stages.

        Raises:
            InputError: too few steps, epochs being steps by now; a stage with a rate of its own under a
                scheduler that is no function of the step.
        """
        check_steps(self.trainer.objective, state.max_steps)
        # A checkpoint of another trainer knows nothing of stages; Trainer looks this up when it saves.
        found = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        kept = found.get("attributes", {})
        self.recent = deque(kept.get("recent", ()))
        waiting = self._waiting
        if waiting is not None and kept.get("begun") is not None:
            self.trainer.objective = waiting.begun(kept["begun"])
        objective: Objective = self.trainer.objective
        if isinstance(objective, Staged) and any(stage.rate != 1 for stage in objective.stages):
            self._follow(kwargs["lr_scheduler"])

    def _follow(self, scheduler: Any) -> None:
        if not isinstance(scheduler, LambdaLR):
            raise InputError(
                f"objective {self.trainer.objective.label}: the rate of a stage goes with a learning rate "
                f"that is a function of the step, not with {self.trainer.args.lr_scheduler_type}: take cosine"
            )
        scheduler.lr_lambdas = [partial(self._factor, plain) for plain in scheduler.lr_lambdas]

    def _factor(self, plain: Callable[[int], float], step: int) -> float:
        """Of the learning rate at an optimiser step, from 0."""
        objective: Objective = self.trainer.objective
        return plain(step) * objective.rate_at(self._done(step))

    def _done(self, step: int) -> float:
        return step / max(int(self.trainer.state.max_steps), 1)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begins the stage that waits, where it is due: before the learning rate of the next step is set."""
        waiting = self._waiting
        if waiting is None or self._step is None:
            return
        step = self.trainer.accelerator.reduce(self._step, reduction="sum").tolist()
        self._step = None
        self.recent.append(step)
        while len(self.recent) > ceil(self.switch.window * state.max_steps):
            self.recent.popleft()
        targets, likely, p_end, ends = map(sum, zip(*self.recent, strict=True))
        done = self._done(state.global_step + 1)
        end = p_end / ends if ends else None
        # The stage before it was in force in this step: of three, none is left out.
        turn = waiting.stage_at(self._done(state.global_step)) == len(waiting.stages) - 2
        if turn and self.switch.due(done, likely=likely / max(targets, 1), end=end):
            self.trainer.objective = waiting.begun(done)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Asks for an entry of the log where the stage that comes next is another."""
        logged = self.trainer.objective.logged
        before, after = (logged(self._done(state.global_step - i)).get("stage") for i in (1, 0))
        if before != after:
            control.should_log = True

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: when the last stage began, and the counts of the last steps."""
        objective = self.trainer.objective
        begun = objective.stages[-1].start if isinstance(objective, Staged) else None
        if self._waiting is not None:
            begun = None
        return {"args": {}, "attributes": {"begun": begun, "recent": list(self.recent)}}
