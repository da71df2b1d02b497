r"""An objective as a loss function that another trainer calls with what its model gave.

`objective_loss` takes logits, as `compute_loss_func` of transformers' Trainer gets them; `weighted_logp`
takes the log-probabilities of the targets, where a trainer makes no logits. Both need torch and nothing
else, so that they work in an environment whose other packages are the trainer's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from advisor.errors import InputError
from advisor.model.head import held_finite, logit_stats
from advisor.objectives.objective import Objective
from advisor.objectives.table import TokenStats, get_objective

IGNORED = -100
"""Label of what is no target."""


def objective_loss(objective: str | Objective) -> Callable[..., Tensor]:
    r"""A loss function for any trainer that has `compute_loss_func`: logits and labels in, the loss out.

        Trainer(model, args, train_dataset=rows, compute_loss_func=advisor.objective_loss("p_pow(0.5)"))

    The loss is $`\frac{1}{N} \sum_t \mathrm{sg}(w_t)(-\log p_t)`$ with N the targets of the whole optimiser
    step, as far as the trainer tells it (`num_items_in_batch`), else of the batch. It keeps the logits of the
    targets in float32; `advisor train` and `add_objective_head` never make them.

    Args:
        objective: name, `name(value)`, or what `get_objective` gave.

    Returns:
        `loss(outputs, labels, num_items_in_batch=None)`, a scalar: `outputs.logits` are [batch, sequence,
        vocabulary], `labels` [batch, sequence] int64, not shifted, -100 outside the targets. Further keywords
        are not read.

    Raises:
        InputError: an objective whose weights need more than the tokens of one batch.
    """
    chosen = _of_a_batch(objective)

    def loss(
        outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None, **_: Any
    ) -> Tensor:
        logits: Tensor = outputs["logits"] if isinstance(outputs, dict) else outputs.logits
        targets = labels[..., 1:].to(logits.device)
        scored = targets != IGNORED
        z, y = logits[..., :-1, :][scored].float(), targets[scored]
        if not len(y):
            return z.sum()  # 0, with a graph: every rank has to take part in the backward pass
        stats = logit_stats(z.detach(), y, needs=chosen.head_statistics)
        total = torch.dot(chosen.weight(stats), _losses(z, y, chosen.temperature))
        n = len(y) if num_items_in_batch is None else num_items_in_batch
        return total / torch.as_tensor(n, device=total.device).clamp(min=1)

    return loss


def weighted_logp(objective: str | Objective) -> Callable[[Tensor], Tensor]:
    r"""For a trainer that gives log-probabilities: $\mathrm{sg}(w) \log p$, whose NLL is the objective.

    Args:
        objective: name, `name(value)`, or what `get_objective` gave.

    Returns:
        A function of log-probabilities of targets, of any shape, natural log, to those times their weights.

    Raises:
        InputError: an objective whose weights need more than the log-probability of each token.
    """
    chosen = _of_a_batch(objective)
    if not chosen.of_logp_alone:
        raise InputError(
            f"objective {chosen.label}: its loss needs more of the distribution than the targets' "
            "log-probabilities: use a trainer that gives logits (objective_loss)"
        )

    def weighted(logp: Tensor) -> Tensor:
        known = logp.detach().float()
        stats = TokenStats(logp=known, entropy=known, top1=known > 0)
        return logp * chosen.weight(stats)

    return weighted


def _of_a_batch(objective: str | Objective) -> Objective:
    """The objective, refused where its loss is no function of one batch."""
    chosen = get_objective(objective) if isinstance(objective, str) else objective
    if why := chosen.beyond_a_batch:
        raise InputError(
            f"objective {chosen.label}: {why}: use `advisor train`, or advisor.add_objective_head in a "
            "training loop of your own"
        )
    return chosen


def _losses(z: Tensor, y: Tensor, temperature: float) -> Tensor:
    r"""[tokens] $-\log p$, or GEM's $\sum_v \mathrm{sg}(q_v)(\log p_v - \log p)$ with q at a temperature."""
    if temperature == 1:
        return torch.nn.functional.cross_entropy(z, y, reduction="none")
    q, z = torch.softmax(z.detach() / temperature, -1), held_finite(z)
    return cast(Tensor, torch.linalg.vecdot(q, z - z.gather(1, y[:, None])))
