"""The figure of `docs/staged.md`: p of the form, the skill and the noise along a run, a row a cell."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from harness.experiments.staged.trace import Trace
from harness.plots.style import BLUE, GREEN, INK, PURPLE, SMALL, VERMILLION

KINDS = {"form": GREEN, "skill": BLUE, "noise": VERMILLION, "right": PURPLE}
"""Field of a point -> colour."""
NAMES = {"right": "right token in the noise's place"}
"""What a kind is called, where that is not its field."""


def trace_figure(traces: Sequence[Trace]) -> Figure:
    """A panel for every run: a column an objective, in the order of the traces."""
    cells = list(dict.fromkeys(trace.cell for trace in traces))
    objectives = list(dict.fromkeys(trace.objective for trace in traces))
    size = (2.4 * len(objectives), 1.7 * len(cells) + 0.5)
    figure = Figure(figsize=size, layout="constrained", facecolor="none")
    grid = figure.subplots(len(cells), len(objectives), sharex=True, sharey=True, squeeze=False)
    for trace in traces:
        axes = grid[cells.index(trace.cell), objectives.index(trace.objective)]
        for kind, colour in KINDS.items():
            known = [(p.done, getattr(p, kind)) for p in trace.points]
            known = [(done, p) for done, p in known if p is not None]
            if known:
                axes.plot(
                    *zip(*known, strict=True), color=colour, lw=1.4, label=NAMES.get(kind, kind)
                )
    for axes, cell in zip(grid[:, 0], cells, strict=True):
        axes.set_ylabel(
            cell.replace("-", "\n", 3), fontsize=SMALL, color=INK, rotation=0, ha="right"
        )
    for axes, objective in zip(grid[0], objectives, strict=True):
        axes.set_title(objective, fontsize=SMALL, color=INK)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=SMALL, colors=INK)
    grid[0, 0].set(xlim=(0, 1), ylim=(0, 1))
    handles, labels = max(
        (axes.get_legend_handles_labels() for axes in grid.flat), key=lambda x: len(x[1])
    )
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=SMALL
    )
    figure.supxlabel("share of the steps that lie behind", fontsize=SMALL, color=INK)
    return figure
