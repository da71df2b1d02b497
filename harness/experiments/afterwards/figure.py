"""The figure of `docs/afterwards.md`: pass@1 and pass@16 of every start before and after GRPO."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from harness.experiments.afterwards.outcomes import Outcome
from harness.experiments.afterwards.tables import KS, ORDER, continued, points
from harness.plots.style import BLUE, GREEN, INK, PURPLE, SMALL, VERMILLION

COLOURS = dict(zip(ORDER, (INK, BLUE, VERMILLION, PURPLE, GREEN), strict=True))


def afterwards_figure(outcomes: Sequence[Outcome]) -> Figure:
    """A panel for every cell and k: a line a start, its seeds thin, their mean thick."""
    cells = continued(outcomes)
    size = (2.9 * len(KS), 2.4 * max(1, len(cells)) + 0.5)
    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    grid = figure.subplots(max(1, len(cells)), len(KS), sharex=True, squeeze=False)
    for axes_row, (cell, starts) in zip(grid, cells.items(), strict=False):
        for axes, k in zip(axes_row, KS, strict=True):
            for objective, runs in starts.items():
                ends = [points(runs, when, k).mean(axis=1) for when in ("before", "after")]
                for seed in zip(*ends, strict=True):
                    axes.plot((0, 1), seed, color=COLOURS[objective], lw=0.7, alpha=0.4)
                axes.plot(
                    (0, 1), [end.mean() for end in ends], color=COLOURS[objective], lw=2, marker="o",
                    ms=4, label=objective,
                )  # fmt: skip
            axes.set_title(f"{cell}, pass@{k}", fontsize=SMALL, color=INK, loc="left")
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=SMALL, colors=INK)
            axes.set(xlim=(-0.1, 1.1), xticks=(0, 1), xticklabels=("before", "after GRPO"))
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL
    )
    figure.supylabel("right answers to test problems, percent", fontsize=SMALL, color=INK)
    return figure
