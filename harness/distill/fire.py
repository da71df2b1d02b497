r"""FiRe-OPD on tensors: which rollouts are kept, how much each of their tokens counts, and the losses.

On-policy distillation (arXiv:2306.13649) draws $y \sim \pi_\theta$ and minimises the reverse KL to a teacher,
token by token. FiRe-OPD (Filter, then Reweight; arXiv:2606.02684) trains on a part of it:

$$ s_i = \frac{1}{T_i} \sum_t \log \pi_T(y_t), \qquad \text{keep}_i = [\, s_i \ge Q_{20\%}(s) \,], $$
$$ w_t = \Big(1 + \alpha \Big(1 - \frac{H^T_t}{\max H^T}\Big)\Big) \Big(1 + \beta \frac{H^S_t}{\max H^S}\Big),
   \qquad w_t \leftarrow w_t / \operatorname{mean}(w), $$

with $H^T$, $H^S$ the entropies of teacher and student over the whole vocabulary, in nats. The mean is
taken before the filter, as in the released code. What paper and code leave open is a setting of `Fire`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

from advisor.model.head import Head, weighted_nll
from harness.distill.fire_settings import Fire

_TINY = 1e-8  # nats; below it every entropy of a scope is none


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """The rollouts of one optimiser step as teacher and student see them, micro-batch after micro-batch.

    Tables are [rollouts, tokens], float32 at the rollouts' temperature; what stands at padding is not read.
    """

    mask: Tensor
    """1 on the tokens that the student drew."""
    teacher: Tensor
    """[rollouts] int64, number of the teacher that scores the row."""
    teacher_logp: Tensor
    """Log-probability of the drawn token under the row's teacher."""
    teacher_entropy: Tensor
    """Of the teacher's distribution, nats."""
    student_logp: Tensor
    """Log-probability of the drawn token under the student that drew it."""
    student_entropy: Tensor
    """Of the student's distribution, nats."""


def scores(logp: Tensor, mask: Tensor) -> Tensor:
    """Mean log-probability of each rollout's tokens: [rollouts, tokens] to [rollouts] float64."""
    mask = mask.bool()
    return logp.double().where(mask, 0).sum(1) / mask.sum(1).clamp(min=1)


def kept(score: Tensor, percentile: float) -> Tensor:
    """[rollouts] bool: the score reaches the percentile, interpolated linearly between two scores.

    A teacher that forbids a token scores minus infinity, below every number; what is no number, too.
    Not `torch.quantile`: where the percentile falls on a score, that one must not be lost by rounding.
    """
    score = score.where(~score.isnan(), -math.inf)
    ordered = score.sort().values
    rank = percentile * (len(score) - 1) / 100
    low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
    if low.isinf():  # no number lies between
        return score >= (low if rank == math.floor(rank) else high)
    return score >= low + (rank - math.floor(rank)) * (high - low)


def confidence_weights(
    teacher_entropy: Tensor,
    student_entropy: Tensor,
    mask: Tensor,
    *,
    alpha: float,
    beta: float,
    per_trajectory: bool,
) -> Tensor:
    """Token weights, high where the teacher is sure and the student is not; their mean is 1.

    Args:
        teacher_entropy: [rollouts, tokens], nats.
        student_entropy: likewise.
        mask: 1 on the tokens that count.
        alpha: weight of the teacher's confidence.
        beta: weight of the student's confusion.
        per_trajectory: take maxima and mean within each row, else over the whole table.

    Returns:
        [rollouts, tokens], 0 off the mask.
    """
    mask = mask.bool()
    confidence = (1 - _relative(teacher_entropy, mask, per_trajectory)).clamp(0, 1)
    confusion = _relative(student_entropy, mask, per_trajectory).clamp(0, 1)
    weights = ((1 + alpha * confidence) * (1 + beta * confusion)).where(mask, 0)
    if per_trajectory:
        return weights / (weights.sum(1) / mask.sum(1).clamp(min=1)).clamp(min=_TINY)[:, None]
    return weights / (weights.sum() / mask.sum().clamp(min=1)).clamp(min=_TINY)


def _relative(entropy: Tensor, mask: Tensor, per_trajectory: bool) -> Tensor:
    """Entropies as a share of the largest."""
    seen = entropy.where(mask, 0)
    largest = seen.amax(1, keepdim=True) if per_trajectory else seen.max()
    return seen / largest.clamp(min=_TINY)


def step_weights(rollouts: Rollouts, fire: Fire, rows_at_once: int) -> Tensor:
    """Weights of all tokens of an optimiser step, 0 at padding and in rollouts that are left out.

    Args:
        rollouts: of all micro-batches and ranks.
        fire: the settings.
        rows_at_once: rollouts of a micro-batch; read where a scope is the micro-batch.

    Returns:
        [rollouts, tokens] float32.
    """
    everything = [torch.arange(len(rollouts.mask), device=rollouts.mask.device)]
    parts = {"step": everything, "trajectory": everything}
    parts["micro_batch"] = list(everything[0].split(rows_at_once))
    weights = torch.zeros_like(rollouts.teacher_entropy)
    for rows in parts[fire.weight_scope]:
        weights[rows] = confidence_weights(
            rollouts.teacher_entropy[rows],
            rollouts.student_entropy[rows],
            rollouts.mask[rows],
            alpha=fire.alpha,
            beta=fire.beta,
            per_trajectory=fire.weight_scope == "trajectory",
        )
    score = scores(rollouts.teacher_logp, rollouts.mask)
    for rows in parts[fire.filter_scope]:
        for group in _groups(rollouts.teacher[rows], separate=fire.filter_per_teacher):
            ranked = rows[group]
            left_out = ~kept(score[ranked], fire.percentile)[:, None]
            weights[ranked] = weights[ranked].masked_fill(left_out, 0)
    return weights


def _groups(teacher: Tensor, *, separate: bool) -> list[Tensor]:
    """[rollouts] bool each: the rows that are ranked together."""
    if not separate:
        return [torch.ones_like(teacher, dtype=torch.bool)]
    return [teacher == number for number in teacher.unique()]


def summary(rollouts: Rollouts, weights: Tensor) -> dict[str, float]:
    """What is logged of a step: how much was kept, how uneven the weights are, how far the student is."""
    mask = rollouts.mask.bool()
    tokens = mask.sum().clamp(min=1)
    gap = (rollouts.student_logp - rollouts.teacher_logp).where(mask, 0)
    square = weights.square().sum().clamp(min=_TINY)
    found = {
        "kept": weights.gt(0).any(1).float().mean(),
        "effective_sample_size": weights.sum() ** 2 / square / tokens,
        "teacher_logp": scores(rollouts.teacher_logp, mask).mean(),
        "sampled_kl": gap.sum() / tokens,
    }
    return {name: float(value) for name, value in found.items()}


def tempered(head: Head, temperature: float) -> Head:
    """The head whose logits are the given one's, divided by a temperature: c tanh(z / c) / T included."""
    softcap = None if head.softcap is None else head.softcap / temperature
    return replace(head, scale=head.scale / temperature, softcap=softcap)


def narrowed(head: Head, rows: int) -> Head:
    """The head of the first tokens alone: the others take no part in a softmax."""
    bias = None if head.bias is None else head.bias[:rows]
    return replace(head, weight=head.weight[:rows], bias=bias)


def full_loss(
    student: tuple[Head, Tensor],
    teacher: tuple[Head, Tensor],
    weights: Tensor,
    *,
    divergence: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""$\sum_t w_t \, KL(\pi_\theta \| \pi_T)$ over the whole vocabulary, by TRL's kernel.

    Its expected gradient is that of `sampled_loss`, with less variance: the paper's weights depend on
    the prefix alone. The paper itself samples.

    Args:
        student: head at the rollouts' temperature, and [tokens, hidden] states with gradient.
        teacher: likewise, without gradient.
        weights: [tokens].
        divergence: TRL's `beta`: 1 is the reverse KL, 0 the forward one, between them lie Jensen-Shannon's.

    Returns:
        The loss, a scalar; and the student's entropy, [tokens] nats, without gradient.
    """
    (head, hidden), (other, states) = student, teacher
    apply: Any = ChunkedDivergenceFunction.apply
    per_token, entropy = apply(
        hidden, head.weight, head.bias, states, other.weight, other.bias, divergence,
        1.0, head.scale, head.softcap, other.scale, other.softcap,
    )  # fmt: skip
    # A product would make NaN of an infinite divergence at padding
    weighted = (per_token * weights).masked_fill(weights == 0, 0)
    return weighted.sum(), cast(Tensor, entropy)


def sampled_loss(
    student: tuple[Head, Tensor],
    targets: Tensor,
    weights: Tensor,
    student_logp: Tensor,
    teacher_logp: Tensor,
) -> tuple[Tensor, Tensor]:
    r"""$-\sum_t \mathrm{sg}(w_t A_t) \log \pi_\theta(y_t)$, $A_t = \log \pi_T(y_t) - \log \pi_{old}(y_t)$.

    The published loss: with one update from each batch of rollouts its probability ratio is 1 and
    clipping has nothing to clip. Its value says nothing; its gradient estimates the reverse KL's.

    Args:
        student: head at the rollouts' temperature, and [tokens, hidden] states with gradient.
        targets: [tokens] int64, the tokens drawn.
        weights: [tokens].
        student_logp: [tokens], when they were drawn.
        teacher_logp: [tokens].

    Returns:
        The loss, a scalar; and the student's entropy, [tokens] nats, without gradient.
    """
    advantage = teacher_logp - student_logp
    found = weighted_nll(*student, targets, (weights * advantage).detach(), sparse=True)
    return found.loss, found.stats.entropy
