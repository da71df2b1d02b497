"""The tables of `staged.md`: what runs that change their objective lose, and why."""

from harness.experiments.staged.regret_tables import regret_tables
from tables.better_targets import arms_of, studies_in
from tables.markdown import RESULTS, table

FOLDER = "staged"
"""Of the studies with five seeds, in `results/confirm/`."""


def tables() -> dict[str, str]:
    """Those of the page."""
    found = regret_tables(RESULTS)
    written = {name: table(*rows) for name, rows in found.items() if name != "rivals"}
    return {**written, "five": "\n\n".join(map(arms_of, studies_in(FOLDER).values()))}
