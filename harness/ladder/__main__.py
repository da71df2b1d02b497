"""`python -m harness.ladder build` makes the ladder's models and demonstrations from seeds."""

import argparse
import logging
import sys
from pathlib import Path

from harness.ladder import RUNGS, Rung

MINIATURE = {"miniature": Rung(step=500, skill="day", rows=64)}


def main() -> None:
    """Parses the command line and builds."""
    parser = argparse.ArgumentParser(prog="python -m harness.ladder", description=__doc__)
    build = parser.add_subparsers(dest="command", required=True).add_parser(
        "build", help="pretrain the rungs and write models, demonstrations and card (10 minutes)"
    )
    build.add_argument("--output_dir", "--output-dir", type=Path, default=Path("outputs/ladder"))
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--rungs", nargs="+", choices=list(RUNGS), default=list(RUNGS))
    build.add_argument("--miniature", action="store_true", help="a tiny model in seconds instead")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    _build(arguments)


def _build(arguments: argparse.Namespace) -> None:
    # Imported here so that --help needs no torch.
    from transformers.utils.logging import disable_progress_bar

    from harness.ladder import pretrain
    from harness.ladder.build import build

    disable_progress_bar()

    rungs = {name: RUNGS[name] for name in arguments.rungs}
    recipe = pretrain.Recipe()
    if arguments.miniature:
        rungs, recipe = MINIATURE, pretrain.MINIATURE
    build(rungs, recipe, seed=arguments.seed, output_dir=arguments.output_dir)


if __name__ == "__main__":
    main()
