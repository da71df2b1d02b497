"""`advisor ls`: what there is to choose from."""

from __future__ import annotations

import argparse
import json
from typing import Any

from harness.cli.flags import add_json

DESCRIPTION = (
    "List what there is to choose from: the objectives, with their losses and sources; or the sources of "
    "targets that `advisor confirm --objectives` compares them on."
)
EXAMPLE = "advisor ls objectives"
COLUMNS = {
    "objectives": ("name", "aliases", "formula", "leaning", "source", "status", "needs"),
    "targets": ("name", "written", "does", "needs", "source"),
}
"""Of the output for machines."""


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("what", choices=COLUMNS)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Print one of the tables."""
    from advisor.objectives.table import OBJECTIVES
    from harness.records.target_sources import TARGET_SOURCES

    table: dict[str, Any] = TARGET_SOURCES if args.what == "targets" else OBJECTIVES
    if args.json:
        rows = table.values()
        print(
            json.dumps([{name: getattr(row, name) for name in COLUMNS[args.what]} for row in rows])
        )
        return
    from harness.cli import display

    show = display.targets if args.what == "targets" else display.objectives
    show(table.values())
