"""`advisor decide`: of runs made elsewhere, which checkpoint to keep."""

from __future__ import annotations

import argparse
import json

from harness.cli.flags import add_json, add_options, read
from harness.evaluate.scoring_options import ScoreOptions

DESCRIPTION = (
    "Which checkpoint to keep, of runs made and scored elsewhere, and how sure that is. SCORES are tables "
    "(csv, jsonl, parquet) with a row for each document of each arm: columns arm and score, where they are "
    "known also learning_rate, temperature, seed, task, document, part (development or test); lm-eval's "
    "output folders, with --log_samples; or inspect_ai's logs in JSON. All decodings of a checkpoint compete."
)
EXAMPLE = "advisor decide scores.csv --plan plan.json"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("scores", nargs="+", metavar="SCORES")
    parser.add_argument(
        "--plan", metavar="PLAN",
        help="what `advisor recommend --json` printed: says which of its runs have no scores yet",
    )  # fmt: skip
    add_options(parser, ScoreOptions)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Read, decide and print."""
    from dataclasses import replace

    from harness.cli import display
    from harness.cli.decide_table import render
    from harness.compare.decide import decide
    from harness.compare.plan_file import read_plan
    from harness.compare.score_files import read_scores

    planned = read_plan(args.plan) if args.plan else []
    options = read(ScoreOptions, args).keywords()
    margin = options.pop("margin")
    scored, said = read_scores(args.scores, **options)
    decision = decide(scored, planned, margin=margin)
    decision = replace(decision, notes=(*said, *decision.notes))
    if args.json:
        print(json.dumps(decision.to_dict()))
    else:
        render(decision, display.out)
