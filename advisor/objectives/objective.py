"""What an objective of the table is: a weight function with its provenance and its parameters bound.

No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from advisor.errors import InputError
from advisor.objectives.weights import (
    FROM_DISTRIBUTION,
    REFERENCE,
    TokenStats,
    before_training,
)

if TYPE_CHECKING:
    from torch import Tensor


PRIOR, FROZEN = "prior", "frozen"
"""`neg_p(prior=frozen)`: the weight is that of the model before training, all along."""


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
        if not math.isfinite(value) or too_low or value > self.high:
            allowed = f"{'(' if self.exclusive_low else '['}{self.low:g}, {self.high:g}"
            allowed += "]" if math.isfinite(self.high) else ")"
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
    """"prior-leaning", "prior-averse" or "neutral": whether W(p) = w (1 - p) has more or less of its mass
    above p = 1/2 than NLL's has (Def. 3.3, which leaves the threshold open)."""
    source: str
    """Paper and equation."""
    status: str = "published"
    """"published": equal to 1e-6 to the authors' code at a commit, by stored numbers; "paper": the formula of
    the paper's text, without public code of its authors to hold it against; "unverified": secondary sources
    only; "ours"."""
    aliases: tuple[str, ...] = ()
    """Other names of the same update."""
    needs: tuple[str, ...] = ()
    """What it takes beyond the token's own log p and entropy: fields of TokenStats; "step" where the
    statistics must be those of the whole optimiser step, over all micro-batches and ranks; "anchor"
    where it adds a divergence to the model before training."""
    statistics: tuple[str, ...] = ("logp",)
    """The statistics of the model that the weight is made of: those that `prior=frozen` takes from the model
    before training. Empty where there is nothing to freeze."""
    frozen: bool = False
    """Whether they are taken from the model before training."""
    tempered: bool = False
    """Whether the gradient is that of the distribution at another temperature, the parameter `beta`."""
    sparse: bool = False
    """Whether weights of exactly 0 are common."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Parameters accepted, in the order in which `name(value)` gives them."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Parameters in force where they differ from the defaults."""
    quantiles: Mapping[str, float] = field(default_factory=dict)
    """Parameters given as a share of the training tokens instead, until `resolve` makes them values."""

    @property
    def settings(self) -> dict[str, float]:
        """Every parameter's value in force."""
        return {key: self.values.get(key, spec.default) for key, spec in self.parameters.items()}

    @property
    def head_statistics(self) -> tuple[str, ...]:
        """The needed fields that only the head can compute, from the whole distribution."""
        return tuple(need for need in self.needs if need in FROM_DISTRIBUTION)

    @property
    def before_training(self) -> tuple[str, ...]:
        """The statistics that are read of the model before training: `logp`, ..."""
        return tuple(n.removeprefix(REFERENCE) for n in self.needs if n.startswith(REFERENCE))

    @property
    def anchor_coefficient(self) -> float:
        """Factor of the divergence to the model before training; 0 for all but `asft`."""
        return self.settings["kl"] if "anchor" in self.needs else 0.0

    @property
    def temperature(self) -> float:
        """Of the distribution whose gradient is taken; 1 for all but `gem`."""
        return self.settings["beta"] if self.tempered else 1.0

    @property
    def label(self) -> str:
        """Name with its parameters, as `get_objective` reads it back: `p_pow(10)`."""
        inside = [
            f"{100 * self.quantiles[key]:g}%" if key in self.quantiles else f"{value:.12g}"
            for key, value in self.settings.items()
        ]
        inside += [f"{PRIOR}={FROZEN}"] if self.frozen else []
        return f"{self.name}({', '.join(inside)})" if inside else self.name

    @property
    def scheduled(self) -> bool:
        """Whether it changes while it trains, so that `at` says what is minimised (see `schedules.py`)."""
        return False

    @property
    def beyond_a_batch(self) -> str:
        """Why its loss is no function of one batch's logits and labels alone; empty where it is."""
        if self.scheduled:
            return "it changes while it trains, and a loss function does not know how far the training is"
        if self.by_quantile:
            return "its percentage is of the whole training set, measured before the training"
        if self.before_training or "anchor" in self.needs:
            return "it compares with the model before training, which a loss function does not see"
        if "step" in self.needs:
            return "its weights need all micro-batches of an optimiser step at once"
        return ""

    @property
    def of_logp_alone(self) -> bool:
        """Whether its loss is a function of the targets' log-probabilities, one token at a time."""
        return not (self.beyond_a_batch or self.head_statistics or self.tempered) and set(
            self.statistics
        ) <= {"logp"}

    @property
    def by_forward(self) -> bool:
        """Whether it selects among the rows of a forward, so that it hangs on how a step is cut up."""
        return "forward" in self.needs and self.settings.get("whole") == 0

    @property
    def by_quantile(self) -> bool:
        """Whether it has to be resolved before training."""
        return bool(self.quantiles)

    def at(self, done: float) -> Objective:
        """The objective in force when `done` of the optimiser steps, a share in [0, 1], lie behind."""
        return self

    def rate_at(self, done: float) -> float:
        """Factor of the learning rate at `done`, beside the training's own schedule."""
        return 1.0

    def logged(self, done: float) -> dict[str, float]:
        """What a training log says of a schedule at `done`, by name; nothing of an objective that stays."""
        return {}

    def course(self, steps: int, done: int) -> str:
        """What was minimised when, in words; nothing of an objective that stays.

        Args:
            steps: optimiser steps of the whole training.
            done: those that were made, at least one.
        """
        return ""

    def unreached(self, steps: int) -> str:
        """What never comes into force in a training of so many optimiser steps; empty where all does."""
        return ""

    def weight(self, stats: TokenStats) -> Tensor:
        """Weights of the target tokens, [tokens] float32, detached."""
        if self.quantiles:
            raise ValueError(f"{self.label} is a quantile of the training set: resolve() it first")
        seen = before_training(stats, self.statistics) if self.frozen else stats
        return self.weight_function(seen, **self.settings).detach()

    def with_frozen_prior(self) -> Objective:
        r"""The same weight, of the model before training: $w(p_0)$ in the place of $w(p)$, all along.

        Whatever the weight is made of, p, entropy or the rest of the distribution, is the model's before
        training; what is learnt no longer changes it (PriFT, arXiv:2606.09396, for -p and others).

        Raises:
            InputError: a weight that does not depend on the model, or compares it with the one before.
        """
        if self.frozen:
            return self
        if not self.statistics:
            compares = any(need.startswith(REFERENCE) for need in self.needs)
            why = (
                "reads the model before training already"
                if compares
                else "is the same whatever p is"
            )
            raise InputError(f"objective {self.name}: its weight {why}: leave out {PRIOR}={FROZEN}")
        needs = [need for need in self.needs if need not in self.statistics]
        return replace(
            self,
            frozen=True,
            needs=(*needs, *(REFERENCE + name for name in self.statistics)),
            formula=f"-sg(w) log p, w = {self.weight_formula} of the model before training",
            weight_formula=f"{self.weight_formula} of the model before training",
            source=f"{self.source}; arXiv:2606.09396",
            status="unverified",
        )

    def with_parameters(self, **values: float) -> Objective:
        """The same objective with other parameters; InputError for an unknown or invalid one."""
        for key, value in values.items():
            if key not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise InputError(
                    f"objective {self.name} has no parameter {key!r} (it has: {known})"
                )
            self.parameters[key].check(self.name, key, value)
        kept = {key: share for key, share in self.quantiles.items() if key not in values}
        changed = replace(self, values={**self.values, **values}, quantiles=kept)
        for first, last in (("low", "high"), ("start", "end")):
            low, high = changed.settings.get(first), changed.settings.get(last)
            if low is not None and high is not None and low > high:
                raise InputError(
                    f"objective {self.name}: {first} = {low:g} lies above {last} = {high:g}"
                )
        return changed

    def resolve(self, quantile: Callable[[float], float]) -> Objective:
        """Quantiles made values: `quantile(share)` is that of p under the model before training.

        Membership is then tested on the current p, as in the source (arXiv:2510.00526, Sec. 4).
        """
        return self.with_parameters(
            **{key: quantile(share) for key, share in self.quantiles.items()}
        )
