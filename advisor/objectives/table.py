r"""The objectives: each one a detached weight on the negative log-likelihood of a target token.

Every target-token objective $f(p)$ of the literature has the gradient of a weighted NLL,

$$ L = \frac{1}{N} \sum_t \mathrm{sg}(w_t) \, (-\log p_t), \qquad w = -f'(p)\, p, $$

so that with logits $z$ and softmax $q$, $\partial L / \partial z = w\,(q - \mathrm{onehot}(y)) / N$.
(Beyond Log Likelihood, arXiv:2510.00526, Lemma 3.1; the lemma as printed omits the minus sign.)
$N$ is the number of target tokens, also for objectives whose weight is zero on some of them.

An objective is a function in `weights.py` and a line in the table below. Nothing here imports torch, so
that `advisor ls objectives` stays instant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError
from advisor.names import did_you_mean
from advisor.objectives import weights
from advisor.objectives.objective import FROZEN, PRIOR, Parameter
from advisor.objectives.objective import Objective as Objective
from advisor.objectives.schedules import AT, AUTO, RATE, THEN, Annealed, Stage, Tail, staged
from advisor.objectives.weights import TokenStats as TokenStats

if TYPE_CHECKING:
    from torch import Tensor


LEANING, AVERSE, NEUTRAL = "prior-leaning", "prior-averse", "neutral"
_BEYOND_LL = "arXiv:2510.00526"


def _positive(default: float) -> Parameter:
    return Parameter(default=default, low=0.0, exclusive_low=True)


def _from_zero(default: float) -> Parameter:
    return Parameter(default=default, low=0.0)


def _share(default: float) -> Parameter:
    return Parameter(default=default, low=0.0, high=1.0)


def _row(
    function: Callable[..., Tensor],
    formula: str,
    weight: str,
    leaning: str,
    source: str,
    **more: Any,
) -> Objective:
    """One line of the table; the objective is called as its weight function is."""
    return Objective(
        name=function.__name__,
        weight_function=function,
        formula=formula,
        weight_formula=weight,
        leaning=leaning,
        source=source,
        **more,
    )


# fmt: off
_ROWS = (
    _row(weights.nll, "-log p", "1", NEUTRAL, f"{_BEYOND_LL} Eq. 1", aliases=("ce", "sft"), statistics=()),
    _row(weights.neg_p, "-p", "p", LEANING, f"{_BEYOND_LL} Sec. 3; arXiv:2508.05629 Eq. 9",
         aliases=("dft", "-p")),
    _row(weights.p_pow, "(1 - p^k) / k", "p^k", LEANING, f"{_BEYOND_LL} Sec. 3",
         parameters={"k": _positive(10.0)}),
    _row(weights.threshold, "-log p where p >= tau, else 0", "1[p >= tau]", LEANING,
         f"{_BEYOND_LL} Sec. 4, Table 1", aliases=("nll_above",),
         parameters={"tau": _share(0.2)}, sparse=True),
    _row(weights.nll_below, "-log p where p <= tau, else 0", "1[p <= tau]", AVERSE,
         f"{_BEYOND_LL} Fig. 5", parameters={"tau": _share(0.2)}, sparse=True),
    _row(weights.neg_p_above, "-p where p >= tau, else 0", "p 1[p >= tau]", LEANING,
         f"{_BEYOND_LL} Fig. 5", parameters={"tau": _share(0.2)}, sparse=True),
    _row(weights.neg_p_below, "-p where p <= tau, else 0", "p 1[p <= tau]", AVERSE,
         f"{_BEYOND_LL} Fig. 5", parameters={"tau": _share(0.2)}, sparse=True),
    _row(weights.profit, "-log p where p > tau, else 0", "1[p > tau]", LEANING, "arXiv:2601.09195",
         parameters={"tau": _share(0.1)}, sparse=True),
    _row(weights.log_one_minus_p, "log(1 - p)", "p / max(1 - p, eps)", LEANING, f"{_BEYOND_LL} Sec. 3",
         status="paper", parameters={"eps": Parameter(default=1e-3, low=1e-7, high=1.0)}),
    _row(weights.focal, "-(1 - p)^gamma log p", "(1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p", AVERSE,
         f"arXiv:1708.02002; {_BEYOND_LL} App. F.2", status="paper", parameters={"gamma": _from_zero(1.0)}),
    _row(weights.huber, "Huber(1 - p, delta)", "p min(1 - p, delta)", LEANING, f"{_BEYOND_LL} App. F.2",
         status="paper", parameters={"delta": Parameter(default=0.5, low=0.0, high=1.0, exclusive_low=True)}),
    _row(weights.chord_phi, "-sg(p (1 - p)) log p", "p (1 - p)", LEANING, "arXiv:2508.11408, code"),
    _row(weights.gem, "sum of sg(q_v) (log p_v - log p), q = softmax(z / beta)", "1, at the temperature beta",
         AVERSE, "arXiv:2408.16673, code", statistics=(), tempered=True,
         parameters={"beta": Parameter(default=0.7, low=0.05, high=1.0)}),
    _row(weights.floored_dft, "-sg(max(p, floor)) log p", "max(p, floor)", LEANING,
         "arXiv:2508.05629, code, issue 1", status="paper", parameters={"floor": _share(0.1)}),
    _row(weights.eaft, "-sg((H20 / 3)^alpha) log p", "(H20 / 3)^alpha", NEUTRAL,
         "arXiv:2601.02151", needs=("topk_entropy",), statistics=("topk_entropy",),
         parameters={"alpha": _from_zero(1.0)}),
    _row(weights.idft, "-sg(p^g) log p, g = clip(exp(-(log p + H) / beta), low, high)", "p^g", LEANING,
         "arXiv:2602.12222, code", statistics=("logp", "entropy"),
         parameters={"beta": _positive(1.0), "low": _from_zero(0.1), "high": _from_zero(2.0)}),
    _row(weights.idft_phi, "-sg(p^g) log p, g = exp(-clip(log p + H, -B, B))", "p^g", LEANING,
         "arXiv:2602.12222 v1", status="unverified", statistics=("logp", "entropy"),
         parameters={"bound": _from_zero(5.0)}),
    _row(weights.deft, "(1 - p^a) / (a + 1e-6), a = sg(sum of p_v^2)", "p^a a / (a + 1e-6)", LEANING,
         "arXiv:2602.11424", needs=("collision",), statistics=("logp", "collision")),
    _row(weights.deft_cayley, "(1 - p^a) / (a + 1e-8), a = c + (1 - c) p / (2 - p), c = mean p / 2",
         "p^a a / (a + 1e-8)", LEANING, "arXiv:2602.11424, code", needs=("step",)),
    _row(weights.cadft, "-sg(p exp(-beta max(0, z(example)))) log p", "p exp(-beta max(0, z(example)))",
         LEANING, "arXiv:2606.11206", status="unverified", needs=("example", "step"),
         parameters={"beta": _from_zero(1.0)}),
    _row(weights.cadft_mean, "-sg(c p) log p, c = sum of cadft's weights / sum of p over the step", "c p",
         LEANING, "control of arXiv:2606.11206", status="ours", needs=("example", "step"),
         parameters={"beta": _from_zero(1.0)}),
    _row(weights.talr, "-sg(max(p^(1 / tau), floor)) log p, tau = median of the examples' mean NLL",
         "max(p^(1 / tau), floor)", LEANING, "arXiv:2509.20758", status="unverified",
         needs=("example", "step"), parameters={"floor": _share(0.01)}),
    _row(weights.prift_prob, "-p0 log p", "p0", LEANING, "arXiv:2606.09396, code",
         needs=("reference_logp",), statistics=()),
    _row(weights.prift_mass, "-log p where u0 >= threshold, else 0", "1[u0 >= threshold]", LEANING,
         "arXiv:2606.09396, code", needs=("reference_mass",), statistics=(),
         parameters={"threshold": _share(0.5)}, sparse=True),
    _row(weights.iw_sft, "-sg(clip(exp(T mean(log p - log p0)), 0, 16)) log p",
         "clip(exp(T mean(log p - log p0)), 0, 16)", NEUTRAL, "arXiv:2507.12856, code",
         needs=("example", "reference_logp", "step"), statistics=(),
         parameters={"temperature": _from_zero(1.0)}),
    _row(weights.iw_sft_token, "-sg(clip(p / p0, low, high)) log p", "clip(p / p0, low, high)", NEUTRAL,
         "arXiv:2507.12856, code", needs=("reference_logp",), statistics=(),
         parameters={"low": _from_zero(0.2), "high": _from_zero(1.8)}),
    _row(weights.psft, "-min(p / p0, clip(p / p0, .8, 1 + high))", "p / p0 where p / p0 <= 1 + high, else 0",
         NEUTRAL, "arXiv:2508.17784, code", needs=("reference_logp",), statistics=(),
         parameters={"high": _from_zero(0.28)}, sparse=True),
    _row(weights.infosft, "-sg(w) log p", "p [1 - logit(p) / logit(ceiling)]+", LEANING,
         "arXiv:2605.14967, code",
         parameters={"ceiling": Parameter(default=0.93, low=0.5, high=0.9999, exclusive_low=True)}),
    _row(weights.asft, "-sg(p) log p + kl KL(p0 || p)", "p (and the KL, full vocabulary)", LEANING,
         "arXiv:2509.23753, code", needs=("anchor",), parameters={"kl": _from_zero(0.05)}),
    Tail(name="tailsft", weight_function=weights.tailsft, leaning=NEUTRAL,
         formula="-log p on the examples whose likelihood rose least, else 0",
         weight_formula="1[kept] tokens / kept tokens", source="arXiv:2608.25756 Alg. 1",
         status="unverified", statistics=(),
         needs=("example", "forward", "reference_logp", "step"), sparse=True,
         parameters={"fraction": _share(0.5), "ramp": _share(1.0), "whole": _share(0.0)}),
    Annealed(name="p_anneal", weight_function=weights.p_pow, leaning=LEANING,
             formula="(1 - p^a) / a, a moving linearly over the steps",
             weight_formula="p^a", source=f"ours, in the family of {_BEYOND_LL} Sec. 3", status="ours",
             parameters={"from": _from_zero(0.0), "to": _from_zero(1.0),
                         "start": _share(0.0), "end": _share(1.0)}),
)
# fmt: on

OBJECTIVES: dict[str, Objective] = {row.name: row for row in _ROWS}
"""Every objective by name, in the order in which they are listed and plotted."""

_BY_ALIAS = {alias: row for row in _ROWS for alias in (row.name, *row.aliases)}


def get_objective(spec: str) -> Objective:
    """Look up `name`, an alias, `name(value, ...)` or `name(parameter=value)`.

        get_objective("p_pow(k=10)").weight(stats)  # [tokens] float32

    A threshold may be a percentage, `threshold(10%)`: that quantile of p on the training set.

    With `prior=frozen` the weight is that of the model before training: `cadft(1, prior=frozen)`.

    Several with `>` between them follow one another, each from a share of the optimiser steps on:
    `nll>neg_p(at=0.5)`. Without `at` all are in force equally long; with `at=auto` the last one begins when
    the form is learnt (see `schedules.Switch`). `rate=0.3` is a factor of the stage's learning rate.

    Args:
        spec: as `advisor train --objective` takes it; a value left out is the paper's.

    Returns:
        The row of the table with its parameters bound: formula, leaning, source, weight function.

    Raises:
        InputError: no such objective or parameter, naming the nearest; a value outside its range.
    """
    parts = spec.split(THEN)
    if len(parts) == 1:
        return _read(spec)
    if not all(part.strip() for part in parts):
        raise InputError(
            f"objective {spec}: an objective stands on either side of {THEN}, as in {_EXAMPLE}"
        )
    first, *later = parts
    stages = [Stage(objective=_read(first), start=0.0)]
    for number, part in enumerate(later, 1):
        equal = number * 10_000 // len(parts) / 10_000  # rounded down, or a stage began a step late
        stages.append(_stage(part, equal))
    return staged(stages)


CURRENT = "current"
"""`prior=current`: what is so without saying."""
_EXAMPLE = f"nll{THEN}neg_p({AT}=0.5)"
_OF_STAGES = {
    AT: "when a stage after the first begins",
    RATE: "at what factor of the learning rate a stage after the first trains",
}


def _stage(part: str, start: float) -> Stage:
    """A stage after the first; `start` where the text does not say when it begins."""
    given, rest = {AT: start, RATE: 1.0}, part
    for key in given:
        found = re.search(rf",?\s*\b{key}\s*=\s*([^,()]*)", rest)
        if found is not None:
            given[key] = _number(part, key, found[1].strip())
            rest = rest.replace(found[0], "", 1)
    if not 0 < given[RATE] <= 10:
        raise InputError(f"objective {part.strip()}: {RATE} = {given[RATE]:g} lies outside (0, 10]")
    return Stage(objective=_read(re.sub(r"\(\s*,", "(", rest)), start=given[AT], rate=given[RATE])


def _number(part: str, key: str, text: str) -> float:
    """The share or factor that a stage was given."""
    if (key, text.lower()) == (AT, AUTO):
        return math.inf
    what = (
        f"a share of the training such as 0.5, or {AUTO}" if key == AT else "a factor such as 0.3"
    )
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise InputError(f"objective {part.strip()}: {key}={text}: {what}")
    return number


def _read(spec: str) -> Objective:
    """One objective, which is no schedule of several."""
    match = re.fullmatch(r"\s*([^()\s]+)\s*(?:\((.*)\))?\s*", spec)
    name = match.group(1).lower() if match else spec
    row = _BY_ALIAS.get(name)
    if match is None or row is None:
        near = did_you_mean(name, _BY_ALIAS, at_most=2, cutoff=0.4)
        hint = near or f"known: {', '.join(OBJECTIVES)}"
        raise InputError(f"unknown objective {spec!r}: {hint}")
    inside = [part for part in (match.group(2) or "").split(",") if part.strip()]
    for key, says in _OF_STAGES.items():
        if any(part.partition("=")[0].strip() == key for part in inside):
            raise InputError(f"objective {row.name}: {key} says, once, {says}: {_EXAMPLE}")
    row, inside = _with_prior(row, inside)
    values = _read_values(row, inside)
    shares = {key: float(text[:-1]) / 100 for key, text in values.items() if text.endswith("%")}
    for key, share in shares.items():
        if key != "tau" or not 0 <= share <= 1:
            raise InputError(f"objective {row.name}: only tau takes a percentage, from 0% to 100%")
    numbers = {key: float(text) for key, text in values.items() if key not in shares}
    return replace(row.with_parameters(**numbers), quantiles=shares)


def _with_prior(row: Objective, inside: list[str]) -> tuple[Objective, list[str]]:
    """The row with the prior that is asked for, and what else stands within the parentheses."""
    rest = [part for part in inside if part.partition("=")[0].strip() != PRIOR]
    given = [part.partition("=")[2].strip() for part in inside if part not in rest]
    if len(given) > 1:
        raise InputError(f"objective {row.name}: {PRIOR} is given twice")
    if given and given[0].lower() not in (FROZEN, CURRENT):
        raise InputError(
            f"objective {row.name}: {PRIOR}={given[0]}: is {FROZEN}, the model before training, or "
            f"{CURRENT}, the model as it is"
        )
    return (row.with_frozen_prior() if given and given[0].lower() == FROZEN else row), rest


def _read_values(row: Objective, inside: list[str]) -> dict[str, str]:
    """`["10"]` or `["k=10"]` -> `{"k": "10"}`, each the text of a number, perhaps with a %."""
    if len(inside) > len(row.parameters):
        raise InputError(
            f"objective {row.name} takes {len(row.parameters)} parameters, got {len(inside)}"
        )
    values: dict[str, str] = {}
    for position, part in zip(row.parameters, inside, strict=False):
        key, _, text = part.rpartition("=")
        try:
            float(text.strip().removesuffix("%"))
        except ValueError:
            raise InputError(f"objective {row.name}: {part.strip()!r} is not a number") from None
        name = key.strip() or position
        if name in values:
            raise InputError(f"objective {row.name}: {name} is given twice")
        values[name] = text.strip()
    return values
