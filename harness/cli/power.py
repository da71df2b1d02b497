"""`advisor power`: what a comparison of a given size can find."""

from __future__ import annotations

import argparse
import json

from harness.cli.flags import add_json, number

DESCRIPTION = "The smallest difference, in points, that a paired comparison finds with 80 % power."
EXAMPLE = "advisor power --documents 500 --seeds 3"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("--documents", type=number(int, 2), required=True, help="test documents")
    parser.add_argument("--seeds", type=number(int, 1), default=3, help="of each arm (default: 3)")
    parser.add_argument(
        "--accuracy", type=number(float, 0.01, 0.99), default=0.5,
        help="expected of both arms (default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--seed_sd", type=number(float, 0.0), default=3.0,
        help="standard deviation, in points, of one arm's score over seeds (default: 3)",
    )  # fmt: skip
    parser.add_argument(
        "--arms", type=number(int, 1), default=1, help="compared with the baseline (default: 1)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    """Compute and print."""
    from harness.statistics.power import minimum_detectable, spread_of_accuracy

    seed_sd = args.seed_sd / 100 if args.seeds > 1 else 0.0
    spread = spread_of_accuracy(args.accuracy, seed_sd=seed_sd)
    found = 100 * minimum_detectable(args.documents, args.seeds, spread, alpha=0.05 / args.arms)
    if args.json:
        print(json.dumps({"documents": args.documents, "seeds": args.seeds, "points": found}))
        return
    print(
        f"{found:.1f} points: {args.documents} documents, {args.seeds} seeds, {args.arms} arms, 80 % power"
    )
    if args.seeds == 1:
        print("With one seed that is a difference of two checkpoints, not of two objectives.")
