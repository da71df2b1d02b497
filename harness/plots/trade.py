"""What arms gain on the task against what they lose on another that nothing was trained for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from harness.plots.style import BARS, INK, arm_handle, arm_style, count, dress, legend, shorten
from harness.statistics.paired import Interval


@dataclass(frozen=True, kw_only=True)
class Traded:
    """An arm against the untouched model, on the task and on a guard."""

    arm: str
    """Its label."""
    gain: float
    """On the task, larger is better."""
    gain_interval: Interval | None
    """95 %; None where it is not drawn."""
    kept: float
    """On the guard, larger is better: below zero where it forgets."""
    kept_interval: Interval | None
    """95 %; None where it is not drawn."""
    documents: int
    """Of the guard."""


def trade(
    axes: Axes,
    points: Sequence[Traded],
    *,
    guard: str,
    unit: str = "points",
    guard_unit: str = "points",
) -> Axes:
    """Gain on the task, upwards, against what is kept on a guard: up and to the right is better.

    Args:
        axes: to draw on.
        points: one or more; the untouched model is the cross of the two lines.
        guard: its name.
        unit: of the gain.
        guard_unit: of what is kept.
    """
    for line in (axes.axhline, axes.axvline):
        line(0, color=INK, lw=0.8, zorder=1)
    for one in points:
        style = arm_style(one.arm)
        if one.kept_interval and one.gain_interval:
            axes.plot(
                one.kept_interval, [one.gain] * 2, color=style.colour, lw=1, alpha=0.7, zorder=2
            )
            axes.plot(
                [one.kept] * 2, one.gain_interval, color=style.colour, lw=1, alpha=0.7, zorder=2
            )
        axes.plot(
            [one.kept], [one.gain], color=style.colour, ls="", marker=style.marker, ms=6, mfc=style.face,
            zorder=3,
        )  # fmt: skip
    axes.set(
        xlabel=f"kept on {shorten(guard, 24)}, {guard_unit}",
        ylabel=f"gain on the task, {unit}",
    )
    legend(axes, [arm_handle(arm) for arm in dict.fromkeys(one.arm for one in points)])
    sizes = count((one.documents for one in points), "document")
    bars = BARS if any(one.gain_interval for one in points) else ""
    notes = (f"{sizes} of the guard", "up and right is better", bars)
    return dress(axes, "Gain against forgetting", *notes)
