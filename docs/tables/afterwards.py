"""The tables of `afterwards.md`: what GRPO makes of fine-tunes, and what they do to pass@16."""

from harness.experiments.afterwards.outcomes import read
from harness.experiments.afterwards.tables import afterwards_tables
from tables.markdown import RESULTS, table


def tables() -> dict[str, str]:
    """Those of the page."""
    found = afterwards_tables(read(RESULTS / "afterwards"))
    return {name: table(*rows) for name, rows in found.items()}
