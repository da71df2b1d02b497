"""The tables of `verdicts.md`, from the record of the simulation."""

from collections.abc import Mapping
from typing import Any

from harness.experiments.verdict_errors import CASES, RECORD, SHARES
from tables.markdown import ROOT, read_json, table


def tables() -> dict[str, str]:
    """A table of rates for every case that was simulated."""
    record = read_json(ROOT / RECORD)
    return {case.key: _rates(record["cases"][case.key]) for case in CASES}


def _rates(case: Mapping[str, Any]) -> str:
    """Share of studies that say it, by seeds and by how far they differ."""
    rows = [
        (f"{deviation} points", *(f"{100 * share:.1f} %" for share in shares.values()))
        for deviation, shares in case[SHARES].items()
    ]
    seeds = next(iter(case[SHARES].values()))
    head = ("seeds differ by", *(f"{n} seed{'' if n == '1' else 's'}" for n in seeds))
    return table(head, rows)
