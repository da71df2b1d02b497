"""How a study for developers is run from a command line: one step of several, told on stderr."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from advisor.errors import InputError

MODELS = Path("outputs/calibration")
Step = Callable[[argparse.Namespace], None]


def plan_and_run(module: str, description: str | None, results: Path) -> argparse.ArgumentParser:
    """The parser of a study on models of the calibration: its plan is committed, then carried out.

    Args:
        module: that is run.
        description: for the help.
        results: folder of plans and ledger, unless another is given.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--results", type=Path, default=results, help="of plans and ledger")
    parser.add_argument("--models", type=Path, default=MODELS, help="of `calibration models`")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("plan", help="write what will be run; commit it before the first run")
    steps.add_parser("run", help="do what is missing")
    return parser


def run_step(parser: argparse.ArgumentParser, steps: Mapping[str, Step]) -> None:
    """Parse the command line and run the step that it names; a refusal is one line and exit code 2.

    Args:
        parser: of a program `python -m MODULE`, with the name of the step in `step`.
        steps: by name.
    """
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M"
    )
    logging.getLogger("harness").setLevel(logging.INFO)
    try:
        steps[arguments.step](arguments)
    except InputError as error:
        sys.stderr.write(f"{parser.prog.removeprefix('python -m ')}: error: {error}\n")
        sys.exit(2)
