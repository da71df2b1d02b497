"""Forest plot of paired differences: of a confirmation (`verdict.Row`) or a comparison (`compare.Row`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from harness import compare, verdict
from harness.plots.style import BARS, INK, SMALL, count, dress, mark, shorten
from harness.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class _Line:
    """What a row of either kind shows."""

    arm: str
    baseline: str
    where: str
    difference: float
    interval: Interval
    verdict: str
    documents: int | None
    seeds: int | None


def forest(
    axes: Axes, rows: Sequence[verdict.Row | compare.Row], *, margin: float = 1.0,
    levels: Sequence[compare.Level] = (), unit: str = "points", title: str = "Paired differences",
) -> Axes:  # fmt: skip
    """Difference of every row with its interval, grouped by baseline, task and temperature.

    Args:
        axes: to draw on; see `make_figure(rows=...)`.
        rows: from the top; a group starts wherever baseline, task or temperature change.
        margin: of equivalence, in the unit of the rows; shaded.
        levels: `Comparison.levels`: documents and seeds of `compare.Row`; `verdict.Row` has its own.
        unit: of the rows.
        title: first line of the title; documents and seeds are added.
    """
    lines = [_line(row, levels) for row in rows]
    places = list(dict.fromkeys(line.where for line in lines))
    axes.axvspan(-margin, margin, color=INK, alpha=0.15, lw=0, zorder=0)
    y, group, ticks = -1, "", {}
    for line in lines:
        header = f"less {line.baseline}" + (f", {line.where}" if len(places) > 1 else "")
        if header != group:
            y, group = y + 1, header
            _write(axes, 0.01, y, shorten(header, 56))
        y += 1
        axes.plot(
            [0, 0], [y - 0.5, y + 0.5], color=INK, lw=0.8, zorder=1
        )  # not through the headers
        mark(axes, line.difference, y, line.arm, line.interval)
        _write(
            axes,
            1.01,
            y,
            f"{line.difference:+.1f} {line.verdict}".replace("-", "\N{MINUS SIGN}", 1),
        )
        ticks[y] = shorten(line.arm, 24)
    axes.set(xlabel=f"difference, {unit}", ylim=(y + 0.6, -0.6))
    axes.set_yticks(list(ticks), labels=list(ticks.values()))
    sizes = (
        *(places if len(places) == 1 else ()),
        count((line.documents for line in lines), "document"),
        count((line.seeds for line in lines), "seed"),
    )
    shade = f"shaded: less than {margin:g} either way does not matter"
    return dress(axes, title, ", ".join(filter(None, sizes)), BARS, shade)


def _line(row: verdict.Row | compare.Row, levels: Sequence[compare.Level]) -> _Line:
    """One look at both kinds of rows."""
    heat = "" if row.temperature is None else f"temperature {row.temperature:g}"
    if isinstance(row, verdict.Row):
        found = row.difference
        return _Line(
            arm=row.arm, baseline=row.baseline, where=heat, difference=found.estimate,
            interval=found.interval, verdict=f"{row.verdict}, dropped" if row.dropped else row.verdict,
            documents=found.documents, seeds=found.seeds,
        )  # fmt: skip
    place = (row.arm, row.task, row.temperature)
    level = next((x for x in levels if (x.arm, x.task, x.temperature) == place), None)
    return _Line(
        arm=row.arm, baseline=row.baseline, where=", ".join(filter(None, (shorten(row.task), heat))),
        difference=row.difference, interval=row.interval, verdict=row.verdict,
        documents=level.documents if level else None, seeds=level.seeds if level else None,
    )  # fmt: skip


def _write(axes: Axes, x: float, y: float, text: str) -> None:
    """Text at a share of the width and at a line."""
    axes.text(
        x, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL, color=INK,
        parse_math=False,
    )  # fmt: skip
