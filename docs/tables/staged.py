"""The tables of `staged.md`: what runs that change their objective lose, and why."""

from harness.experiments.staged.regret_tables import regret_tables
from tables.markdown import RESULTS, table


def tables() -> dict[str, str]:
    """Those of the page."""
    found = regret_tables(RESULTS)
    return {name: table(*rows) for name, rows in found.items() if name != "rivals"}
