"""Work that is ended after a limit of time, so that nobody waits for what hangs.

A signal reaches the interpreter at its next instruction, and what waits for a process or a lock at once. Code
in C that never comes back it does not reach: the process is then ended, with one line.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from advisor.errors import InputError, printable
from advisor.progress import span

GRACE = 120.0
"""Seconds after the limit in which the work has to have ended."""
NAME = "SIGUSR2"
"""The signal: a scorer of the user's may well use SIGALRM, and schedulers send SIGUSR1."""


class TookTooLong(BaseException):
    """The limit is over. No Exception: whoever catches those on the way has no answer to this one."""


def check(seconds: float, flag: str) -> None:
    """Refuse a limit where nothing could end the work.

    Args:
        seconds: the limit.
        flag: that asks for it, for the refusal.

    Raises:
        InputError: a system without this signal, not the main thread, or longer than a thread can wait.
    """
    if seconds > threading.TIMEOUT_MAX:
        raise InputError(f"{flag}: is longer than any work takes: leave it out")
    if not hasattr(signal, NAME) or threading.current_thread() is not threading.main_thread():
        raise InputError(
            f"{flag}: works on Linux and macOS, in the main thread of a program: leave it out"
        )


@contextmanager
def at_most(seconds: float | None, work: str) -> Iterator[None]:
    """End the block after a limit.

    Args:
        seconds: the limit; None: there is none.
        work: what it is, for the line that is said where the process has to be ended.

    Raises:
        TookTooLong: from wherever the block is at that time.
    """
    if seconds is None:
        yield
        return
    number, thread = getattr(signal, NAME), threading.get_ident()
    over, ended, limit = False, threading.Event(), span(seconds)
    sending = threading.Lock()  # no signal is sent once the block is over: its handler is gone then

    def end(number: int, frame: FrameType | None) -> None:
        if not over:
            raise TookTooLong(f"ended after {limit}, the limit of one run")

    def wait() -> None:
        if ended.wait(seconds):
            return
        with sending:
            if over:
                return
            signal.pthread_kill(thread, number)
        if not ended.wait(GRACE):
            _leave(
                f"{work} hangs: it took more than {limit}, and does not answer; start again to go on"
            )

    before = signal.signal(number, end)
    try:
        try:
            threading.Thread(target=wait, daemon=True).start()
            yield
        finally:
            with sending:  # here the signal may still raise: hence the outer `finally`
                over = True
    finally:
        over = True
        ended.set()
        signal.signal(number, before)


def _leave(line: str) -> None:
    """End this process from another thread, whatever its main thread is at."""
    sys.stderr.write(f"advisor: error: {printable(line)}\n")
    sys.stderr.flush()
    os._exit(1)
