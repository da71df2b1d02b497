"""`python -m harness.experiments.replay`: write what every plan lost on the measured cells."""

from __future__ import annotations

import argparse
from pathlib import Path

from advisor.advice.replayed import SHIPPED, write
from harness.experiments.replay.ship import replay


def main() -> None:
    """Parses the command line and writes the file."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.replay", description=__doc__
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the records"
    )
    parser.add_argument("--output_path", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    write(replay(arguments.results), arguments.output_path)


if __name__ == "__main__":
    main()
