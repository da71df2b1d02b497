"""What continuing the arms of a study has come to, on the screen."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from advisor.errors import printable
from harness.cli.display import arm_width, out
from harness.study.afterwards import KS, Afterwards


def show_afterwards(found: Afterwards | None) -> None:
    """pass@1 and pass@16 of every start before and after GRPO; nothing where nothing was continued."""
    if found is None:
        return
    texts = found.labels
    if found.rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
        table.title = Text(
            f"before and after {found.steps} steps of GRPO: {found.rows[0].documents:,} test documents, "
            "points"
        )
        table.add_column("start", overflow="fold", min_width=arm_width(texts.values()))
        for k in KS:
            for name in (f"pass@{k}", "after"):
                table.add_column(name, justify="right")
            table.add_column(Text("change [95 %]"), justify="right")
        for row in found.rows:
            cells = [texts[row.arm]]
            for k in KS:
                low, high = row.change[k].interval
                change = f"{row.change[k].estimate:+.1f} [{low:+.1f}, {high:+.1f}]"
                cells += [f"{row.before[k]:.1f}", f"{row.after[k]:.1f}", change]
            table.add_row(*(Text(printable(cell)) for cell in cells))
        out.print(table)
    for line in found.lines:
        out.print(Text(printable(line)))
