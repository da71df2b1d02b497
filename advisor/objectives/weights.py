r"""The weight functions: one detached weight on the NLL of each target token, one function an objective.

Each takes a `TokenStats` and the objective's parameters and returns [tokens] float32, non-negative.
Formula, meaning and source stand in the docstring; the table that names them is `objectives.py`.
Tensor methods only: nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


REFERENCE = "reference_"
"""Before the name of a statistic: the same under the model before training."""
FROM_DISTRIBUTION = ("topk_entropy", "collision", "mass")
"""Statistics that only the head can compute, from the whole next-token distribution."""


@dataclass(frozen=True, kw_only=True)
class TokenStats:
    """What an objective may know of each target token; all tensors are detached, one row a token."""

    logp: Tensor
    """[tokens] float32, log-probability of the target, natural log."""
    entropy: Tensor
    """[tokens] float32, entropy of the model's next-token distribution, nats."""
    top1: Tensor
    """[tokens] bool, whether the target is the most probable token."""
    example: Tensor | None = None
    """[tokens] int64, which example the token belongs to, 0 to examples - 1."""
    forward: Tensor | None = None
    """[tokens] int64, which micro-batch of the step, on all ranks at once, the token is read in, from 0."""
    topk_entropy: Tensor | None = None
    """[tokens] float32, entropy of the 20 most probable tokens, renormalised, nats."""
    collision: Tensor | None = None
    """[tokens] float32, sum of squared probabilities of the next-token distribution."""
    mass: Tensor | None = None
    """[tokens] float32, probability of the target and of all tokens that are less probable than it."""
    reference_logp: Tensor | None = None
    """[tokens] float32, log-probability of the target under the model before training."""
    reference_entropy: Tensor | None = None
    """[tokens] float32, likewise."""
    reference_topk_entropy: Tensor | None = None
    """[tokens] float32, likewise."""
    reference_collision: Tensor | None = None
    """[tokens] float32, likewise."""
    reference_mass: Tensor | None = None
    """[tokens] float32, likewise."""

    @property
    def p(self) -> Tensor:
        """[tokens] float32, probability of the target."""
        return self.logp.exp()


REFERENCE_COLUMNS = tuple(
    name for name in TokenStats.__dataclass_fields__ if name.startswith(REFERENCE)
)
"""Every statistic of the model before training, by its name in TokenStats."""


def before_training(stats: TokenStats, names: Collection[str]) -> TokenStats:
    """The statistics with some of them those of the model before training.

    Raises:
        ValueError: the model before training was not asked for one of them.
    """
    frozen = {name: _needed(stats, REFERENCE + name) for name in names}
    return replace(stats, **frozen)


def nll(stats: TokenStats) -> Tensor:
    r"""Negative log-likelihood: $f = -\log p$, $w = 1$.

    Source: the default of every trainer; arXiv:2510.00526, Eq. 1.
    """
    return stats.logp.new_ones(stats.logp.shape)


def neg_p(stats: TokenStats) -> Tensor:
    r"""Minus the probability: $f = -p$, $w = p$. DFT, $-\mathrm{sg}(p)\log p$, is the same update.

    The authors' code divides each micro-batch by its own tokens and backpropagates before dividing by
    the number of micro-batches; here N counts the whole optimiser step.

    Source: arXiv:2510.00526, Sec. 3 (a = 1); DFT, arXiv:2508.05629, Eq. 9 and A.3.
    """
    return stats.p


def p_pow(stats: TokenStats, k: float) -> Tensor:
    r"""Power family: $f = (1 - p^k) / k$, $w = p^k$; k -> 0 meets NLL, k = 1 is -p.

    Source: arXiv:2510.00526, Sec. 3, $f_\alpha$ (a = 10 in Figure 1).
    """
    return (stats.logp * k).exp()


def threshold(stats: TokenStats, tau: float) -> Tensor:
    r"""NLL on the tokens that the model finds likely enough: $f = -\log p$ where $p \ge \tau$, else 0.

    Membership is tested on the current p. N counts all target tokens, so that the scale of the update
    does not grow as tokens drop out; the authors' code divides by the kept ones.

    Source: arXiv:2510.00526, Sec. 4 and Table 1 (tau = 0.2; by quantile: Fig. 5).
    """
    return _at_least(stats, tau)


def nll_below(stats: TokenStats, tau: float) -> Tensor:
    r"""NLL on the unlikely tokens alone: $f = -\log p$ where $p \le \tau$, else 0.

    Source: arXiv:2510.00526, Fig. 5 (bottom quantiles; there it hurts).
    """
    return _at_most(stats, tau)


def neg_p_above(stats: TokenStats, tau: float) -> Tensor:
    r"""-p on the likely tokens: $f = -p$ where $p \ge \tau$, else 0; $w = p\,1[p \ge \tau]$.

    Source: arXiv:2510.00526, Fig. 5.
    """
    return stats.p * _at_least(stats, tau)


def neg_p_below(stats: TokenStats, tau: float) -> Tensor:
    r"""-p on the unlikely tokens: $f = -p$ where $p \le \tau$, else 0; $w = p\,1[p \le \tau]$.

    Source: arXiv:2510.00526, Fig. 5.
    """
    return stats.p * _at_most(stats, tau)


def profit(stats: TokenStats, tau: float) -> Tensor:
    r"""ProFit: NLL on tokens with $p > \tau$, divided by all target tokens.

    The authors' code keeps a token of exactly tau, and divides by the kept tokens where it evaluates.

    Source: arXiv:2601.09195; tau = 0.1 in the authors' code, which also divides by all tokens.
    """
    return (stats.logp > _log(tau)).to(stats.logp.dtype)


def log_one_minus_p(stats: TokenStats, eps: float) -> Tensor:
    r"""$f = \log(1 - p)$, $w = p / (1 - p)$, with $1 - p$ clamped at eps.

    Unbounded below as p -> 1, hence the clamp, which is ours; the text writes -log(1 - p), which as a
    loss points the wrong way.

    Source: arXiv:2510.00526, Sec. 3 and figures; not in the authors' code.
    """
    return stats.p / _one_minus_p(stats).clamp(min=eps)


def focal(stats: TokenStats, gamma: float) -> Tensor:
    r"""Focal loss: $f = -(1 - p)^\gamma \log p$, $w = (1-p)^\gamma - \gamma p (1-p)^{\gamma-1} \log p$.

    More prior-averse than NLL where p is small.

    Source: Lin et al., arXiv:1708.02002; arXiv:2510.00526, App. F.2.
    """
    q = _one_minus_p(stats)
    # p log p (1 - p)^(gamma - 1) tends to 0 for p -> 1; the floor keeps gamma < 1 from dividing by 0
    return q**gamma - gamma * stats.p * stats.logp * q.clamp(min=1e-30) ** (gamma - 1)


def huber(stats: TokenStats, delta: float) -> Tensor:
    r"""Huber loss of $e = 1 - p$: $w = p \min(e, \delta)$.

    $f = e^2/2$ if $e \le \delta$, else $\delta(e - \delta/2)$.

    Source: arXiv:2510.00526, App. F.2.
    """
    return stats.p * _one_minus_p(stats).clamp(max=delta)


def chord_phi(stats: TokenStats) -> Tensor:
    r"""Tokens that the model is undecided about: $w = p\,(1 - p)$, the weight of `huber(1)`.

    The authors mix it with a loss of reinforcement learning; here it stands alone. Their weight is
    detached; that of ms-swift at first was not, which lowers p below .236.

    Source: CHORD-phi, arXiv:2508.11408, and the authors' code.
    """
    return stats.p * _one_minus_p(stats)


def talr(stats: TokenStats, floor: float) -> Tensor:
    r"""Token-adaptive: $w = \max(p^{1/\tau}, \mathrm{floor})$, small for tokens that are hard for the step.

    $\tau$ is the median, over the examples of the optimiser step, of their mean NLL.

    Source: TALR, arXiv:2509.20758 (formula and floor = .01 from secondary sources; no code by the authors).
    """
    if stats.logp.numel() == 0:
        return stats.p
    losses, present = _example_means(stats, -stats.logp)
    ordered = losses[present].sort().values
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return (stats.logp / median.clamp(min=1e-6)).exp().clamp(min=floor)


def gem(stats: TokenStats, beta: float) -> Tensor:
    r"""Keeps the alternatives: $f = \sum_v \mathrm{sg}(q_v) (\log p_v - \log p)$, $q$ = softmax$(z / \beta)$.

    The gradient with respect to the logits is $q - \mathrm{onehot}(y)$, that of $\beta$ times the NLL at the
    temperature $\beta$; the weight itself is 1. beta = 1 is NLL. This is the authors' "linear" h; their
    scripts take "logsigmoid", which multiplies each term by $\sigma((z_v - z_y) / 100)$, close to 1/2, so
    that the update is about half of this one.

    Source: GEM, arXiv:2408.16673, and the authors' code (beta = .7).
    """
    return stats.logp.new_ones(stats.logp.shape)


def floored_dft(stats: TokenStats, floor: float) -> Tensor:
    r"""DFT that never lets go of a token: $w = \max(p, \mathrm{floor})$.

    Source: suggested by DFT's author where formats and end-of-turn tokens are not learnt,
    github.com/yongliang-wu/DFT issue 1 (floor = 0.1).
    """
    return stats.p.clamp(min=floor)


def eaft(stats: TokenStats, alpha: float) -> Tensor:
    r"""Entropy-adaptive: $w = (H_{20} / 3)^\alpha$, entropy of the 20 most probable tokens.

    The paper divides by ln 20, which the authors' code rounds to 3.0; axolotl does not divide.

    Source: EAFT, arXiv:2601.02151, and the authors' code in LLaMA-Factory.
    """
    return (_needed(stats, "topk_entropy") / 3.0).clamp(min=0) ** alpha


def idft(stats: TokenStats, beta: float, low: float, high: float) -> Tensor:
    r"""In-distribution: $w = p^\gamma$, large where the target is as probable as the model's own tokens.

    $\gamma = \mathrm{clip}(e^{-\phi/\beta}, \mathrm{low}, \mathrm{high})$, $\phi = \log p + H$.

    Detached, as in the authors' code since March 2026; the first release let the gradient through
    $p^\gamma$, which lowers p wherever $p < e^{-1/\gamma}$.

    Source: DDT, arXiv:2602.12222 (the released code's clip of gamma).
    """
    gamma = (-(stats.logp + stats.entropy) / beta).exp().clamp(low, high)
    return (stats.logp * gamma).exp()


def idft_phi(stats: TokenStats, bound: float) -> Tensor:
    r"""In-distribution, clipped as the paper's text does: $\gamma = e^{-\mathrm{clip}(\phi, -B, B)}$.

    Source: DDT, arXiv:2602.12222, first version (B = 5), from secondary notes.
    """
    gamma = (-(stats.logp + stats.entropy).clamp(-bound, bound)).exp()
    return (stats.logp * gamma).exp()


def deft(stats: TokenStats) -> Tensor:
    r"""$f = (1 - p^a)/(a + 10^{-6})$ with $a = \mathrm{sg}(\sum_v p_v^2)$; $w = p^a\, a/(a + 10^{-6})$.

    Source: DEFT, arXiv:2602.11424, and the authors' code.
    """
    a = _needed(stats, "collision")
    return (stats.logp * a).exp() * a / (a + 1e-6)


def deft_cayley(stats: TokenStats) -> Tensor:
    r"""As DEFT with $a = c + (1 - c)\,p/(2 - p)$, $c$ half the mean p, a clamped to [.001, 1].

    $10^{-8}$ stands in the place of $10^{-6}$. The authors' code takes the mean over the micro-batch; here it
    is over the optimiser step, so that accumulation does not change the update.

    Source: DEFT's code (arXiv:2602.11424).
    """
    floor = stats.p.mean() / 2 if stats.p.numel() else 0.0
    a = (floor + (1 - floor) * stats.p / (2 - stats.p)).clamp(1e-3, 1.0)
    return (stats.logp * a).exp() * a / (a + 1e-8)


def cadft(stats: TokenStats, beta: float) -> Tensor:
    r"""Compatibility-aware DFT: $w = p \exp(-\beta \max(0, \hat c))$.

    $\hat c = (c - \mu) / (\sigma + 10^{-6})$ standardises the example's mean NLL $c$ over the examples of
    the optimiser step, with the population standard deviation. One example, or equal ones, give DFT.

    Source: arXiv:2606.11206 (formulas from secondary notes; no code by the authors).
    """
    if stats.logp.numel() == 0:
        return stats.p
    compatibility, present = _example_means(stats, -stats.logp)
    mean = compatibility[present].mean()
    deviation = compatibility[present].std(correction=0)
    z = (compatibility - mean) / (deviation + 1e-6)
    return stats.p * (-beta * z.clamp(min=0)).exp()[_needed(stats, "example")]


def cadft_mean(stats: TokenStats, beta: float) -> Tensor:
    r"""The control of CADFT: $w = c\,p$ with the total weight that CADFT has in the optimiser step.

    $c = \sum p\,e^{-\beta \max(0, \hat c)} / \sum p$ over the step, $\hat c$ as in CADFT. What DFT gains
    by it is had by smaller updates; what CADFT gains over it, by which examples lose weight. Under plain SGD
    $c$ multiplies the learning rate. Adam undoes a constant factor, so that $c$ acts there through
    clipping, epsilon and its change from step to step alone.

    Source: a control for arXiv:2606.11206.
    """
    whole = stats.p.sum().clamp(min=1e-30)  # where every p underflows, so does every weight
    return stats.p * (cadft(stats, beta).sum() / whole)


def prift_prob(stats: TokenStats) -> Tensor:
    r"""A frozen prior's probability: $w = p_0$, of the model before training; `neg_p(prior=frozen)`.

    $f = -p_0 \log p$: the weight of DFT, which does not follow the model as it learns.

    Source: PriFT-prob, arXiv:2606.09396, and the authors' code.
    """
    return _needed(stats, "reference_logp").exp()


def prift_mass(stats: TokenStats, threshold: float) -> Tensor:
    r"""NLL where a frozen prior finds enough others less probable: $w = 1[u_0 \ge \mathrm{threshold}]$.

    $u_0 = p_0 + \sum_v p_0(v)\,1[p_0(v) < p_0(y)]$: the target is among the more probable tokens of the
    model before training, whatever its probability itself. N counts all target tokens, as in the authors'
    code.

    Source: PriFT-mass, arXiv:2606.09396, and the authors' code (threshold = .5).
    """
    return (_needed(stats, "reference_mass") >= threshold).to(stats.logp.dtype)


def tailsft(stats: TokenStats, fraction: float, whole: float) -> Tensor:
    r"""NLL on the examples whose likelihood rose least; see `schedules.Tail`, which gives the fraction."""
    if stats.logp.numel() == 0:
        return stats.p
    example = _needed(stats, "example")
    rise, present = _example_means(stats, stats.logp - _needed(stats, "reference_logp"))
    batch = example.new_zeros(rise.shape)
    if not whole:
        batch[example] = _needed(stats, "forward")
    kept = present.clone()
    for number in batch[present].unique():
        members = (present & (batch == number)).nonzero()[:, 0]
        left_out = min(round(len(members) * fraction), len(members) - 1)
        kept[members[(-rise[members]).argsort(stable=True)[:left_out]]] = False
    survives = kept[example].to(stats.logp.dtype)
    tokens, left = batch[example].bincount(), batch[example].bincount(weights=survives)
    return survives * (tokens / left).to(survives.dtype)[batch[example]]


def iw_sft(stats: TokenStats, temperature: float) -> Tensor:
    r"""Importance-weighted by the example: $w = \mathrm{clip}(e^{T \overline{\log p - \log p_0}}, 0, 16)$.

    $p_0$ is the model before training, the bar a mean over the example's targets.

    Source: iw-SFT, arXiv:2507.12856, and the authors' code (T = 1 in its trainer).
    """
    if stats.logp.numel() == 0:
        return stats.p
    ratio, _ = _example_means(stats, stats.logp - _needed(stats, "reference_logp"))
    return (temperature * ratio).clamp(max=math.log(16)).exp()[_needed(stats, "example")]


def iw_sft_token(stats: TokenStats, low: float, high: float) -> Tensor:
    r"""Importance-weighted by the token: $w = \mathrm{clip}(p / p_0, \mathrm{low}, \mathrm{high})$.

    Source: iw-SFT, arXiv:2507.12856, the code's token variant (.2, 1.8).
    """
    return (stats.logp - _needed(stats, "reference_logp")).clamp(max=50).exp().clamp(low, high)


def psft(stats: TokenStats, high: float) -> Tensor:
    r"""Proximal: $w = r\,1[r \le 1 + \mathrm{high}]$ with $r = p/p_0$.

    $f = -\min(r, \mathrm{clip}(r, 1 - .2, 1 + \mathrm{high}))$. With an advantage of 1
    the lower clip never binds. The paper renews $p_0$ every eight optimiser steps; here it stays the
    model before training.

    Source: PSFT, arXiv:2508.17784, and the authors' code (high = .28).
    """
    log_r = stats.logp - _needed(stats, "reference_logp")
    return log_r.clamp(max=50).exp() * (log_r <= math.log1p(high))


def infosft(stats: TokenStats, ceiling: float) -> Tensor:
    r"""Medium confidence: $w = p\,[1 - \mathrm{logit}(p) / \mathrm{logit}(\bar p)]_+$, 0 from $\bar p$ on.

    Each weight depends on its own token alone. The ceiling lies above 1/2, where its logit is positive.

    Source: InfoSFT, arXiv:2605.14967, and the authors' code (ceiling = .93), which also divides by all
    target tokens of the step.
    """
    logit = stats.logp - _one_minus_p(stats).clamp(min=1e-30).log()
    share = logit.clamp(min=-1e30) / math.log(ceiling / (1 - ceiling))  # log p = -inf times p = 0
    return stats.p * (1 - share).clamp(min=0)


def asft(stats: TokenStats, kl: float) -> Tensor:
    r"""Anchored: DFT's $w = p$; the head adds $\mathrm{kl} \cdot KL(p_0 \,\|\, p)$ over the full vocabulary.

    The KL is divided by the step's target tokens like everything else; the authors' code and
    LLaMA-Factory take the mean of each micro-batch, so that it grows with gradient accumulation.

    Source: ASFT, arXiv:2509.23753 (kl = .05; .1 in the code).
    """
    return stats.p


def _one_minus_p(stats: TokenStats) -> Tensor:
    """1 - p without cancellation where p is near 1."""
    return -stats.logp.expm1()


def _log(tau: float) -> float:
    return math.log(tau) if tau > 0 else -math.inf


def _at_least(stats: TokenStats, tau: float) -> Tensor:
    return (stats.logp >= _log(tau)).to(stats.logp.dtype)


def _at_most(stats: TokenStats, tau: float) -> Tensor:
    return (stats.logp <= _log(tau)).to(stats.logp.dtype)


def _needed(stats: TokenStats, name: str) -> Tensor:
    """A field of the statistics that this objective cannot do without."""
    column: Tensor | None = getattr(stats, name)
    if column is None:
        raise ValueError(f"this objective needs TokenStats.{name}")
    return column


def _example_means(stats: TokenStats, values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over each example's tokens, [examples], and which of the numbers are in use."""
    example = _needed(stats, "example")
    zeros = values.new_zeros(int(example.max()) + 1)
    tokens = zeros.index_add(0, example, values.new_ones(values.shape))
    return zeros.index_add(0, example, values) / tokens.clamp(min=1), tokens > 0
