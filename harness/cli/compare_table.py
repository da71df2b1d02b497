"""A comparison on the screen: the verdicts, then a table of the arms with both differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from advisor.errors import printable
from harness.cli.display import arm_width
from harness.compare.compare import Comparison, heat
from harness.records.arm import BASE, Arm
from harness.records.metrics import POINTS, in_unit
from harness.study.contrasts import Row


def render(comparison: Comparison, console: Console) -> None:
    """The verdicts, then a table of the arms with both differences."""
    for headline in comparison.headlines:
        console.print(Text(printable(headline), style="bold"))
    texts = comparison.labels
    found = {
        (row.task, row.temperature, row.arm, row.baseline.objective == BASE): row
        for row in comparison.rows
    }
    known = {of_base for *_, of_base in found}
    against = [of_base for of_base in (False, True) if of_base in known]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("task", "temperature", "arm", "documents x seeds", "score"):
        least = arm_width(texts.values()) if name == "arm" else None
        table.add_column(name, overflow="fold", min_width=least)
    for of_base in against:
        table.add_column(Text(printable(f"less {BASE if of_base else comparison.baseline}")))
    units = {(row.task, row.temperature): row.unit for row in comparison.rows}
    before: tuple[Any, ...] = ()
    for level in comparison.levels:
        group = (level.task, level.temperature)
        if before and group != before:
            table.add_section()
        head = ("", "") if group == before else (level.task, heat(level.temperature))
        size = f"{level.documents} x {level.seeds}"
        score = in_unit(level.mean, units.get(group, POINTS))
        cells = [
            _cell(found.get((*group, level.arm, of_base)), texts, comparison.baseline)
            for of_base in against
        ]
        table.add_row(*(Text(printable(c)) for c in (*head, texts[level.arm], size, score, *cells)))
        before = group
    console.print(table)
    for line in comparison.notes:
        console.print(Text(printable(line)))


def _cell(row: Row | None, texts: Mapping[Arm, str], baseline: str) -> str:
    """A difference; with its baseline where that is not the one of the column."""
    if row is None:
        return "-"
    gain, low, high = row.shown
    p = "dropped" if row.dropped else f"p {row.adjusted_p:.2g}"
    other = texts[row.baseline] not in (baseline, BASE)
    what = f"less {texts[row.baseline]}: " if other else ""
    return f"{what}{gain} [{low}, {high}], {row.verdict}, {p}"
