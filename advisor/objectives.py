r"""The objectives: each one a detached weight on the negative log-likelihood of a target token.

Every target-token objective $f(p)$ of the literature has the gradient of a weighted NLL,

$$ L = \frac{1}{N} \sum_t \mathrm{sg}(w_t) \, (-\log p_t), \qquad w = -f'(p)\, p, $$

so that with logits $z$ and softmax $q$, $\partial L / \partial z = w\,(q - \mathrm{onehot}(y)) / N$.
(Beyond Log Likelihood, arXiv:2510.00526, Lemma 3.1; the lemma as printed omits the minus sign.)
$N$ is the number of target tokens, also for objectives whose weight is zero on some of them.

An objective is a function `weight(stats, **parameters)` and a line in `OBJECTIVES`. Weight functions
call tensor methods only: this module imports no torch, and `advisor ls objectives` stays instant.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from advisor.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


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

    @property
    def p(self) -> Tensor:
        """[tokens] float32, probability of the target."""
        return self.logp.exp()


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A number that an objective takes, with the range in which it means something."""

    default: float
    """The value used when none is given: the paper's, where it names one."""
    low: float = -math.inf
    """Smallest value accepted."""
    high: float = math.inf
    """Largest value accepted."""
    exclusive_low: bool = False
    """Whether `low` itself is refused."""

    def check(self, objective: str, name: str, value: float) -> float:
        """Return `value`, or raise InputError where it lies outside the range."""
        too_low = value <= self.low if self.exclusive_low else value < self.low
        if math.isnan(value) or too_low or value > self.high:
            allowed = f"{'(' if self.exclusive_low else '['}{self.low:g}, {self.high:g}]"
            raise InputError(f"objective {objective}: {name} = {value:g} lies outside {allowed}")
        return value


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One row of the table: a weight function with its provenance and its parameters bound."""

    name: str
    """How it is called everywhere."""
    weight_function: Callable[..., Tensor]
    """`(stats, **parameters) -> weights`, [tokens] float32, non-negative."""
    formula: str
    """The loss f(p) of one token."""
    weight_formula: str
    """The weight w(p) = -f'(p) p."""
    leaning: str
    """"prior-leaning", "prior-averse" or "neutral": where the weight puts its mass (Def. 3.3)."""
    source: str
    """Paper and equation."""
    status: str = "published"
    """"published", "unverified" (secondary sources only) or "ours"."""
    aliases: tuple[str, ...] = ()
    """Other names of the same update."""
    needs: tuple[str, ...] = ()
    """Fields of TokenStats beyond `logp` that the weight reads."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Parameters accepted, in the order in which `name(value)` gives them."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Parameters in force where they differ from the defaults."""

    @property
    def settings(self) -> dict[str, float]:
        """Every parameter's value in force."""
        return {key: self.values.get(key, spec.default) for key, spec in self.parameters.items()}

    @property
    def label(self) -> str:
        """Name with its parameters, as `get_objective` reads it back: `p_pow(10)`."""
        inside = ", ".join(f"{value:g}" for value in self.settings.values())
        return f"{self.name}({inside})" if inside else self.name

    def weight(self, stats: TokenStats) -> Tensor:
        """Weights of the target tokens, [tokens] float32, detached."""
        return self.weight_function(stats, **self.settings).detach()

    def with_parameters(self, **values: float) -> Objective:
        """The same objective with other parameters; InputError for an unknown or invalid one."""
        for key, value in values.items():
            if key not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise InputError(
                    f"objective {self.name} has no parameter {key!r} (it has: {known})"
                )
            self.parameters[key].check(self.name, key, value)
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Objective(**{**fields, "values": {**self.values, **values}})


def nll(stats: TokenStats) -> Tensor:
    r"""Negative log-likelihood: $f = -\log p$, $w = 1$.

    Source: the default of every trainer; arXiv:2510.00526, Eq. 1.
    """
    return stats.logp.new_ones(stats.logp.shape)


def neg_p(stats: TokenStats) -> Tensor:
    r"""Minus the probability: $f = -p$, $w = p$. DFT, $-\mathrm{sg}(p)\log p$, is the same update.

    Source: arXiv:2510.00526, Sec. 3 (a = 1); DFT, arXiv:2508.05629, Eq. 9 and A.3.
    """
    return stats.p


def p_pow(stats: TokenStats, k: float) -> Tensor:
    r"""Power family: $f = (1 - p^k) / k$, $w = p^k$; k -> 0 meets NLL, k = 1 is -p.

    Source: arXiv:2510.00526, Sec. 3, $f_\alpha$.
    """
    return (stats.logp * k).exp()


def threshold(stats: TokenStats, tau: float) -> Tensor:
    r"""NLL on the tokens that the model finds likely enough: $f = -\log p$ where $p \ge \tau$, else 0.

    Membership is tested on the current p. N counts all target tokens, so that the scale of the update
    does not grow as tokens drop out; the authors' code divides by the kept ones.

    Source: arXiv:2510.00526, Sec. 4 and Table 1 (tau = 0.2).
    """
    return (stats.logp >= math.log(tau)).to(stats.logp.dtype) if tau > 0 else nll(stats)


def cadft(stats: TokenStats, beta: float) -> Tensor:
    r"""Compatibility-aware DFT: $w = p \exp(-\beta \max(0, \hat c))$.

    $\hat c = (c - \mu) / (\sigma + 10^{-6})$ standardises the example's mean NLL $c$ over the examples of
    the optimiser step, with the population standard deviation. One example, or equal ones, give DFT.

    Source: arXiv:2606.11206 (formulas from secondary notes; no code by the authors).
    """
    if stats.example is None:
        raise ValueError("cadft needs TokenStats.example")
    if stats.logp.numel() == 0:
        return stats.p
    zeros = stats.logp.new_zeros(int(stats.example.max()) + 1)
    tokens = zeros.index_add(0, stats.example, stats.logp.new_ones(stats.logp.shape))
    present = tokens > 0
    compatibility = zeros.index_add(0, stats.example, -stats.logp) / tokens.clamp(min=1)
    mean = compatibility[present].mean()
    deviation = compatibility[present].std(correction=0)
    z = (compatibility - mean) / (deviation + 1e-6)
    return stats.p * (-beta * z.clamp(min=0)).exp()[stats.example]


_ROWS = (
    Objective(
        name="nll",
        weight_function=nll,
        formula="-log p",
        weight_formula="1",
        leaning="neutral",
        source="arXiv:2510.00526 Eq. 1",
        aliases=("ce", "sft"),
    ),
    Objective(
        name="neg_p",
        weight_function=neg_p,
        formula="-p",
        weight_formula="p",
        leaning="prior-leaning",
        source="arXiv:2510.00526 Sec. 3; arXiv:2508.05629 Eq. 9",
        aliases=("dft", "-p"),
    ),
    Objective(
        name="p_pow",
        weight_function=p_pow,
        formula="(1 - p^k) / k",
        weight_formula="p^k",
        leaning="prior-leaning",
        source="arXiv:2510.00526 Sec. 3",
        parameters={"k": Parameter(default=10.0, low=0.0, exclusive_low=True)},
    ),
    Objective(
        name="threshold",
        weight_function=threshold,
        formula="-log p where p >= tau, else 0",
        weight_formula="1[p >= tau]",
        leaning="prior-leaning",
        source="arXiv:2510.00526 Sec. 4, Table 1",
        parameters={"tau": Parameter(default=0.2, low=0.0, high=1.0)},
    ),
    Objective(
        name="cadft",
        weight_function=cadft,
        formula="-p exp(-beta max(0, z(example)))",
        weight_formula="p exp(-beta max(0, z(example)))",
        leaning="prior-leaning",
        source="arXiv:2606.11206",
        status="unverified",
        needs=("example",),
        parameters={"beta": Parameter(default=1.0, low=0.0)},
    ),
)

OBJECTIVES: dict[str, Objective] = {row.name: row for row in _ROWS}
"""Every objective by name, in the order in which they are listed and plotted."""

_BY_ALIAS = {alias: row for row in _ROWS for alias in (row.name, *row.aliases)}


def get_objective(spec: str) -> Objective:
    """Look up `name`, an alias, or `name(value, ...)`; InputError names the nearest for a wrong one."""
    match = re.fullmatch(r"\s*([^()\s]+)\s*(?:\((.*)\))?\s*", spec)
    name = match.group(1).lower().replace("-p", "neg_p") if match else spec
    row = _BY_ALIAS.get(name)
    if match is None or row is None:
        near = difflib.get_close_matches(name, _BY_ALIAS, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(OBJECTIVES)}"
        raise InputError(f"unknown objective {spec!r}: {hint}")
    inside = [part for part in (match.group(2) or "").split(",") if part.strip()]
    return row.with_parameters(**_read_values(row, inside))


def _read_values(row: Objective, inside: list[str]) -> dict[str, float]:
    """`["10"]` or `["k=10"]` -> `{"k": 10.0}`."""
    if len(inside) > len(row.parameters):
        raise InputError(
            f"objective {row.name} takes {len(row.parameters)} parameters, got {len(inside)}"
        )
    values = {}
    for position, part in zip(row.parameters, inside, strict=False):
        key, _, text = part.rpartition("=")
        try:
            values[key.strip() or position] = float(text)
        except ValueError:
            raise InputError(f"objective {row.name}: {part.strip()!r} is not a number") from None
    return values
