"""Figures of the calibration study: what predicts the winner, gains by mean p, sweeps over noise.

Arms do not vary here but kinds of demonstrations and temperatures do, so these have colours of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from harness.experiments.calibration.findings import (
    CLEAN,
    ERROR,
    FEWEST,
    LEANING,
    MANNER,
    NEW,
    RANDOM,
    Case,
    Predictor,
    Step,
)
from harness.experiments.calibration.judge import Interval
from harness.plots.style import (
    BARS,
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    count,
    dress,
    legend,
)

KIND_LOOKS = {
    CLEAN: (GREEN, "o"),
    RANDOM: (ORANGE, "s"),
    ERROR: (PURPLE, "^"),
    MANNER: (SKY, "D"),
    NEW: (BLUE, "v"),
}
"""Kind of demonstrations -> colour, marker."""
HEAT_LOOKS = {1.0: ("T = 1", VERMILLION, "o"), 0.0: ("greedy", BLUE, "s")}
"""Temperature -> name, colour, marker."""
HOLLOW: dict[str, Any] = {"color": INK, "ls": "", "marker": "o", "mfc": "none", "ms": 6}
"""A published cell."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published cell."""

    mean_p: float
    """Of the target tokens."""
    gain: float
    """Of -p over NLL, points."""


def predictor_dots(
    axes: Axes, found: Mapping[float, Sequence[Predictor]], names: Mapping[str, str]
) -> Axes:
    """Each statistic's area under the curve with its interval, a dot a temperature, the farthest on top.

    Args:
        axes: to draw on.
        found: temperature -> statistics; the first temperature gives the order.
        names: statistic -> what it is called.
    """
    order = [row.name for row in ordered(next(iter(found.values())))]
    axes.axvline(0.5, color=INK, lw=0.8, zorder=1)
    for turn, (heat, rows) in enumerate(found.items()):
        _, colour, marker = HEAT_LOOKS[heat]
        for row in rows:
            if not math.isnan(row.auc.estimate):
                y = order.index(row.name) + 0.3 * (turn - (len(found) - 1) / 2)
                _dot(axes, row.auc, y, colour, marker)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(order) - 0.4, -0.6))
    axes.set_xlabel("AUC; right of .5: -p wins where it is high")
    axes.set_yticks(range(len(order)), labels=[names.get(name, name) for name in order])
    legend(axes, [_heat_handle(heat) for heat in found])
    sizes = [
        f"{HEAT_LOOKS[heat][0]}: {max((r.won for r in rows), default=0)} won, "
        f"{max((r.lost for r in rows), default=0)} lost"
        for heat, rows in found.items()
    ]
    return dress(axes, f"Each statistic alone; {BARS}", *sizes)


def ordered(rows: Sequence[Predictor]) -> list[Predictor]:
    """The statistic that is farthest from a half first, those without a value last."""
    far = {row.name: abs(row.auc.estimate - 0.5) for row in rows}
    return sorted(
        rows, key=lambda row: -1.0 if math.isnan(far[row.name]) else far[row.name], reverse=True
    )


def gains_by_mean_p(
    axes: Axes,
    found: Sequence[Case],
    published: Sequence[Published],
    temperature: float,
    *,
    lowest: bool = True,
) -> Axes:
    """Gain of -p over NLL against mean p with two standard errors, and published cells hollow.

    Args:
        axes: to draw on.
        found: cells at one temperature.
        published: at the same.
        temperature: which.
        lowest: whether this panel has the label of x and the legend.
    """
    axes.axhline(0, color=INK, lw=0.8, zorder=1)
    for case in found:
        _draw_case(axes, case)
    for cell in published:
        axes.plot([cell.mean_p], [cell.gain], zorder=4, **HOLLOW)
    axes.set(xlim=(0, 1), ylim=(-105, 105), ylabel="gain over nll, points")
    if lowest:
        axes.set_xlabel("mean p of the target tokens under the untouched model")
        looks = [
            Line2D([], [], color=colour, ls="", marker=marker, ms=5, label=kind)
            for kind, (colour, marker) in KIND_LOOKS.items()
        ]
        legend(axes, [*looks, Line2D([], [], label="published", **HOLLOW)])
    sizes = (count([len(found)], "cell"), f"{len(published)} published")
    title = f"Gain of -p over nll by mean p: {HEAT_LOOKS[temperature][0]}"
    return dress(axes, title, ", ".join(sizes), "bars: 2 standard errors")


def _draw_case(axes: Axes, case: Case) -> None:
    colour, marker = KIND_LOOKS[case.kind]
    gain, error = case.sample.gains[LEANING], case.sample.errors[LEANING]
    bar = (gain - 2 * error, gain + 2 * error)
    axes.plot([case.mean_p] * 2, bar, color=colour, lw=0.9, alpha=0.6, zorder=2)
    axes.plot([case.mean_p], [gain], color=colour, ls="", marker=marker, ms=4, alpha=0.85, zorder=3)


def sweep_lines(
    axes: Axes,
    found: Mapping[float, Sequence[Step]],
    arms: Mapping[str, str],
    *,
    title: str,
    lowest: bool = True,
) -> Axes:
    """Mean gain over NLL by the rate of noise, a colour a temperature; arms after the first dashed.

    Args:
        axes: to draw on.
        found: temperature -> rates.
        arms: label -> what it is called; all are in every step.
        title: first line of the title; the cells of a rate are added.
        lowest: whether this panel has the label of x and the legend.
    """
    axes.axhline(0, color=INK, lw=0.8, zorder=1)
    looks = [
        _look(heat, name, first=turn == 0)
        for heat in found
        for turn, name in enumerate(arms.values())
    ]
    places = [(heat, arm) for heat in found for arm in arms]
    for turn, (look, (heat, arm)) in enumerate(zip(looks, places, strict=True)):
        gains = {step.rate: step.gains[arm] for step in found[heat]}
        _draw_sweep(axes, gains, look, side=turn - (len(looks) - 1) / 2)
    axes.set_ylabel("gain over nll, points")
    if lowest:
        axes.set_xlabel("share of the demonstrations with noise or error")
        legend(axes, looks)
    cells = count((step.cells for steps in found.values() for step in steps), "cell")
    return dress(axes, title, cells and f"{cells} a rate", f"{BARS} from {FEWEST} cells on")


def _look(heat: float, name: str, *, first: bool) -> Line2D:
    heat_name, colour, marker = HEAT_LOOKS[heat]
    return Line2D(
        [], [], color=colour, ls="-" if first else "--", marker=marker, ms=5, lw=1.5,
        mfc=colour if first else "none", label=f"{heat_name}, {name}",
    )  # fmt: skip


def _draw_sweep(axes: Axes, gains: Mapping[float, Interval], look: Line2D, *, side: float) -> None:
    before = len(axes.lines)
    axes.plot(
        list(gains), [gain.estimate for gain in gains.values()], color=look.get_color(),
        ls=look.get_linestyle(), marker=look.get_marker(), ms=5, lw=1.5,
        mfc=look.get_markerfacecolor(), zorder=3,
    )  # fmt: skip
    for rate, gain in gains.items():
        if not math.isnan(gain.low):
            axes.plot([rate] * 2, [gain.low, gain.high], color=look.get_color(), lw=1, alpha=0.7)
    # Side by side, 4 points apart, for the eye alone.
    shift = ScaledTranslation(side / 18, 0, axes.figure.dpi_scale_trans)
    for line in axes.lines[before:]:
        line.set_transform(axes.transData + shift)


def _heat_handle(heat: float) -> Line2D:
    name, colour, marker = HEAT_LOOKS[heat]
    return Line2D([], [], color=colour, marker=marker, ms=5, lw=1.5, label=name)


def _dot(axes: Axes, found: Interval, y: float, colour: str, marker: str) -> None:
    if not math.isnan(found.low):
        axes.plot([found.low, found.high], [y, y], color=colour, lw=1.5, solid_capstyle="butt")
    axes.plot([found.estimate], [y], color=colour, ls="", marker=marker, ms=5, zorder=3)
