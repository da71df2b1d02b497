"""The losses as their papers write them, one function a row of the table, to be differentiated by autograd.

Each takes a `Step`, all target tokens of one optimiser step with their full distributions, and the
parameters, and returns the loss of every token, [tokens]; what is detached in the paper is detached here.
Nothing of the package is used.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, logsigmoid

LENGTHS = (4, 1, 6, 3)
"""Target tokens of the four examples of a step."""
VOCABULARY = 40


@dataclass
class Step:
    """Float64 logits in which token t's target has a probability that was asked for."""

    logits: Tensor
    targets: Tensor
    reference: Tensor
    """Logits of the model before training, [tokens, VOCABULARY]."""

    @property
    def log_odds(self) -> Tensor:
        """log (1 - p) / p; sigmoids of it are exact at both ends, where 1 - softmax cancels."""
        return log_odds_against(self.logits, self.targets)

    @property
    def log_p(self) -> Tensor:
        return logsigmoid(-self.log_odds)

    @property
    def p(self) -> Tensor:
        return self.log_p.exp()

    @property
    def one_minus_p(self) -> Tensor:
        return logsigmoid(self.log_odds).exp()

    @property
    def reference_log_p(self) -> Tensor:
        return logsigmoid(-log_odds_against(self.reference, self.targets))

    @property
    def example(self) -> Tensor:
        return torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))

    @property
    def forward(self) -> Tensor:
        """Two micro-batches of two examples each."""
        return self.example // 2


def make_step(probabilities: list[float]) -> Step:
    """A step whose targets have these probabilities, and before training similar ones below .9."""
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor(probabilities, dtype=torch.float64)
    shape = (len(p), VOCABULARY)
    z = 2 * torch.randn(shape, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, VOCABULARY, (len(p),), generator=generator)
    # a little off, or 1 - p would be a multiple of float64's spacing below 1 and cancellation exact
    z = with_odds(z, targets, torch.log1p(-p) - p.log() + 1e-3)
    noisy = z + 0.4 * torch.randn(shape, dtype=torch.float64, generator=generator)
    reference = with_odds(noisy, targets, log_odds_against(noisy, targets).clamp(min=-2.2))
    return Step(logits=z.requires_grad_(), targets=targets, reference=reference)


def without_target(z: Tensor, targets: Tensor) -> Tensor:
    return z.scatter(1, targets[:, None], -math.inf)


def with_odds(z: Tensor, targets: Tensor, log_odds: Tensor) -> Tensor:
    wanted = without_target(z, targets).logsumexp(1) - log_odds
    return z.scatter(1, targets[:, None], wanted[:, None])


def log_odds_against(z: Tensor, targets: Tensor) -> Tensor:
    return without_target(z, targets).logsumexp(1) - z.gather(1, targets[:, None])[:, 0]


def entropy(z: Tensor) -> Tensor:
    """-sum q log q of softmax(z), with log q exact where q is near 1."""
    top = z.argmax(1, keepdim=True)
    log_q = z - z.gather(1, top) + logsigmoid(-log_odds_against(z, top[:, 0]))[:, None]
    return -(log_q.exp() * log_q).sum(1)


def top20_entropy(z: Tensor) -> Tensor:
    return entropy(z.topk(20).values)


def mass(z: Tensor, targets: Tensor) -> Tensor:
    """Probability of the target and of all tokens that are less probable."""
    q = z.softmax(1)
    target = q.gather(1, targets[:, None])
    return torch.where(q < target, q, 0.0).sum(1) + target[:, 0]


def nll(step: Step) -> Tensor:
    return -step.log_p


def neg_p(step: Step) -> Tensor:
    return -step.p.detach() * step.log_p  # DFT; 1 - p in test_dft_has_the_gradient_of_minus_p


def p_pow(step: Step, k: float) -> Tensor:
    return (1 - step.p**k) / k


def threshold(step: Step, tau: float) -> Tensor:
    return torch.where(step.p >= tau, -step.log_p, 0.0)


def nll_below(step: Step, tau: float) -> Tensor:
    return torch.where(step.p <= tau, -step.log_p, 0.0)


def neg_p_above(step: Step, tau: float) -> Tensor:
    return torch.where(step.p >= tau, 1 - step.p, 0.0)


def neg_p_below(step: Step, tau: float) -> Tensor:
    return torch.where(step.p <= tau, 1 - step.p, 0.0)


def profit(step: Step, tau: float) -> Tensor:
    return (step.p.detach() > tau) * -step.log_p


def log_one_minus_p(step: Step, eps: float) -> Tensor:
    q = step.one_minus_p  # the clamp holds the slope, so the loss goes on as a straight line
    return torch.where(q >= eps, q.log(), math.log(eps) + (q - eps) / eps)


def focal(step: Step, gamma: float) -> Tensor:
    return -(step.one_minus_p**gamma) * step.log_p


def huber(step: Step, delta: float) -> Tensor:
    e = step.one_minus_p
    return huber_loss(e, torch.zeros_like(e), delta=delta, reduction="none")


def chord_phi(step: Step) -> Tensor:
    return -(step.p * step.one_minus_p).detach() * step.log_p


def talr(step: Step, floor: float) -> Tensor:
    losses = sorted(-tokens.mean().item() for tokens in step.log_p.split(LENGTHS))
    tau = (losses[1] + losses[2]) / 2  # the median of four
    return -torch.clamp(step.p ** (1 / tau), min=floor).detach() * step.log_p


def gem(step: Step, beta: float) -> Tensor:
    q = (step.logits / beta).softmax(1).detach()
    return (q * (step.logits.log_softmax(1) - step.log_p[:, None])).sum(1)


def floored_dft(step: Step, floor: float) -> Tensor:
    return -torch.maximum(step.p, torch.full_like(step.p, floor)).detach() * step.log_p


def eaft(step: Step, alpha: float) -> Tensor:
    return -((top20_entropy(step.logits) / 3.0) ** alpha).detach() * step.log_p


def idft(step: Step, beta: float, low: float, high: float) -> Tensor:
    phi = step.log_p + entropy(step.logits)
    gamma = torch.clamp(torch.exp(-phi / beta), low, high)
    return -(step.p**gamma).detach() * step.log_p


def idft_phi(step: Step, bound: float) -> Tensor:
    gamma = torch.exp(-torch.clamp(step.log_p + entropy(step.logits), -bound, bound))
    return -(step.p**gamma).detach() * step.log_p


def deft(step: Step) -> Tensor:
    a = step.logits.softmax(1).square().sum(1).detach()
    return (1 - step.p**a) / (a + 1e-6)


def deft_cayley(step: Step) -> Tensor:
    floor = 0.5 * step.p.mean()
    a = (floor + (1 - floor) * step.p / (2 - step.p)).clamp(0.001, 1).detach()
    return (1 - step.p**a) / (a + 1e-8)


def cadft(step: Step, beta: float) -> Tensor:
    scores = torch.stack([-tokens.mean() for tokens in step.log_p.split(LENGTHS)])
    deviation = (scores - scores.mean()).square().mean().sqrt()
    z = (scores - scores.mean()) / (deviation + 1e-6)
    weight = torch.exp(-beta * torch.relu(z)).detach()
    dft = (-step.p.detach() * step.log_p).split(LENGTHS)
    return torch.cat([w * tokens for w, tokens in zip(weight, dft, strict=True)])


def cadft_mean(step: Step, beta: float) -> Tensor:
    dft = -step.p.detach() * step.log_p
    of_cadft = cadft(step, beta).detach() / -step.log_p.detach()
    return dft * of_cadft.sum() / step.p.detach().sum()


def prift_prob(step: Step) -> Tensor:
    return -step.reference_log_p.exp() * step.log_p


def prift_mass(step: Step, threshold: float) -> Tensor:
    return torch.where(mass(step.reference, step.targets) >= threshold, -step.log_p, 0.0)


def tailsft(step: Step, fraction: float, whole: float) -> Tensor:
    now = [-tokens.mean() for tokens in step.log_p.split(LENGTHS)]
    was = [-tokens.mean() for tokens in step.reference_log_p.split(LENGTHS)]
    margin = [(a - b).item() for a, b in zip(now, was, strict=True)]
    kept: list[Tensor] = []
    for batch in [range(4)] if whole else [range(2), range(2, 4)]:
        ranked = sorted(batch, key=lambda i: margin[i])
        left_out = ranked[: min(round(len(batch) * fraction), len(batch) - 1)]
        tokens = sum(LENGTHS[i] for i in batch)
        over = tokens / sum(LENGTHS[i] for i in batch if i not in left_out)
        nll_of = (-step.log_p).split(LENGTHS)
        kept += [nll_of[i] * (0.0 if i in left_out else over) for i in batch]
    return torch.cat(kept)


def iw_sft(step: Step, temperature: float) -> Tensor:
    ratios = (step.log_p - step.reference_log_p).split(LENGTHS)
    weights = [torch.exp(temperature * r.mean()).clip(0, 16).detach() for r in ratios]
    tokens = step.log_p.split(LENGTHS)
    return torch.cat([-w * log_p for w, log_p in zip(weights, tokens, strict=True)])


def iw_sft_token(step: Step, low: float, high: float) -> Tensor:
    ratio = torch.exp(step.log_p - step.reference_log_p)
    return -ratio.clip(low, high).detach() * step.log_p


def psft(step: Step, high: float) -> Tensor:
    ratio = torch.exp(step.log_p - step.reference_log_p)
    return -torch.min(ratio, ratio.clip(1 - 0.2, 1 + high))


def infosft(step: Step, ceiling: float) -> Tensor:
    logit_ratio = -step.log_odds / math.log(ceiling / (1 - ceiling))
    return -(step.p * torch.relu(1 - logit_ratio)).detach() * step.log_p


def asft(step: Step, kl: float) -> Tensor:
    reference = step.reference.softmax(1)
    divergence = (reference * (reference.log() - step.logits.log_softmax(1))).sum(1)
    return -step.p.detach() * step.log_p + kl * divergence


LOSSES: dict[str, Callable[..., Any]] = {
    loss.__name__: loss
    for loss in (
        nll, neg_p, p_pow, threshold, nll_below, neg_p_above, neg_p_below, profit, log_one_minus_p, focal,
        huber, floored_dft, eaft, idft, idft_phi, deft, deft_cayley, cadft, cadft_mean, chord_phi,
        talr, gem, tailsft, prift_prob,
        prift_mass, iw_sft, iw_sft_token, psft, infosft, asft,
    )
}  # fmt: skip
"""Every published loss by the name of its row."""
