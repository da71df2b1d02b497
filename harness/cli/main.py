"""The command line's entry point: parses, has a command run, and turns its errors into exit codes.

A command is a file beside this one, imported when it is named, so that `advisor --help` needs no torch.
Results go to stdout, progress and notes to stderr. A refused input is one line and exit code 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from advisor.errors import InputError, TrainingDiverged, printable
from advisor.files import unwritten
from harness.cli import signals, streams
from harness.cli.parser import command, parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0 when it worked, 1 where a training diverged, 2 for a refused input.

    130 when interrupted, 143 or 129 when ended by SIGTERM or SIGHUP, 141 where what reads the output has
    ended (`| head -1`).
    """
    if argv is None:
        streams.prepare()
        signals.prepare()
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        streams.flush()
        return code
    except BrokenPipeError:
        return streams.leave_quietly()


def _run(argv: Sequence[str]) -> int:
    """The exit code of a command."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        args = parse(argv)
        if {"objective", "objectives"} & vars(args).keys():
            from harness.cli.early import check_shell

            check_shell()
        command(args.command).run(args)
    except InputError as error:
        print(f"advisor: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except OSError as error:
        if (reason := unwritten(error)) is None:
            raise
        what = printable(str(error.filename or "what it has to write"))
        print(f"advisor: error: {what} cannot be written ({reason}): make room", file=sys.stderr)
        return 2
    except TrainingDiverged as error:
        print(f"advisor: error: {printable(str(error))}", file=sys.stderr)
        return 1
    except signals.Ended as error:
        print(f"advisor: ended by {error.name}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("advisor: interrupted", file=sys.stderr)
        return 130
    return 0
