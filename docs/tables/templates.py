"""The table of `templates.md`: what packaged chat templates do with rows; it is measured anew each time."""

from collections.abc import Mapping

from harness.experiments.chat_templates import ROWS, Outcome, outcomes, packaged
from tables.markdown import table


def tables() -> dict[str, str]:
    """The one table."""
    return table_of({name: outcomes(text) for name, text in packaged()})


def table_of(found: Mapping[str, Mapping[str, Outcome]]) -> dict[str, str]:
    """The one table, from what became of the rows under every template."""
    rows = ((name, *(row.word for row in rows.values())) for name, rows in found.items())
    return {"templates": table(("template", *ROWS), rows)}
