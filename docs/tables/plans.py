"""The tables of `plans.md`, and the one of the README on how good the plans are."""

from harness.experiments.replay.replay_tables import replay_tables, short_table
from tables.markdown import RESULTS, table


def tables() -> dict[str, str]:
    """Those of the page."""
    return {name: table(*rows) for name, rows in replay_tables(RESULTS).items()}


def readme() -> dict[str, str]:
    """That of the README."""
    return {"plans": table(*short_table(RESULTS))}
