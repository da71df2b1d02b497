"""Signals that end a program end it as Ctrl-C does: what was finished is kept, one line says so."""

from __future__ import annotations

import signal
from types import FrameType

ENDING = ("SIGTERM", "SIGHUP")
"""Of a scheduler or `kill`, and of a terminal that was closed. Where a system has them."""
SHELL = 128
"""What a shell adds to the number of the signal that ended a program."""


class Ended(KeyboardInterrupt):
    """A signal asked this process to end; whatever cleans up after Ctrl-C does so after this, too."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        """Of the signal."""

    @property
    def code(self) -> int:
        """The exit code that a shell reports of a program which the signal ended."""
        return SHELL + int(getattr(signal, self.name))


def prepare() -> None:
    """Have the signals raise `Ended` in this process's main thread.

    One that is ignored stays so: `nohup` has a program go on after its terminal was closed.
    """
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(signal.Signals(number).name)
