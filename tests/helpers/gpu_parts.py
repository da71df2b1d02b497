"""Parts that end in every way that a part of a run can end."""

import os
import time
from typing import Any

from harness.experiments.gpu.supervise import Found, Part, Settings, Skipped, Table, Tell


class Shared:
    """What the parts have in common: how many of them this process has run."""

    until = 0.0

    def __init__(self, settings: Settings) -> None:
        self.before = 0


def good(shared: Any, tell: Tell) -> Found:
    shared.before += 1
    tell({"early": 1})
    return {"before": shared.before, "process": os.getpid()}


def fails(shared: Any, tell: Tell) -> Found:
    tell({"early": 2})
    raise ValueError("broken\nin two lines")


def hangs(shared: Any, tell: Tell) -> Found:
    tell({"early": 3})
    time.sleep(600)
    return {}


def dies(shared: Any, tell: Tell) -> Found:
    tell({"early": 4})
    os._exit(9)


def skips(shared: Any, tell: Tell) -> Found:
    raise Skipped("not here")


RUNS = {
    "first": good, "fails": fails, "second": good, "hangs": hangs, "dies": dies, "skips": skips,
    "last": good,
}  # fmt: skip
PARTS = Table(
    shared=Shared,
    parts=tuple(
        Part(name=name, limit=3.0 if name == "hangs" else 300.0, run=run)
        for name, run in RUNS.items()
    ),
)
