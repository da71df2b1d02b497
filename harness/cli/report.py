"""`advisor report`: one HTML page of recorded runs."""

from __future__ import annotations

import argparse

from advisor.errors import printable
from harness.cli.flags import add_options, read
from harness.evaluate.scoring_options import ScoreOptions

DESCRIPTION = (
    "Write one self-contained HTML page of everything recorded under RESULTS, a folder that `advisor "
    "confirm` has written, or one with lm-eval's logged samples."
)
EXAMPLE = "advisor report results --output_path report.html"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("results", metavar="RESULTS")
    parser.add_argument(
        "--output_path", "-o", metavar="FILE", help="the page (default: RESULTS/report.html)"
    )
    add_options(parser, ScoreOptions)


def run(args: argparse.Namespace) -> None:
    """Write the page, print its headlines and where it is."""
    from harness.report import write_report

    report = write_report(args.results, args.output_path, **read(ScoreOptions, args).keywords())
    for headline in report.headlines:
        print(printable(headline))
    print(printable(str(report.path)))
