"""The tables of `what-predicts-the-winner.md`, from the calibration study."""

from functools import cache

from harness.experiments.calibration.cell_tables import cell_tables
from harness.experiments.calibration.evidence import Evidence, gather
from harness.experiments.calibration.rule_tables import rule_tables
from tables.markdown import RESULTS, table


@cache
def evidence() -> Evidence:
    """The committed records, read once for tables and figures."""
    return gather(RESULTS)


def tables() -> dict[str, str]:
    """Those of the page."""
    found = {**cell_tables(evidence()), **rule_tables(RESULTS)}
    return {name: table(*rows) for name, rows in found.items()}
