"""The program's edges: nothing that a name holds reaches the terminal raw, and a reader may leave early.

Files, columns, models and datasets are named by others, and a name may hold what a terminal obeys. Refusals
and tables are made safe where they are printed (`advisor.errors.printable`, `SafeConsole`), log lines and
tracebacks here. Standard library only, but for the console.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from advisor.errors import printable

BROKEN_PIPE = 141
"""128 and the number of SIGPIPE: what a shell reports of `yes | head -1`, too."""


def prepare() -> None:
    """Has this process print safely, on any terminal."""
    sys.stdout = _open(sys.stdout)
    sys.stderr = _open(sys.stderr)
    sys.excepthook = _traceback
    make = logging.getLogRecordFactory()

    def safe(*args: Any, **given: Any) -> logging.LogRecord:
        record = make(*args, **given)
        # A message that does not fit its arguments is left: logging itself says so.
        with contextlib.suppress(TypeError, ValueError):
            record.msg, record.args = printable(record.getMessage()), ()
        return record

    logging.setLogRecordFactory(safe)


def _open(stream: TextIO | None) -> TextIO:
    """A stream that can write every character in some form; nowhere, where it is closed (`>&-`)."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))


def flush() -> None:
    """Write out what is left, as long as somebody reads; BrokenPipeError else."""
    sys.stdout.flush()


def leave_quietly() -> int:
    """The exit code where nobody reads any more; what is left goes nowhere, without a message at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    return BROKEN_PIPE
