"""`advisor compare`: the arms of recorded runs, or of lm-eval's logs."""

from __future__ import annotations

import argparse
import json

from harness.cli.flags import add_json, add_options, number, read
from harness.evaluate.scoring_options import ScoreOptions

DESCRIPTION = (
    "Paired comparison of every arm with a baseline, task by task: difference with interval, Holm-adjusted "
    "p, verdict. PATHs are folders of records, single records, or lm-eval output folders."
)
EXAMPLE = "advisor compare results --baseline nll"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--baseline", help="arm to compare with (default: nll)")
    parser.add_argument("--task", help="one task only")
    parser.add_argument("--temperature", type=number(float, 0.0, 10.0), help="one temperature only")
    add_options(parser, ScoreOptions)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Compare and print."""
    from harness.cli import display
    from harness.cli.compare_table import render
    from harness.compare.compare import compare

    comparison = compare(
        args.paths,
        baseline=args.baseline,
        task=args.task,
        temperature=args.temperature,
        **read(ScoreOptions, args).keywords(),
    )
    if args.json:
        print(json.dumps(comparison.table()))
    else:
        render(comparison, display.out)
