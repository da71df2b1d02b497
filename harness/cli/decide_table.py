"""A decision on the screen: what to do, then every arm with what the best is ahead of it by."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from advisor.errors import printable
from harness.cli.display import arm_width
from harness.compare.decide import Decision, Part
from harness.compare.score_tables import WHOLE
from harness.records.arm import Arm
from harness.records.metrics import in_unit
from harness.statistics.paired import probability
from harness.study.contrasts import Row


def render(decision: Decision, console: Console) -> None:
    """What to do, how sure that is, and the arms on the documents that chose and on those that did not."""
    console.print(Text(printable(decision.text), style="bold"))
    console.print(
        Text(
            printable(
                f"{decision.labels[decision.best]} is the best in {decision.chance:.0%} of resamples of the "
                f"documents, another arm in {1 - decision.chance:.0%}."
            )
        )
    )
    if several := _checkpoint(decision):
        console.print(Text(several))
    for part in (decision.chosen_on, decision.test):
        if part is not None:
            console.print(_table(decision, part))
    for line in decision.notes:
        console.print(Text(printable(line)))


def _checkpoint(decision: Decision) -> str:
    """Which of several seeds to take; empty where there is one."""
    kept = [one for one in decision.chosen_on.standings if one.arm == decision.keep]
    if not kept or len(kept[0].seeds) == 1:
        return ""
    return (
        f"Its best checkpoint is that of seed {kept[0].best_seed}, of {len(kept[0].seeds)} seeds."
    )


def _table(decision: Decision, part: Part) -> Table:
    """Every arm, and what the best of those that chose is ahead of some of them by."""
    best = decision.labels[decision.best]
    what = "all documents" if part.name == WHOLE else f"{part.name} documents"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.title = Text(f"{what}: {part.documents:,}, scores in {decision.unit}")
    least = arm_width(decision.labels[one.arm] for one in part.standings)
    table.add_column("arm", overflow="fold", min_width=least)
    for name in ("seeds", "score", "standard error"):
        table.add_column(name, justify="right")
    table.add_column(Text(printable(f"{best} less it")))
    rows = {row.baseline: row for row in part.rows}
    for one in part.standings:
        cells = (
            decision.labels[one.arm], str(len(one.seeds)), in_unit(one.mean, decision.unit),
            in_unit(one.standard_error, decision.unit), _cell(rows, one.arm),
        )  # fmt: skip
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _cell(rows: dict[Arm, Row], arm: Arm) -> str:
    """A difference, or nothing where none was taken."""
    if (row := rows.get(arm)) is None:
        return ""
    gain, low, high = row.shown
    return f"{gain} [{low}, {high}], {row.verdict}, p {probability(row.adjusted_p)}"
