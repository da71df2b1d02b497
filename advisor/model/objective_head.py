"""Any objective of the table in a training loop of one's own: `add_objective_head(model, "cadft")`.

The trainer (`harness.train.objective_trainer`) is made of the same pieces and adds ranks; a test holds that
both end with the same weights, for every objective.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedModel

from advisor.errors import InputError
from advisor.model.forward import (
    HeadCall,
    ObjectiveOutput,
    copied,
    extend_forward,
    is_extended,
    scored_positions,
    total_weight,
)
from advisor.model.objective_step import (
    at_quantiles,
    evaluating,
    first_pass,
    head_call,
    joined,
    router_loss,
    weight_tables,
)
from advisor.objectives.schedules import AT, AUTO, RATE, Staged
from advisor.objectives.table import Objective, TokenStats, get_objective
from advisor.objectives.weights import FROM_DISTRIBUTION, REFERENCE, REFERENCE_COLUMNS

Batch: TypeAlias = Mapping[str, Any]
"""One micro-batch: `input_ids` and `labels`, [batch, sequence] int64, on the model's device. Labels are not
shifted and are -100 outside the targets. Beside them what the model takes: `attention_mask`, or
`position_ids` for rows without padding; `reference_logp` and the like (see `ObjectiveHead.before_training`);
and `loss_weights`, [batch, sequence] of 0 or more where the labels stand, what the data weigh each target."""
Reference: TypeAlias = PreTrainedModel | Literal["batches"] | None


class ObjectiveHead:
    """The loss of an objective on a model; `add_objective_head` makes it."""

    objective: Objective
    """What is minimised; a percentage in it has become a value."""
    reference: PreTrainedModel | None
    """The frozen model before training, where the objective compares with it."""
    output: ObjectiveOutput | None = None
    """Of the micro-batch whose loss was given last: log p, entropy, top-1 and weight of its targets,
    [targets] each, detached. Its own `loss` is the sum over those targets."""

    def __init__(
        self, model: PreTrainedModel, objective: Objective, reference: PreTrainedModel | None
    ) -> None:
        self.model, self.objective, self.reference = model, objective, reference

    def losses(
        self, micro_batches: Sequence[Batch], *, done: float | None = None
    ) -> Iterator[Tensor]:
        r"""The loss of every micro-batch of one optimiser step, to be backpropagated one by one.

            for loss in head.losses(micro_batches):
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        Each is $\sum_t w_t (-\log p_t) / N$ over its own targets, with N the target tokens of the *whole*
        step, so that their sum, and the gradient, do not depend on how the step is cut up: divide by nothing
        more (with accelerate: `gradient_accumulation_steps=1`). With `loss_weights` u it is
        $\sum_t u_t w_t (-\log p_t) / \sum u$, the sum below over the whole step. The first pass over the
        step, of objectives that need one, is done when this is called; the losses are computed as they are
        asked for.

        Args:
            micro_batches: all of one step, each `input_ids`, `labels` and what else the model takes.
            done: steps that lie behind over those of the whole training, for an objective that changes
                while it trains, such as `nll>neg_p`; 0 at the first step.

        Returns:
            Scalars, float32, nats a target token; 0 where the step has no target.

        Raises:
            InputError: no list of micro-batches, a column is missing, no `done` where the objective
                changes with it, a model whose parameters are all frozen, or several processes (use
                `harness.train.objective_trainer.ObjectiveLoss` there).
        """
        self._check(micro_batches)
        calls = self._calls(micro_batches, self._in_force(done))
        targets = sum(map(total_weight, micro_batches))
        return self._losses(micro_batches, calls, targets or 1)

    def log_p(self, batch: Batch) -> Tensor:
        """Log-probabilities under the model as it is now, without gradient and in evaluation mode.

        Returns:
            [batch, sequence] float32, natural log, where the labels stand; 0 elsewhere.
        """
        return _seen(self.model, batch, ("logp",))["logp"]

    def before_training(self, batch: Batch) -> dict[str, Tensor]:
        """What the objective reads of the model before training, from the model as it is now.

            micro_batches = [{**batch, **head.before_training(batch)} for batch in micro_batches]

        Taken of every micro-batch before training and kept in it, they are what
        `add_objective_head(..., reference="batches")` compares with, and no second model is held.

        Returns:
            [batch, sequence] float32 each, where the labels stand and 0 elsewhere, by name:
            `reference_logp` (natural log), ... Empty for an objective that reads none.
        """
        return _before(self.model, batch, self.objective)

    def _check(self, micro_batches: Sequence[Batch]) -> None:
        if isinstance(micro_batches, Mapping) or not isinstance(micro_batches, Sequence):
            raise InputError(
                f"losses takes the list of all micro-batches of an optimiser step, not a "
                f"{type(micro_batches).__name__}: for a single one, losses([batch])"
            )
        for number, batch in enumerate(micro_batches):
            if missing := sorted({"input_ids", "labels"} - set(batch)):
                raise InputError(f"micro-batch {number} has no {' and no '.join(missing)}")
        if torch.is_grad_enabled() and not any(p.requires_grad for p in self.model.parameters()):
            raise InputError(
                "all parameters of the model are frozen, as load_model leaves them: call "
                "model.requires_grad_(True).train() before training"
            )
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if distributed and torch.distributed.get_world_size() > 1:
            raise InputError(
                "losses counts the targets of one process, and there are several: train with "
                "harness.train.objective_trainer.ObjectiveLoss mixed into a Hugging Face trainer"
            )

    def _in_force(self, done: float | None) -> Objective:
        """What is minimised in a step."""
        if done is None and self.objective.scheduled:
            raise InputError(
                f"objective {self.objective.label} changes while it trains: "
                "head.losses(micro_batches, done=step / steps), with step from 0"
            )
        if done is not None and not 0 <= done <= 1:
            raise InputError(f"done = {done:g}: a share of the training, from 0 to 1")
        return self.objective.at(done or 0.0)

    def _calls(self, micro_batches: Sequence[Batch], objective: Objective) -> list[HeadCall]:
        """What to compute for every micro-batch."""
        references = [self._given(batch, objective) for batch in micro_batches]
        if "step" not in objective.needs or not micro_batches:
            tables: Sequence[Tensor | None] = [None] * len(micro_batches)
        else:
            tables = self._step_weights(micro_batches, references, objective)
        return [
            head_call(
                objective,
                _padded(batch, objective) if "anchor" in objective.needs else batch,
                weights=weights,
                given=given,
                reference=self.reference,
            )
            for batch, weights, given in zip(micro_batches, tables, references, strict=True)
        ]

    def _step_weights(
        self,
        micro_batches: Sequence[Batch],
        references: Sequence[Mapping[str, Tensor]],
        objective: Objective,
    ) -> list[Tensor]:
        """[batch, sequence] weights of every micro-batch, from the statistics of all of them."""
        with evaluating(self.model):
            seen = [
                first_pass(self.model, objective, _inputs(batch), given)
                for batch, given in zip(micro_batches, references, strict=True)
            ]
        columns, _ = joined(seen)
        stats = TokenStats(**columns, top1=columns["logp"] > 0)
        return weight_tables(objective.weight(stats), seen)

    def _given(self, batch: Batch, objective: Objective) -> dict[str, Tensor]:
        """[batch, sequence] each, what the objective reads of the model before training."""
        names = [REFERENCE + name for name in objective.before_training]
        missing = [name for name in names if name not in batch]
        if not missing:
            return {name: batch[name] for name in names}
        if self.reference is None:
            raise InputError(
                f"objective {objective.label}: a micro-batch has no {' and no '.join(missing)}: before "
                "training, batch.update(head.before_training(batch)) for all of them"
            )
        return _before(self.reference, batch, objective)

    def _losses(
        self, micro_batches: Sequence[Batch], calls: Sequence[HeadCall], targets: Tensor | int
    ) -> Iterator[Tensor]:
        for batch, call in zip(micro_batches, calls, strict=True):
            output: Any = self.model(**_inputs(batch), objective_head=call)
            self.output = output
            loss: Tensor = output.loss / targets
            yield loss + router_loss(self.model, output, len(micro_batches))


def add_objective_head(
    model: PreTrainedModel,
    objective: str | Objective = "nll",
    *,
    reference: Reference = None,
    training_set: Iterable[Batch] | None = None,
) -> ObjectiveHead:
    """Train with an objective of the table in a loop of your own.

        head = add_objective_head(model, "cadft")
        for micro_batches in steps:  # each a list of batches with input_ids, labels, attention_mask
            for loss in head.losses(micro_batches):
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    It is correct for every objective, however a step is cut into micro-batches. The model's forward is
    extended in place: `model(**batch, objective_head=get_objective("dft")).loss` is then the *sum* over the
    batch's targets, for objectives that need nothing but the token, which is what a loop over several
    processes calls through its DDP or FSDP wrapper. Call this before wrapping the model, with PEFT too.

    Args:
        model: a causal language model, with the weights from which training begins.
        objective: name, `name(value)` or an Objective of `OBJECTIVES`; the default is the command line's.
        reference: the model before training, for the objectives that compare with it (`asft`, `iw_sft`,
            `iw_sft_token`, `psft`) or take their weight from it (`prift_prob`, `prior=frozen`); it is
            frozen. By default a copy of `model` as it is now, which takes as much memory again; "batches"
            where every micro-batch has `reference_logp` and what else is read (see
            `ObjectiveHead.before_training`), which `asft` cannot use: it needs the whole distribution.
        training_set: micro-batches of the whole training set, read once, for a threshold that is a
            percentage, `threshold(10%)`: that quantile of p before training.

    Returns:
        The head; its `losses` are those of an optimiser step.

    Raises:
        InputError: an unknown objective, one that needs what was not given, or a stage with `at=auto` or a
            `rate`, which trainers see to.
        ValueError: a model whose logits are not those of a plain linear head.
    """
    chosen = get_objective(objective) if isinstance(objective, str) else objective
    if chosen.by_quantile and training_set is None:
        raise InputError(
            f"objective {chosen.label} is a quantile of p over the training set: give "
            "training_set, micro-batches of all of it"
        )
    _check_stages(chosen)
    before = _reference_of(model, chosen, reference)
    extend_forward(model)
    if before is not None:
        extend_forward(before)
    if chosen.by_quantile and training_set is not None:
        tables = ((_seen(model, batch, ("logp",))["logp"], batch) for batch in training_set)
        seen = [table[_places(batch)] for table, batch in tables]
        chosen = at_quantiles(chosen, torch.cat(seen).cpu().numpy())
    return ObjectiveHead(model, chosen, before)


def _check_stages(objective: Objective) -> None:
    """Refuse what a stage asks of the trainer, and a loop of one's own would leave out in silence."""
    if not isinstance(objective, Staged):
        return
    if objective.waits:
        raise InputError(
            f"objective {objective.label}: {AT}={AUTO} is found by advisor's trainers alone: in a loop of "
            f"your own give the share of the steps at which the stage begins, such as {AT}=0.5"
        )
    for stage in objective.stages:
        if stage.rate != 1:
            raise InputError(
                f"objective {objective.label}: {RATE}={stage.rate:g} is a factor of the learning rate, which "
                f"your optimiser has: leave {RATE} out, and multiply it there from done={stage.start:g} on"
            )


def _reference_of(
    model: PreTrainedModel, objective: Objective, given: Reference
) -> PreTrainedModel | None:
    """The frozen model before training, None where the objective or the batches do without."""
    if "anchor" not in objective.needs and not objective.before_training:
        return None
    if given is model or (isinstance(given, str) and given != "batches"):
        what = f"{given!r}, no model" if isinstance(given, str) else "the model that is trained"
        raise InputError(f"reference is {what}: leave it out, and a frozen copy is made")
    if given == "batches" and "anchor" in objective.needs:
        raise InputError(
            f"objective {objective.label} needs the whole distribution before training, which batches do not "
            "hold: leave reference out, and a frozen copy is made"
        )
    if isinstance(given, str):
        return None
    if given is None and is_extended(model) and hasattr(model, "_hf_hook"):
        raise InputError("a model that accelerate has spread cannot be copied: give reference")
    frozen = copied(model) if given is None else given
    frozen.requires_grad_(False).eval()
    return frozen


def _before(model: PreTrainedModel, batch: Batch, objective: Objective) -> dict[str, Tensor]:
    """[batch, sequence] each, what an objective reads of the model before training, by column."""
    found = _seen(model, batch, objective.before_training)
    return {REFERENCE + name: table for name, table in found.items()}


def _seen(model: PreTrainedModel, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
    """[batch, sequence] statistics of the targets, where the labels stand; the forward is extended."""
    if not names:
        return {}
    measures = tuple(name for name in names if name in FROM_DISTRIBUTION)
    with evaluating(model):
        plain = HeadCall(objective=get_objective("nll"), measures=measures)
        output: Any = model(**_inputs(batch), objective_head=plain)
    tables = {}
    for name in names:
        column: Tensor = output.more[name] if name in measures else getattr(output, name)
        tables[name] = column.new_zeros(batch["labels"].shape)
        tables[name][_places(batch)] = column
    return tables


def _places(batch: Batch) -> tuple[Tensor, Tensor]:
    """(rows, columns) of a micro-batch's targets."""
    rows, columns = scored_positions(batch["labels"], batch.get("attention_mask"))
    return rows, columns + 1


def _inputs(batch: Batch) -> dict[str, Any]:
    """What the model takes of a micro-batch."""
    return {name: value for name, value in batch.items() if name not in REFERENCE_COLUMNS}


def _padded(batch: Batch, objective: Objective) -> Batch:
    """The micro-batch with the mask that a reference's hidden states are read with."""
    mask = batch.get("attention_mask")
    if mask is None and "position_ids" not in batch:
        return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}
    if mask is None or mask.dim() != 2:
        raise InputError(
            f"objective {objective.label} compares with the model before training on padded batches: give "
            "attention_mask, [batch, sequence], and no rows without padding"
        )
    return batch
