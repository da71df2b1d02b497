"""`python -m harness.gym write GENERATOR` writes demonstrations of a reasoning-gym problem as JSON lines."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from advisor.errors import InputError
from advisor.files import publish
from advisor.names import did_you_mean
from harness.gym import GENERATORS


class Parser(argparse.ArgumentParser):
    """An argument parser whose refusals are one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line with an InputError."""
        raise InputError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and writes; returns 2 where that is refused."""
    parser = Parser(prog="python -m harness.gym", description=__doc__)
    write = parser.add_subparsers(dest="command", required=True).add_parser(
        "write", help="demonstrations to fine-tune on; no problem of the tasks is among them"
    )
    write.add_argument("generator", type=_generator, help=", ".join(GENERATORS))
    write.add_argument("--rows", type=int, default=2000)
    write.add_argument("--seed", type=int, default=0)
    write.add_argument("--output_path", "--output-path", type=Path, required=True)
    try:
        _write(parser.parse_args(argv))
    except InputError as error:
        print(f"python -m harness.gym: error: {error}", file=sys.stderr)
        return 2
    return 0


def _generator(name: str) -> str:
    if name in GENERATORS:
        return name
    advice = did_you_mean(name, GENERATORS) or f"not one of {', '.join(GENERATORS)}"
    raise argparse.ArgumentTypeError(f"{name}: {advice}")


def _write(arguments: argparse.Namespace) -> None:
    # Imported here so that --help needs no datasets.
    from harness.gym.gym_tasks import demonstrations

    if arguments.rows < 1:
        raise InputError(f"--rows {arguments.rows}: at least 1")
    rows = demonstrations(arguments.generator, arguments.rows, seed=arguments.seed)
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    path = arguments.output_path
    publish(path, text.encode(), subject=f"--output_path {path}:", remedy="give another file")


if __name__ == "__main__":
    sys.exit(main())
