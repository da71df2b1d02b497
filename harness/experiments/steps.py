"""How a study for developers is run from a command line: one step of several, told on stderr."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping

from advisor.errors import InputError

Step = Callable[[argparse.Namespace], None]


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
