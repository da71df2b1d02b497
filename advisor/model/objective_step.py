"""One optimiser step with any objective: what its weights need, over all micro-batches, before any gradient.

A trainer and a loop of one's own (`advisor.model.objective_head`) are made of the same pieces: the first pass
without gradient of objectives whose weights need the whole step, the frozen reference of those that compare
with the model before training, and the router loss of a mixture of experts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from advisor.errors import InputError
from advisor.model.forward import HeadCall, last_hidden, read_head, scored_positions
from advisor.objectives.table import Objective


@dataclass(frozen=True, kw_only=True)
class FirstPass:
    """What a pass without gradient found of one micro-batch's targets."""

    stats: dict[str, Tensor]
    """[targets] columns of TokenStats; more may be added."""
    rows: Tensor
    """[targets] which row of the micro-batch each target stands in."""
    columns: Tensor
    """[targets] which column predicts it; the target stands one further."""
    example: Tensor
    """[targets] which example of the micro-batch it belongs to."""
    shape: torch.Size
    """[batch, sequence] of the labels."""


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; then every module's mode is what it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def first_pass(
    model: Callable[..., Any],
    objective: Objective,
    inputs: Mapping[str, Any],
    given: Mapping[str, Tensor],
) -> FirstPass:
    """Statistics of one micro-batch, to be called without gradient and in evaluation mode.

    Args:
        model: with an extended forward (see `extend_forward`), wrapped or not.
        objective: the one that is trained with.
        inputs: of the model, `labels` among them, [batch, sequence] each.
        given: [batch, sequence] statistics of the model before training, where the labels stand, for
            objectives that read them.
    """
    labels = inputs["labels"]
    plain = HeadCall(objective=objective, weights=torch.zeros_like(labels).float())
    outputs = model(**inputs, objective_head=plain)
    rows, columns = scored_positions(labels, inputs.get("attention_mask"))
    stats = {"logp": outputs.logp, "entropy": outputs.entropy}
    stats |= {name: table[rows, columns + 1] for name, table in given.items()}
    example = _examples(inputs)[rows, columns + 1]
    return FirstPass(stats=stats, rows=rows, columns=columns, example=example, shape=labels.shape)


def joined(seen: Sequence[FirstPass]) -> tuple[dict[str, Tensor], int]:
    """The columns of all micro-batches one after another, and how many examples are numbered in `example`."""
    columns = {name: torch.cat([part.stats[name] for part in seen]) for name in seen[0].stats}
    examples, used = [], 0
    for part in seen:
        examples.append(part.example + used)
        used += int(part.example.max()) + 1 if len(part.example) else 0
    columns["example"] = torch.cat(examples)
    columns["forward"] = torch.cat(
        [torch.full_like(part.example, number) for number, part in enumerate(seen)]
    )
    return columns, used


def weight_tables(weights: Tensor, seen: Sequence[FirstPass]) -> list[Tensor]:
    """[targets of the step] weights -> a [batch, sequence] table for every micro-batch, as labels stand."""
    tables, first = [], 0
    for part in seen:
        table = weights.new_zeros(part.shape)
        table[part.rows, part.columns + 1] = weights[first : first + len(part.rows)]
        first += len(part.rows)
        tables.append(table)
    return tables


def head_call(
    objective: Objective,
    inputs: Mapping[str, Any],
    *,
    weights: Tensor | None = None,
    given: Mapping[str, Tensor],
    reference: PreTrainedModel | None = None,
) -> HeadCall:
    """What to ask of the model for one micro-batch.

    Args:
        objective: to minimise.
        inputs: of the model; read where the objective has an anchor.
        weights: [batch, sequence] from the first pass, for objectives that need the step.
        given: [batch, sequence] statistics of the model before training, for objectives that read them.
        reference: the model before training, for an objective with an anchor; else it is not read.
    """
    if reference is None or "anchor" not in objective.needs:
        return HeadCall(objective=objective, weights=weights, given=given)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    # The model's own, whatever they are: at other positions it would not be the model before training.
    positions = {name: inputs[name] for name in ("position_ids",) if name in inputs}
    with torch.no_grad():
        hidden = last_hidden(reference, ids, mask, positions=positions)
    return HeadCall(
        objective=objective,
        given=given,
        anchor_head=read_head(reference),
        anchor_hidden=hidden,
    )


def router_loss(model: Any, outputs: Any, micro_batches: int) -> Tensor | float:
    """A mixture of experts' balancing loss, averaged over the micro-batches of a step; else 0."""
    if outputs.aux_loss is None:
        return 0.0
    coefficient = model.config.get_text_config().router_aux_loss_coef
    return cast(Tensor, coefficient * outputs.aux_loss / micro_batches)


def at_quantiles(objective: Objective, log_p: np.ndarray[Any, Any]) -> Objective:
    """Percentages made values: quantiles of p, from [targets] log p before training."""
    return objective.resolve(lambda share: float(np.exp(np.quantile(log_p, share))))


def _examples(inputs: Mapping[str, Any]) -> Tensor:
    """[batch, sequence] which example of the micro-batch each token belongs to."""
    labels: Tensor = inputs["labels"]
    mask = inputs.get("attention_mask")
    if "position_ids" not in inputs or (mask is not None and mask.dim() == 2):
        if mask is not None and mask.dim() != 2:
            raise InputError(
                "attention_mask has no row for each example and there are no position_ids, so that "
                "examples cannot be told apart: give position_ids that begin at 0 in every example"
            )
        rows = torch.arange(labels.shape[0], device=labels.device)
        return rows[:, None].expand(labels.shape)
    starts: Tensor = inputs["position_ids"].eq(0)  # padding-free: a document begins at position 0
    return (starts.flatten().cumsum(0) - 1).view(labels.shape)
