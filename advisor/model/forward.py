"""From token ids to what the head receives, on any causal architecture, without making logits.

`find_head(model)` compares its log-probabilities with the model's own logits before it is used, so an
architecture that treats its logits in a way not listed here is found out and scored from its logits.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from advisor.errors import InputError
from advisor.model.head import Anchor, Head, logit_stats, token_stats, weighted_nll
from advisor.objectives.table import Objective, TokenStats

logger = logging.getLogger(__name__)

_MARK = "takes_objectives"
"""Attribute of a forward that takes `objective_head`."""

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
_HALF_TOLERANCE = 0.1  # bf16 logits carry 8 bits: one product in two shapes differs by this much
_ULPS = 2
"""By how many units in the last place of the largest logit two computations of it may differ: above 16 one
unit of bfloat16 is 0.125."""


def may_differ_by(logits: Tensor, dtype: torch.dtype) -> float:
    """By how much log-probabilities may differ that were computed twice from the same weights.

    Args:
        logits: of one of the computations; those of tokens that are masked out, -inf, are left aside.
        dtype: that they were computed in.
    """
    finite = logits[logits.isfinite()]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    return max(_TOLERANCE.get(dtype, _HALF_TOLERANCE), _ULPS * torch.finfo(dtype).eps * largest)


def find_head(model: PreTrainedModel) -> Head | None:
    """The model's head, or None where its logits cannot be reproduced from the hidden states."""
    module = model.get_output_embeddings()
    if type(module) is not nn.Linear or module.weight.is_meta:  # quantised, or offloaded
        return None
    head = read_head(model)
    return head if _reproduces(head, model) else None


def read_head(model: PreTrainedModel) -> Head:
    """The model's head as it stands now, unchecked; its parameters are the model's own."""
    module: Any = model.get_output_embeddings()
    scale, softcap = _logit_transform(model)
    return Head(weight=module.weight, bias=module.bias, scale=scale, softcap=softcap)


def _logit_transform(model: PreTrainedModel) -> tuple[float, float | None]:
    """(scale, softcap) that the architecture applies to its logits, from its configuration."""
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, name, None) is not None:
            return float(getattr(config, name)), softcap
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0, softcap
    return (
        scaling if config.model_type == "hyperclovax" else 1.0 / scaling
    ), softcap  # Granite divides


@contextlib.contextmanager
def _at_the_head(head: nn.Module, do: Callable[[Tensor], None]) -> Iterator[None]:
    """Within the block the head hands its input to `do` and returns one column: no logits are made.

    Replacing `forward` keeps the module's own hooks: what gathers a sharded weight for its call does so.
    """

    def forward(hidden: Tensor) -> Tensor:
        do(hidden)
        return hidden[..., :1]

    original = head.forward
    head.forward = forward
    try:
        yield
    finally:
        head.forward = original


def last_hidden(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    positions: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """What the head receives: [batch, sequence] ids -> [batch, sequence, hidden].

    Taken at the head's door rather than from the backbone, so that whatever an architecture does
    between the two is included.

    Args:
        model: a causal language model.
        input_ids: [batch, sequence] int64.
        attention_mask: [batch, sequence], 1 on real tokens.
        positions: `position_ids`, or nothing for those that the model counts itself; by default those of real
            tokens, so that padding on the left changes nothing.
    """
    extra = _extra_inputs(model, attention_mask) if positions is None else positions
    seen: list[Tensor] = []
    with _at_the_head(model.get_output_embeddings(), seen.append):
        model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            **{"use_cache": False, **extra},
        )
    return seen[0]


def _extra_inputs(model: PreTrainedModel, attention_mask: Tensor) -> dict[str, object]:
    """Positions that count real tokens only, so that padding on the left changes nothing."""
    extra: dict[str, object] = {"use_cache": False}
    if not bool(attention_mask[:, 0].all()):
        extra["position_ids"] = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    return extra


@torch.no_grad()
def _reproduces(head: Head, model: PreTrainedModel) -> bool:
    """Whether head and hidden states give the model's own log-probabilities on a few tokens."""
    ids = (torch.arange(1, 9, device=model.device) * 7919 % head.weight.shape[0])[None]
    seen: list[Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    try:  # one pass for both: where the model is in training, dropout would be another in a second
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    finally:
        hook.remove()
    if not seen:
        return False
    theirs = logits[0].float().log_softmax(-1)
    ours = head.logits(seen[0][0]).log_softmax(-1)
    if ours.shape != theirs.shape:
        return False
    error = (ours.to(theirs.device) - theirs).abs().max().item()
    if not error <= may_differ_by(logits, head.weight.dtype):
        logger.warning("head and hidden states miss the model's log-probabilities by %.1e", error)
        return False
    return True


def scored_positions(labels: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(rows, columns) of the states that predict a target, row by row; the target stands one further.

    Args:
        labels: [batch, sequence], -100 outside the targets, not shifted.
        mask: [batch, sequence], 1 on real tokens; a target behind padding has nothing before it. A mask of
            attention between tokens, of other dimensions, is not read.
    """
    predicted = labels[:, 1:].ne(-100)
    if mask is not None and mask.dim() == 2:
        predicted = predicted & mask[:, :-1].bool()
    rows, columns = predicted.nonzero(as_tuple=True)
    return rows, columns


def total_weight(inputs: Mapping[str, Any]) -> Tensor | int:
    r"""What the loss of a micro-batch counts for: its targets, or the sum of what the data weigh them.

    The sum over a whole step is what its loss is divided by, so that a weight is a number of repetitions.
    With NLL, $\sum_t u_t (-\log p_t) / \sum_t u_t$, a row of weight 2 is that row twice in the step, and 2 on
    all rows changes nothing. So it is with every objective whose weight hangs on the token alone; one that
    reads statistics of the step (cadft, talr, ...) takes them over the rows as they are, each once.

    Args:
        inputs: `labels`, and `attention_mask` and `loss_weights` where there are any.
    """
    rows, columns = scored_positions(inputs["labels"], inputs.get("attention_mask"))
    weights: Tensor | None = inputs.get("loss_weights")
    return len(rows) if weights is None else weights[rows, columns + 1].sum()


@torch.no_grad()
def score_batch(
    model: PreTrainedModel,
    head: Head | None,
    input_ids: Tensor,
    labels: Tensor,
    mask: Tensor,
    *,
    needs: Collection[str] = (),
) -> TokenStats:
    """Statistics of every target token of a batch, row by row, left to right.

    Args:
        model: a causal language model in eval mode.
        head: `find_head(model)`; None scores from the model's own logits, slower but always right.
        input_ids: [batch, sequence] int64, padded on either side.
        labels: [batch, sequence] int64, -100 outside the targets, not shifted.
        mask: [batch, sequence], 1 on real tokens, 0 on padding.
        needs: statistics beyond logp, entropy and top1, as of `token_stats`.

    Returns:
        TokenStats of [targets]; `example` is the row in the batch. A target at the first real position
        has nothing before it and is left out.
    """
    rows, columns = scored_positions(labels, mask)
    targets = labels[rows, columns + 1]
    if head is None:
        logits = model(
            input_ids=input_ids, attention_mask=mask, **_extra_inputs(model, mask)
        ).logits
        at = rows.to(logits.device), columns.to(logits.device)
        stats = logit_stats(logits[at], targets, needs=needs)
    else:
        hidden = last_hidden(model, input_ids, mask)
        stats = token_stats(
            head, hidden[rows.to(hidden.device), columns.to(hidden.device)], targets, needs=needs
        )
    return replace(stats, example=rows.to(stats.logp.device))


@dataclass(frozen=True, kw_only=True)
class HeadCall:
    """What a model with an objective head is asked to compute."""

    objective: Objective
    """Gives the weights, unless they are given."""
    weights: Tensor | None = None
    """[batch, sequence] weights of the targets, where they stand in the labels."""
    given: Mapping[str, Tensor] = field(default_factory=dict)
    """[batch, sequence] statistics of the model before training, likewise, by their names in TokenStats."""
    measures: tuple[str, ...] = ()
    """Statistics to give back beside those that the weights need: fields of `ObjectiveOutput.more`."""
    anchor_head: Head | None = None
    """Head of the frozen reference, for an objective with an anchor."""
    anchor_hidden: Tensor | None = None
    """[batch, sequence, hidden], what that head receives."""


@dataclass
class ObjectiveOutput(ModelOutput):
    """What a model with an objective head returns; everything but the loss is detached."""

    loss: Tensor | None = None
    """Scalar: *sum* over the targets of weight * NLL; divide by the step's number of targets, or by the sum
    of their `loss_weights` (`total_weight`)."""
    logp: Tensor | None = None
    """[targets] log-probability, row by row."""
    entropy: Tensor | None = None
    """[targets] nats."""
    top1: Tensor | None = None
    """[targets] whether the target is the most probable token."""
    weights: Tensor | None = None
    """[targets] of the objective, times the `loss_weights`."""
    more: dict[str, Tensor] | None = None
    """[targets] each, the statistics that were asked for besides."""
    aux_loss: Tensor | None = None
    """Router loss of a mixture of experts, where the model gives one."""


def extend_forward(model: PreTrainedModel) -> None:
    """Let `model(**inputs, labels=labels, objective_head=objective)` return an `ObjectiveOutput`.

    `loss_weights`, [batch, sequence], multiply each target's loss by its own, where the labels stand.

    The loss, backbone and head, is then computed inside the model's own forward, so that DDP and FSDP
    wrap all of it: outside, DDP does not synchronise the head's gradient, without an error. Without the
    argument the forward is the original one. Call it before wrapping the model, with PEFT too; a second
    call changes nothing, and a deep copy of the model runs on its own weights.

    Args:
        model: a causal language model; changed in place.

    Raises:
        ValueError: the logits cannot be reproduced from the hidden states (see `find_head`).
    """
    if is_extended(model):
        return
    if find_head(model) is None:
        raise ValueError(f"{type(model).__name__}: its logits are not those of a plain linear head")
    run = _own_forward(model)

    # The signature stays the original one: Trainer and generate() read it.
    @functools.wraps(type(model).forward)
    def forward(
        self: PreTrainedModel,
        *args: Any,
        objective_head: HeadCall | Objective | None = None,
        labels: Tensor | None = None,
        loss_weights: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if objective_head is None:
            if labels is not None and loss_weights is not None:
                raise ValueError("the model's own loss reads no loss_weights: give objective_head")
            return run(self, *args, **kwargs, **({} if labels is None else {"labels": labels}))
        if isinstance(objective_head, Objective):
            objective_head = _call_without_step(objective_head)
        if labels is None:
            raise ValueError("objective_head needs labels")
        mask = kwargs.get("attention_mask")
        work = _LossAtTheHead(self, objective_head, labels, mask, loss_weights)
        with _at_the_head(self.get_output_embeddings(), work.run):
            outputs = run(self, *args, **{**kwargs, "use_cache": False})
        return work.output(getattr(outputs, "aux_loss", None))

    setattr(forward, _MARK, True)
    model.forward = types.MethodType(forward, model)


def is_extended(model: PreTrainedModel) -> bool:
    """Whether `extend_forward` was called on the model."""
    return hasattr(model.forward, _MARK)


def copied(model: PreTrainedModel, memo: dict[int, Any] | None = None) -> PreTrainedModel:
    """A deep copy that runs on its own weights, whatever forward a trainer has left on the model.

    TRL's fused head calls the forward of the model that it was put on, from a copy as well: the copy would
    be the original. So it gets the forward of its class, to be extended anew.

    Args:
        model: to be copied.
        memo: of `copy.deepcopy`: what is not copied, or exchanged.
    """
    found = copy.deepcopy(model, memo)
    if not hasattr(model, "_hf_hook"):  # accelerate's, which leads through a model that is spread
        found.__dict__.pop("forward", None)
    return found


def _own_forward(model: PreTrainedModel) -> Callable[..., Any]:
    """The model's forward as a function of the model, so that a deep copy is not bound to the original."""
    original: Any = model.forward
    if getattr(original, "__self__", None) is model:
        return cast(Callable[..., Any], original.__func__)
    return lambda _, *args, **kwargs: original(*args, **kwargs)


def _call_without_step(objective: Objective) -> HeadCall:
    """What to compute for an objective alone; InputError where it needs more than the micro-batch."""
    if objective.scheduled:
        raise InputError(
            f"objective {objective.label} changes while it trains: give the one in force, "
            "objective.at(step / steps), with step from 0"
        )
    more = sorted(set(objective.needs) - set(objective.head_statistics))
    if more or objective.by_quantile:
        needed = ", ".join(more) or "a quantile of the training set"
        raise InputError(
            f"objective {objective.label} needs more than one micro-batch ({needed}): take head = "
            f"add_objective_head(model, {objective.label!r}), then head.losses(micro_batches) every step"
        )
    return HeadCall(objective=objective)


class _LossAtTheHead:
    """Computes the loss while the head is being called."""

    def __init__(
        self,
        model: PreTrainedModel,
        call: HeadCall,
        labels: Tensor,
        mask: Tensor | None,
        loss_weights: Tensor | None,
    ) -> None:
        self.model, self.call, self.labels, self.loss_weights = model, call, labels, loss_weights
        self.rows, self.columns = scored_positions(labels, mask)
        self.result: Any = None

    def at_targets(self, table: Tensor) -> Tensor:
        """[batch, sequence] -> [targets], read where the labels stand."""
        return table[self.rows, self.columns + 1]

    def run(self, hidden: Tensor) -> None:
        call, objective = self.call, self.call.objective
        given = {name: self.at_targets(table) for name, table in call.given.items()}
        needs = () if call.weights is not None else objective.head_statistics
        anchor = None
        if call.anchor_head is not None and call.anchor_hidden is not None:
            states = call.anchor_hidden[self.rows, self.columns]
            anchor = Anchor(
                head=call.anchor_head, hidden=states, coefficient=objective.anchor_coefficient
            )
        self.result = weighted_nll(
            read_head(self.model),
            hidden[self.rows, self.columns],
            self.at_targets(self.labels),
            objective.weight if call.weights is None else self.at_targets(call.weights),
            given=given,
            factor=None if self.loss_weights is None else self.at_targets(self.loss_weights),
            needs=tuple(dict.fromkeys((*needs, *call.measures))),
            sparse=objective.sparse,
            anchor=anchor,
            temperature=objective.temperature,
        )

    def output(self, aux_loss: Tensor | None) -> ObjectiveOutput:
        stats = self.result.stats
        return ObjectiveOutput(
            loss=self.result.loss,
            logp=stats.logp,
            entropy=stats.entropy,
            top1=stats.top1,
            weights=self.result.weights,
            more={name: getattr(stats, name) for name in self.call.measures} or None,
            aux_loss=aux_loss,
        )
