"""`advisor calibrate`: your own confirmed runs as part of what recommendations rest on."""

from __future__ import annotations

import argparse
from pathlib import Path

from advisor.errors import printable
from advisor.options import AdviceOptions
from harness.cli.flags import add_options
from harness.cli.recommend import read_calibration

DESCRIPTION = (
    "Add the studies under RESULTS, folders that `advisor confirm` has written, to a calibration that "
    "`advisor recommend --calibration FILE` reads."
)
EXAMPLE = "advisor calibrate results --output_path ours.json"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("results", metavar="RESULTS", nargs="+")
    add_options(parser, AdviceOptions, only=("calibration",))
    parser.add_argument(
        "--output_path", "-o", metavar="FILE", default="calibration.json",
        help="the new calibration (default: calibration.json)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Write the new calibration, print its new cells."""
    from advisor.advice.calibration import write
    from harness.cli import display
    from harness.study.own_cells import extended, own_cells

    before = read_calibration(args.calibration)
    own = own_cells([Path(folder) for folder in args.results])
    display.notes(own.left_out)
    write(extended(before, own.cells), Path(args.output_path))
    for cell in own.cells:
        print(display.cell(cell))
    print(
        printable(
            f"\n{args.output_path}: advisor recommend MODEL DATASET --calibration {args.output_path}"
        )
    )
