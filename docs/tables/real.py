"""The tables of `real-models.md`: what was planned, done, forecast and found on a real model."""

from harness.experiments.real.found_tables import real_tables
from tables.markdown import RESULTS, table


def tables() -> dict[str, str]:
    """Those of the page."""
    return {name: table(*rows) for name, rows in real_tables(RESULTS).items()}
