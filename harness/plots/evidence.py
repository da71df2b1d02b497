"""Figures of what runs scored: benchmarks, ranks, learning rates, temperatures, training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike

from harness.plots.style import (
    BARS,
    GREY,
    INK,
    arm_handle,
    arm_style,
    count,
    dress,
    legend,
    mark,
    shorten,
)
from harness.records.arm import BASE
from harness.statistics.across_tasks import Aggregate
from harness.statistics.paired import Interval, paired_difference

MEASURES = {
    "nll": "NLL of the target tokens, nats",
    "mean_p": "mean p of the target tokens",
    "entropy": "entropy, nats",
    "loss": "the objective's own loss",
    "share_p_below_0.1": "share of target tokens with p < 0.1",
    "grad_norm": "norm of the gradient",
    "p_eos": "mean p of the end of the turn",
}
"""What some columns of the step log are called in figures."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean score with its uncertainty and what it rests on."""

    value: float
    """Points where scores lie between 0 and 1, else their unit."""
    interval: Interval | None
    """95 %; None where it is not known."""
    seeds: int
    """Runs."""
    documents: int
    """Per run."""

    @classmethod
    def of(cls, scores: ArrayLike, *, sizes: Sequence[int] = (), scale: float = 100.0) -> Estimate:
        """The mean of [seeds, documents] scores, its interval over both (documents alone with one seed).

        Args:
            scores: of several tasks times `task_weights`.
            sizes: documents of each task, in order; empty where there is one.
            scale: 100 for shares, whose interval is cut to [0, 1]. A single document has none.

        Raises:
            InputError: scores that are not finite.
        """
        values = np.atleast_2d(np.asarray(scores, dtype=np.float64))
        seeds, documents = values.shape
        value, interval = scale * float(values.mean()), None
        if documents > 1:
            low, high = paired_difference(values, np.zeros(documents), sizes=sizes).interval
            if scale == 100.0:
                low, high = max(low, 0.0), min(high, 1.0)
            interval = (scale * low, scale * high)
        return cls(value=value, interval=interval, seeds=seeds, documents=documents)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The training of one run."""

    arm: str
    """Label."""
    seed: int
    """Of the run."""
    steps: Sequence[Mapping[str, Any]]
    """`Run.steps`: each has `step` and measures; where a measure is missing the line goes on over it."""


def benchmarks(
    axes: Axes,
    scores: Mapping[str, Mapping[str, Estimate]],
    *,
    unit: str = "points",
) -> Axes:
    """Every arm on every task with its interval, the untouched base as a line per task.

    Args:
        axes: to draw on; see `make_figure(rows=...)`.
        scores: task -> label of the arm -> score; an arm called "base" is the line.
        unit: of the scores.
    """
    arms = list(dict.fromkeys(arm for found in scores.values() for arm in found if arm != BASE))
    for place, found in enumerate(scores.values()):
        if place:
            axes.axhline(place - 0.5, color=INK, lw=0.5, alpha=0.3)
        if BASE in found:
            _base_line(axes, place, found[BASE])
        for turn, arm in enumerate(arms):
            if arm in found:
                y = place + _dodge(turn, len(arms))
                mark(axes, found[arm].value, y, arm, found[arm].interval)
    axes.set(xlabel=f"score, {unit}", ylim=(max(len(scores), 1) - 0.5, -0.5))
    axes.set_yticks(range(len(scores)), labels=[shorten(task, 24) for task in scores])
    base = Line2D([], [], color=GREY, lw=1.5, label="base, untouched")
    based = [base] if any(BASE in found for found in scores.values()) else []
    legend(axes, [*map(arm_handle, arms), *based])
    return dress(axes, "Score by task", _sizes(scores.values()), BARS)


def _dodge(turn: int, arms: int) -> float:
    """Where an arm lies inside the band of its task, from -0.4 to 0.4."""
    return 0.8 * ((turn + 0.5) / arms - 0.5)


def _base_line(axes: Axes, place: int, base: Estimate) -> None:
    """The base over the band of a task, its interval as a shade."""
    band = (place - 0.45, place + 0.45)
    axes.plot([base.value, base.value], band, color=GREY, lw=1.5, zorder=1)
    if base.interval:
        axes.fill_betweenx(band, *base.interval, color=GREY, alpha=0.18, lw=0, zorder=0)


def ranks(axes: Axes, aggregates: Mapping[str, Aggregate]) -> Axes:
    """Mean rank of every arm with its bootstrap interval, the best on top.

    Args:
        axes: to draw on.
        aggregates: of `harness.statistics.across_tasks.aggregate`.
    """
    order = sorted(aggregates, key=lambda arm: aggregates[arm].mean_rank)
    for y, arm in enumerate(order):
        mark(axes, aggregates[arm].mean_rank, y, arm, aggregates[arm].mean_rank_interval)
    axes.set(xlabel="mean rank, 1 is best", ylim=(max(len(order), 1) - 0.5, -0.5))
    axes.set_xlim(0.8, len(order) + 0.2)
    axes.set_xticks(range(1, len(order) + 1))
    axes.set_yticks(range(len(order)), labels=[shorten(arm) for arm in order])
    found = aggregates.values()
    sizes = (
        count((aggregate.tasks for aggregate in found), "task"),
        count((aggregate.runs for aggregate in found), "seed"),
    )
    notes = (", ".join(filter(None, sizes)), f"{BARS}, bootstrap over seeds")
    return dress(axes, "Mean rank over tasks", *notes)


def learning_rates(
    axes: Axes, curves: Mapping[str, Mapping[float, Estimate]], *, unit: str = "points"
) -> Axes:
    """Score on the development documents against the learning rate, one line per objective.

    Args:
        axes: to draw on; x becomes logarithmic.
        curves: objective's label -> learning rate -> score.
        unit: of the scores.
    """
    axes.set_xscale("log")
    for turn, (arm, curve) in enumerate(curves.items()):
        before = len(axes.lines)
        _line(axes, arm, curve)
        for rate, estimate in curve.items():
            if estimate.interval:
                axes.plot(
                    [rate, rate], estimate.interval, color=arm_style(arm).colour, lw=1, alpha=0.7
                )
        # Side by side, 4 points apart, for the eye alone: the data, and so the limits, stay.
        side = ScaledTranslation(
            (turn - (len(curves) - 1) / 2) / 18, 0, axes.figure.dpi_scale_trans
        )
        for line in axes.lines[before:]:
            line.set_transform(axes.transData + side)
    rates = sorted({rate for curve in curves.values() for rate in curve})
    shown = rates[:: math.ceil(len(rates) / 6) or 1]
    # matplotlib's own labels of a logarithmic axis are mathematics.
    axes.set_xticks(shown, labels=[f"{rate:g}" for rate in shown])
    axes.minorticks_off()
    axes.margins(x=0.1)
    axes.set(xlabel="learning rate", ylabel=f"score, {unit}")
    legend(axes, list(map(arm_handle, curves)))
    return dress(axes, "Development score by learning rate", _sizes(_by_place(curves)), BARS)


def _line(axes: Axes, arm: str, curve: Mapping[float, Estimate]) -> None:
    """An arm's scores by what was varied."""
    x, style = sorted(curve), arm_style(arm)
    axes.plot(
        x, [curve[place].value for place in x], color=style.colour, ls=style.dash, lw=1.5,
        marker=style.marker, ms=5, mfc=style.face, zorder=3,
    )  # fmt: skip


def temperatures(
    axes: Axes,
    curves: Mapping[str, Mapping[float, Estimate]],
    *,
    of_use: float | None = None,
    unit: str = "points",
) -> Axes:
    """Score against the temperature, one line per arm (give base, winner and nll), with bands where known.

    Args:
        axes: to draw on.
        curves: arm's label -> temperature -> score.
        of_use: the temperature that decides, drawn as a vertical line.
        unit: of the scores.
    """
    if of_use is not None:
        axes.axvline(of_use, color=INK, lw=0.8, ls=(0, (2, 2)), zorder=1)
    for arm, curve in curves.items():
        _line(axes, arm, curve)
        known = {heat: curve[heat].interval or (math.nan, math.nan) for heat in sorted(curve)}
        low, high = np.array(list(known.values())).reshape(-1, 2).T
        axes.fill_between(
            list(known), low, high, color=arm_style(arm).colour, alpha=0.15, lw=0, zorder=1
        )
    axes.set(xlabel="temperature, 0 is greedy", ylabel=f"score, {unit}")
    use = Line2D([], [], color=INK, lw=0.8, ls=(0, (2, 2)), label="temperature of use")
    legend(axes, [*map(arm_handle, curves), *([use] if of_use is not None else [])])
    sizes = _sizes(_by_place(curves))
    return dress(axes, "Score by decoding temperature", sizes, "bands: 95 % intervals")


def along_training(
    axes: Axes, curves: Mapping[str, Mapping[float, Estimate]], *, unit: str = "points"
) -> Axes:
    """Score on the development documents against the share of the steps, one line per arm as far as it went.

    Args:
        axes: to draw on.
        curves: arm's label -> share of its steps -> score.
        unit: of the scores.
    """
    for arm, curve in curves.items():
        _line(axes, arm, curve)
    shares = sorted({share for curve in curves.values() for share in curve})
    axes.set_xticks(shares, labels=[str(Fraction(share).limit_denominator(64)) for share in shares])
    axes.set(xlabel="share of the steps, 1 is a whole run", ylabel=f"score, {unit}")
    legend(axes, list(map(arm_handle, curves)))
    whole = sum(1 in curve for curve in curves.values())
    note = f"{count([whole], 'run')} of {len(curves)} to the end"
    return dress(axes, "Development score along the training", _sizes(_by_place(curves)), note)


def believed(
    axes: Axes,
    expected: Mapping[str, Sequence[float]],
    regrets: Sequence[float],
    *,
    unit: str = "points",
) -> Axes:
    """What a race expected of the end of each run, piece by piece, one line per arm.

    Args:
        axes: to draw on.
        expected: arm's label -> [pieces + 1] score, before every piece and after the last.
        regrets: [pieces + 1] what was expected to be lost by keeping the best so far.
        unit: of scores and regrets.
    """
    pieces = range(len(regrets))
    for arm, scores in expected.items():
        style = arm_style(arm)
        axes.plot(pieces, scores, color=style.colour, ls=style.dash, lw=1.5, drawstyle="steps-post")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="pieces bought", ylabel=f"expected at the end, {unit}")
    legend(axes, [arm_handle(arm, marker=False) for arm in expected])
    note = f"expected to be lost: {regrets[0]:.1f} at first, {regrets[-1]:.1f} at the end"
    return dress(axes, "What was believed of each run", count([len(pieces) - 1], "piece"), note)


def training_curves(axes: Axes, curves: Sequence[Curve], measure: str) -> Axes:
    """A measure of the step log against the step, one thin line per run in its arm's colour.

    Args:
        axes: to draw on.
        curves: any arms and seeds.
        measure: `nll`, `mean_p`, `entropy`, `loss` or another column of the step log.
    """
    drawn = []
    for curve in curves:
        points = [
            (step["step"], step[measure]) for step in curve.steps if step.get(measure) is not None
        ]
        if points:
            style = arm_style(curve.arm)
            axes.plot(
                *zip(*points, strict=True), color=style.colour, ls=style.dash, lw=0.9, alpha=0.9
            )
            drawn.append(curve)
    name = MEASURES.get(measure, shorten(measure))
    axes.set(xlabel="step", ylabel=name)
    arms = dict.fromkeys(curve.arm for curve in drawn)
    legend(axes, [arm_handle(arm, marker=False) for arm in arms])
    seeds = len({curve.seed for curve in drawn})
    runs = f"{count([len(drawn)], 'run')}, {count([seeds], 'seed')}" if drawn else "no run has it"
    return dress(axes, f"Training: {name}", runs, "on the batches of training")


def _sizes(scores: Iterable[Mapping[str, Estimate]]) -> str:
    """Documents and seeds behind scores by arm; the base, which has no seeds, does not count."""
    known = [estimate for found in scores for arm, estimate in found.items() if arm != BASE]
    documents = count((estimate.documents for estimate in known), "document")
    return ", ".join(filter(None, (documents, count((e.seeds for e in known), "seed"))))


def _by_place(curves: Mapping[str, Mapping[float, Estimate]]) -> list[dict[str, Estimate]]:
    """Scores by arm, one mapping a point."""
    return [{arm: estimate} for arm, curve in curves.items() for estimate in curve.values()]
