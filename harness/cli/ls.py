"""`advisor ls`: what there is to choose from."""

from __future__ import annotations

import argparse
import json

from harness.cli.flags import add_json

DESCRIPTION = "List what there is to choose from: the objectives, with their losses and sources."
EXAMPLE = "advisor ls objectives"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("what", choices=["objectives"])
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Print the table of objectives."""
    from advisor.objectives.table import OBJECTIVES

    columns = ("name", "aliases", "formula", "leaning", "source", "status", "needs")
    rows = [{column: getattr(row, column) for column in columns} for row in OBJECTIVES.values()]
    if args.json:
        print(json.dumps(rows))
        return
    from harness.cli import display

    display.objectives(OBJECTIVES.values())
