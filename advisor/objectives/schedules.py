r"""Objectives that change while they train: `nll>neg_p(at=0.5)`, `p_anneal(0, 1)`. No torch.

A schedule names, for every share of the optimiser steps that lies behind, an objective of the table. That one
gives the weights of the step, of all its micro-batches and ranks; the weight functions know nothing of it:

$$ L_s = \frac{1}{N_s} \sum_t \mathrm{sg}\!\left(w^{(s/S)}_t\right) (-\log p_t), \quad s = 0, \dots, S - 1. $$

The share is s / S, with S the steps of the whole training: a training that goes on from a checkpoint is where
it was, and neither accumulation nor ranks move a switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isinf
from typing import TYPE_CHECKING

from advisor.errors import InputError
from advisor.objectives import weights
from advisor.objectives.objective import Objective, Parameter
from advisor.objectives.weights import TokenStats

if TYPE_CHECKING:
    from torch import Tensor

THEN = ">"
"""Between the stages of a staged objective."""
AT = "at"
"""The parameter of a stage that says when it begins."""
RATE = "rate"
"""The parameter of a stage that says how its learning rate compares with the schedule's."""
AUTO = "auto"
"""The beginning of a last stage that finds its own time, see `Switch`."""


@dataclass(frozen=True, kw_only=True)
class Schedule(Objective):
    """An objective that has weights only at a share of the training: `at(done).weight(stats)`."""

    @property
    def scheduled(self) -> bool:
        """It does change."""
        return True

    def weight(self, stats: TokenStats) -> Tensor:
        """None of its own.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.label} changes while it trains: at(done) has the weights")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the training with one objective."""

    objective: Objective
    """What is minimised."""
    start: float
    """Share of the optimiser steps that lie behind when it begins: 0 for the first stage, infinity where it
    has yet to find its own time."""
    rate: float = 1.0
    """Factor of the learning rate that the training's schedule gives."""

    @property
    def label(self) -> str:
        """As it is typed: `neg_p(at=0.5)`."""
        if self.start == 0:
            return self.objective.label
        name, _, inside = self.objective.label.removesuffix(")").partition("(")
        start = AUTO if isinf(self.start) else f"{self.start!r}"  # read back as the same number
        more = [f"{AT}={start}"] + ([f"{RATE}={self.rate:.12g}"] if self.rate != 1 else [])
        return f"{name}({', '.join([*filter(None, [inside]), *more])})"


@dataclass(frozen=True, kw_only=True)
class Switch:
    """When a stage of `at=auto` begins: the model knows the form and most of the content of the targets.

    Leaning on the prior never teaches what has next to no probability, so that it must not begin earlier. The
    shares are over the targets of the last steps, all micro-batches and ranks; p is that before the update.
    """

    likely: float = 0.8
    """Share of the targets with p of at least 1/2 ..."""
    end: float = 0.9
    """... and mean p of the turns' ends, where they are known: both have to be reached."""
    window: float = 0.05
    """Share of the training over which both are taken."""
    earliest: float = 0.25
    """Share of the steps before which it does not begin, for no statistic tells noise from a new skill: a
    model that is sure of a wrong manner passes both tests at once. Never passed, it never begins."""

    def due(self, done: float, *, likely: float, end: float | None) -> bool:
        """Whether the stage begins now, from the shares above."""
        known = end is None or end >= self.end
        return self.earliest <= done < 1 and likely >= self.likely and known


@dataclass(frozen=True, kw_only=True)
class Staged(Schedule):
    """One objective after another, each from its own share of the training on."""

    stages: tuple[Stage, ...]
    """In order, two or more."""

    @property
    def label(self) -> str:
        """The stages as `get_objective` reads them back."""
        return THEN.join(stage.label for stage in self.stages)

    @property
    def by_quantile(self) -> bool:
        """Whether a stage has to be resolved before training."""
        return any(stage.objective.by_quantile for stage in self.stages)

    @property
    def by_forward(self) -> bool:
        """Whether a stage selects among the rows of a forward."""
        return any(stage.objective.by_forward for stage in self.stages)

    def stage_at(self, done: float) -> int:
        """Which stage is in force, from 0."""
        return sum(stage.start <= done for stage in self.stages) - 1

    def at(self, done: float) -> Objective:
        """The objective of the stage in force."""
        return self.stages[self.stage_at(done)].objective.at(done)

    def logged(self, done: float) -> dict[str, float]:
        """`stage`, from 1, and what its own schedule says."""
        stage = self.stage_at(done)
        return {"stage": stage + 1.0, **self.stages[stage].objective.logged(done)}

    @property
    def waits(self) -> bool:
        """Whether the last stage has yet to find its time."""
        return isinf(self.stages[-1].start)

    def begun(self, done: float) -> Staged:
        """The same with the last stage, which found its time, beginning at `done`."""
        *before, last = self.stages
        return staged([*before, replace(last, start=done)])

    def rate_at(self, done: float) -> float:
        """Factor of the learning rate."""
        return self.stages[self.stage_at(done)].rate

    def course(self, steps: int, done: int) -> str:
        """`nll for steps 1 to 30, then neg_p for steps 31 to 60`."""
        parts = [
            f"{stage.objective.label} for {_steps(first + 1, min(end, done))}"
            for stage, first, end in self._spans(steps)
            if first < min(end, done)
        ]
        return ", then ".join(parts) + _out_of(steps, done)

    def unreached(self, steps: int) -> str:
        """The first stage without a step; one that finds its own time may have none."""
        spans = self._spans(steps)[: -1 if self.waits else None]
        empty = (stage for stage, first, end in spans if first >= end)
        return next((stage.objective.label for stage in empty), "")

    def _spans(self, steps: int) -> list[tuple[Stage, int, int]]:
        """Each stage with the optimiser steps that lie behind when it begins, and when it ends."""
        starts = [*(_first_step(stage.start, steps) for stage in self.stages), steps]
        return list(zip(self.stages, starts, starts[1:], strict=False))

    def with_parameters(self, **values: float) -> Objective:
        """Only of a stage; InputError where any are given."""
        if values:
            raise InputError(f"objective {self.label}: parameters stand at its stages")
        return self

    def resolve(self, quantile: Callable[[float], float]) -> Objective:
        """Every stage with its quantiles made values: those of p under the model before training."""
        return staged([replace(s, objective=s.objective.resolve(quantile)) for s in self.stages])


def staged(stages: list[Stage]) -> Staged:
    """The objective of some stages, in order.

    Raises:
        InputError: a stage that does not begin after the one before it, or not within the training.
    """
    starts = [stage.start for stage in stages]
    for before, stage in zip(starts, stages[1:], strict=False):
        named = f"objective {THEN.join(s.objective.name for s in stages)}: {stage.objective.name}"
        if isinf(stage.start) and stage is not stages[-1]:
            raise InputError(f"{named} begins {AT}={AUTO}, which only the last stage can")
        if not (isinf(stage.start) or before < stage.start < 1):
            raise InputError(
                f"{named} begins {AT}={stage.start:g}, which has to lie between {before:g} and 1"
            )
    objectives = [stage.objective for stage in stages]
    leanings = {o.leaning for o in objectives} - {"neutral"}
    return Staged(
        name=THEN.join(o.name for o in objectives),
        weight_function=objectives[-1].weight_function,
        formula=_in_turn([o.formula for o in objectives], starts),
        weight_formula=_in_turn([o.weight_formula for o in objectives], starts),
        leaning=leanings.pop() if len(leanings) == 1 else "neutral",
        source="; ".join(dict.fromkeys(o.source for o in objectives)),
        status="ours",
        needs=tuple(dict.fromkeys(need for o in objectives for need in o.needs)),
        statistics=(),
        stages=tuple(stages),
    )


def _first_step(start: float, steps: int) -> int:
    """How many of so many optimiser steps lie behind where a share of them is reached, as `done` counts."""
    if isinf(start):
        return steps
    step = max(int(start * steps) - 1, 0)
    while step / steps < start:
        step += 1
    return step


def _steps(first: int, last: int) -> str:
    return f"steps {first} to {last}" if first < last else f"step {first}"


def _out_of(steps: int, done: int) -> str:
    """Of a training that was not carried through."""
    return f" of {steps}" if done < steps else ""


def _in_turn(formulas: list[str], starts: list[float]) -> str:
    parts = [formulas[0]]
    parts += [
        f"{'once it is learnt' if isinf(start) else f'from {start:g} of the steps on'} {f}"
        for f, start in zip(formulas[1:], starts[1:], strict=True)
    ]
    return "; ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Annealed(Schedule):
    r"""From NLL to -p within the power family: $f = (1 - p^a)/a$, $w = p^a$, with $a$ moving along the run.

    After $s$ of $S$ optimiser steps $a = (1 - u)\,\mathrm{from} + u\,\mathrm{to}$, where
    $u = (s/S - \mathrm{start}) / (\mathrm{end} - \mathrm{start})$ is kept within 0 and 1.
    $a = 0$ is NLL, $a = 1$ is -p.

    Source: the family is that of arXiv:2510.00526, Sec. 3; the schedule is ours.
    """

    def power(self, done: float) -> float:
        """The a in force."""
        first, last, start, end = (self.settings[key] for key in ("from", "to", "start", "end"))
        if end <= start:
            return last if done >= end else first
        return first + (last - first) * min(max((done - start) / (end - start), 0.0), 1.0)

    def at(self, done: float) -> Objective:
        """A member of the family: NLL while a is 0."""
        power = self.power(done)
        member = Objective(
            name="p_pow",
            weight_function=weights.p_pow if power else weights.nll,
            formula=f"(1 - p^{power:g}) / {power:g}" if power else "-log p",
            weight_formula=f"p^{power:g}" if power else "1",
            leaning=self.leaning,
            source=self.source,
            parameters={"k": Parameter(default=power)} if power else {},
        )
        return member.with_frozen_prior() if self.frozen and power else member

    def course(self, steps: int, done: int) -> str:
        """`p^a with a = 0 in step 1 and a = 0.983 in step 60`."""
        first, last = (f"{self.power(step / steps):.3g}" for step in (0, done - 1))
        return f"p^a with a = {first} in step 1 and a = {last} in step {done}" + _out_of(
            steps, done
        )

    def unreached(self, steps: int) -> str:
        """The last power, where the first one stays."""
        first, last = self.settings["from"], self.settings["to"]
        stays = first != last and self.power((steps - 1) / steps) == first
        return f"p^{last:g}" if stays else ""

    def logged(self, done: float) -> dict[str, float]:
        """`power`, the a in force."""
        return {"power": self.power(done)}


@dataclass(frozen=True, kw_only=True)
class Tail(Schedule):
    r"""NLL without the examples whose likelihood rose most: $w = 1$ on those that are kept, else 0.

    Of the n examples of a selection batch the round$(n \gamma_s)$ with the largest $\ell_0 - \ell$ are left
    out, $\ell$ the example's mean NLL now and $\ell_0$ that before training; one is always kept. Those that
    are kept are weighted up by the batch's tokens over theirs, so that the loss is the mean over kept tokens.
    After s of S steps $\gamma_s = \mathrm{fraction} \cdot s / S$, or the fraction itself where ramp is 0.

    The selection batch is one micro-batch of all ranks together, as in the paper: it depends on
    how the step is cut up, and a forward of one example keeps it. With whole = 1 it is the optimiser step.
    TRL's example divides by S - 1, so that its last step has the whole fraction, and takes the mean of the
    means of the micro-batches, whatever their number of tokens.

    Source: TailSFT, arXiv:2608.25756, Algorithm 1, as TRL's example has it (fraction = .5, ramp).
    """

    def fraction(self, done: float) -> float:
        """The share of examples left out at `done`."""
        return self.settings["fraction"] * (done if self.settings["ramp"] else 1.0)

    def at(self, done: float) -> Objective:
        """NLL on what is kept at this share."""
        return Objective(
            name="tailsft",
            weight_function=weights.tailsft,
            formula=self.formula,
            weight_formula=self.weight_formula,
            leaning=self.leaning,
            source=self.source,
            needs=self.needs,
            statistics=(),
            sparse=True,
            parameters={
                "fraction": Parameter(default=self.fraction(done)),
                "whole": Parameter(default=self.settings["whole"]),
            },
        )

    def course(self, steps: int, done: int) -> str:
        """`nll on all but 0 % of the examples in step 1 and 49 % in step 60`."""
        first, last = (f"{100 * self.fraction(step / steps):.3g} %" for step in (0, done - 1))
        text = f"nll on all but {first} of the examples in step 1 and {last} in step {done}"
        return text + _out_of(steps, done)

    def logged(self, done: float) -> dict[str, float]:
        """`left_out`, the share of examples."""
        return {"left_out": self.fraction(done)}
