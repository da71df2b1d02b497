"""The inputs of the head's bench, and the gradients that they should give, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.experiments.bench.measure import Conditions

SHAPES = {
    "A": (2048, 576, 49152),
    "B": (2048, 896, 151936),
    "C": (1024, 2048, 128256),
    "D": (8192, 4096, 151936),  # for a GPU: its gradients in float64 take some 20 GB
    "tiny": (96, 256, 211),  # tries the command out; its times mean nothing
}
"""Tokens, hidden size, vocabulary."""
KEEP_HALF, KEEP_TENTH = -5.0, 2.3  # log-odds of the thresholds: between the bands of p, see `make`
BANDS = (5.1, *(-0.4,) * 4, *(-11.0,) * 5)
"""Log-odds of p, one row in ten each: certain, open, unknown."""
ROWS_64 = 256
LARGE, LARGE_ROWS = 2**28, 512
"""Elements of the weight from which on numbers are checked on so many rows, and for two objectives."""


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


OBJECTIVES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "nll": ("nll", lambda logp: -logp),
    "-p": ("neg_p", lambda logp: -logp.exp()),
    "dft": ("dft", lambda logp: -logp.exp().detach() * logp),
    "threshold 50 %": (
        f"threshold({_probability(KEEP_HALF)})",
        lambda logp: -logp * (logp >= math.log(_probability(KEEP_HALF))),
    ),
    "threshold 10 %": (
        f"threshold({_probability(KEEP_TENTH)})",
        lambda logp: -logp * (logp >= math.log(_probability(KEEP_TENTH))),
    ),
}
"""Name to (ours as the table calls it, the published loss f(log p) that autograd differentiates)."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one table is about."""

    shape: str = "A"
    dtype: str = "float32"
    supervised: int = 100
    """Per cent of the tokens."""

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype} {self.supervised} %"


@dataclass(kw_only=True)
class Problem:
    """The inputs of a case; gradients are left in `hidden.grad` and `weight.grad`."""

    hidden: Tensor
    """[tokens, hidden]."""
    weight: Tensor
    """[vocabulary, hidden]."""
    labels: Tensor
    """[tokens], already shifted, -100 on prompts."""
    rows: Tensor = field(init=False)
    """[supervised], where the labels are."""

    def __post_init__(self) -> None:
        self.rows = (self.labels != -100).nonzero()[:, 0]

    def reset(self) -> None:
        """Forget the gradients."""
        self.hidden.grad = self.weight.grad = None


def make(case: Case, conditions: Conditions) -> Problem:
    """Random inputs in which a tenth of the targets is certain, four are open and five unknown."""
    tokens, hidden, vocabulary = SHAPES[case.shape]
    device = conditions.device
    # Drawn where they are used: 622 million numbers take a core half a minute.
    made: Any = {
        "generator": torch.Generator(device).manual_seed(conditions.seed),
        "device": device,
    }
    weight = torch.randn(vocabulary, hidden, **made) / hidden**0.5
    labels = torch.randint(vocabulary, (tokens,), **made)
    states = torch.randn(tokens, hidden, **made) / 2
    odds = torch.tensor(BANDS, device=device).repeat(tokens // len(BANDS) + 1)[:tokens]
    own = weight[labels]
    logit = odds + math.log(vocabulary) + 1 / 8  # the others' log-sum-exp: normal, variance 1/4
    states += (logit / own.square().sum(-1))[:, None] * own
    quarter = tokens // 4
    prompt = torch.arange(tokens) % quarter < round(quarter * (1 - case.supervised / 100))
    dtype = getattr(torch, case.dtype)
    states, weight = (x.to(dtype) for x in (states, weight))
    return Problem(
        hidden=states.requires_grad_(),
        weight=weight.requires_grad_(),
        labels=labels.masked_fill(prompt.to(device), -100),
    )


def is_large(problem: Problem) -> bool:
    """Whether float64 gradients of all rows and objectives would not fit."""
    return problem.weight.numel() >= LARGE


def checked(problem: Problem) -> Problem:
    """The problem on which numbers are checked: of a large one the first supervised rows, weights shared."""
    if not is_large(problem):
        return problem
    few = torch.full_like(problem.labels, -100)
    rows = problem.rows[:LARGE_ROWS]
    few[rows] = problem.labels[rows]
    return Problem(hidden=problem.hidden, weight=problem.weight, labels=few)


def checked_objectives(problem: Problem) -> tuple[str, ...]:
    """Those whose gradients are computed in float64, and that are timed."""
    return ("nll", "dft") if is_large(problem) else tuple(OBJECTIVES)


def exact_gradients(problem: Problem) -> dict[str, tuple[Tensor, Tensor]]:
    """(dH, dW) in float64 of the objectives that are checked, by autograd through the published loss."""
    h = problem.hidden.detach()[problem.rows].double()
    weight = problem.weight.detach().double().requires_grad_()
    targets = problem.labels[problem.rows]
    wanted = {name: OBJECTIVES[name] for name in checked_objectives(problem)}
    made = {name: (torch.zeros_like(h), torch.zeros_like(weight)) for name in wanted}
    for first in range(0, len(h), ROWS_64):
        part = slice(first, first + ROWS_64)
        states = h[part].requires_grad_()
        logp = (states @ weight.T).log_softmax(-1).gather(1, targets[part, None])[:, 0]
        for name, (_, loss_of) in wanted.items():
            loss = loss_of(logp).sum() / len(h)
            d_states, d_weight = torch.autograd.grad(loss, (states, weight), retain_graph=True)
            made[name][0][part] = d_states
            made[name][1].add_(d_weight)
    return made


def gradient_error(problem: Problem, exact: tuple[Tensor, Tensor]) -> float:
    """Relative error of the gradients that a variant left; the larger of dH's and dW's, inf if absent."""
    d_hidden = torch.zeros(problem.hidden.shape, dtype=torch.float64, device=exact[0].device)
    d_hidden[problem.rows] = exact[0]
    pairs = [(problem.hidden.grad, d_hidden)]
    if problem.weight.grad is not None:
        pairs.append((problem.weight.grad, exact[1]))
    errors = [
        math.inf if got is None else float((got.double() - true).norm() / true.norm())
        for got, true in pairs
    ]
    return max(errors)
