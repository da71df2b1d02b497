"""Regret against cost: what every way of spending on runs comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.plots.style import BLUE, GREEN, INK, SMALL, VERMILLION, dress, legend

Point = tuple[float, float]
"""Cost in full runs, regret in points."""
LOOKS = ((VERMILLION, "s"), (GREEN, "^"))
"""Colour and marker of each kind."""


def spending(
    axes: Axes, fixed: Mapping[str, Mapping[str, Point]], race: Sequence[Point], *, cells: int
) -> Axes:
    """Ways of spending that are fixed before as named points, those of a race as a line.

    Args:
        axes: to draw on; y becomes logarithmic.
        fixed: kind, of at most two -> a few letters -> cost and regret.
        race: of several prices of a point, in order.
        cells: on which they were replayed.
    """
    axes.set_yscale("log")
    handles = [Line2D([], [], color=BLUE, marker="o", ms=4, lw=1.5, label="the race")]
    for (kind, points), (colour, marker) in zip(fixed.items(), LOOKS, strict=False):
        look: dict[str, Any] = {"color": colour, "marker": marker, "ms": 5, "ls": ""}
        handles.append(Line2D([], [], label=kind, **look))
        for name, (cost, regret) in points.items():
            axes.plot([cost], [regret], zorder=2, **look)
            axes.annotate(
                name, (cost, regret), textcoords="offset points", xytext=(6, -3), fontsize=SMALL,
                color=INK, parse_math=False,
            )  # fmt: skip
    axes.plot(*zip(*race, strict=True), color=BLUE, marker="o", ms=4, lw=1.5, zorder=3)
    regrets = [regret for points in fixed.values() for _, regret in points.values()]
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50) if tick <= 2 * max(regrets, default=1)]
    axes.set_yticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="cost, full runs", ylabel="regret, points", xlim=(0, None))
    legend(axes, handles)
    return dress(axes, "What is lost for what is spent", f"mean over {cells} cells")
