"""Forest plot of paired differences, of a confirmation or a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from harness.plots.style import BARS, INK, SMALL, count, dress, mark, shorten
from harness.records.arm import Arm
from harness.study.contrasts import Row


def forest(
    axes: Axes,
    rows: Sequence[Row],
    labels: Mapping[Arm, str],
    *,
    margin: float | None = 1.0,
    unit: str = "points",
) -> Axes:
    """Difference of every row with its interval, grouped by baseline, task and temperature.

    Args:
        axes: to draw on; see `make_figure(rows=...)`.
        rows: from the top; a group starts wherever baseline, task or temperature change.
        labels: every arm and baseline to its text.
        margin: of equivalence, in the unit of the rows; shaded where there is one.
        unit: of the rows.
    """
    places = list(dict.fromkeys(map(_where, rows)))
    if margin is not None:
        axes.axvspan(-margin, margin, color=INK, alpha=0.15, lw=0, zorder=0)
    y, group, ticks = -1, "", {}
    for row in rows:
        arm, found = labels[row.arm], row.difference
        header = f"less {labels[row.baseline]}" + (f", {_where(row)}" if len(places) > 1 else "")
        if header != group:
            y, group = y + 1, header
            _write(axes, 0.01, y, shorten(header, 56))
        y += 1
        axes.plot(
            [0, 0], [y - 0.5, y + 0.5], color=INK, lw=0.8, zorder=1
        )  # not through the headers
        mark(axes, found.estimate, y, arm, found.interval)
        said = f"{row.shown[0]} {row.verdict}" + (", dropped" if row.dropped else "")
        _write(axes, 1.01, y, said.replace("-", "\N{MINUS SIGN}", 1))
        ticks[y] = shorten(arm, 24)
    axes.set(xlabel=f"difference, {unit}", ylim=(y + 0.6, -0.6))
    axes.set_yticks(list(ticks), labels=list(ticks.values()))
    sizes = (
        *(places if len(places) == 1 else ()),
        count((row.difference.documents for row in rows), "document"),
        count((row.difference.seeds for row in rows), "seed"),
    )
    shade = "" if margin is None else f"shaded: less than {margin:g} either way does not matter"
    return dress(axes, "Paired differences", ", ".join(filter(None, sizes)), BARS, shade)


def _where(row: Row) -> str:
    """Task and temperature of a row."""
    heat = "" if row.temperature is None else f"temperature {row.temperature:g}"
    return ", ".join(filter(None, (shorten(row.task), heat)))


def _write(axes: Axes, x: float, y: float, text: str) -> None:
    """Text at a share of the width and at a line."""
    axes.text(
        x, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL, color=INK,
        parse_math=False,
    )  # fmt: skip
