"""What the parts of a run on a GPU share: the device, the sizes, and inputs that are drawn once."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.experiments.bench.measure import Conditions, Ratio, ratio
from harness.experiments.bench.problem import Case, Problem, make
from harness.experiments.gpu.supervise import Settings

TAIL = 4000
"""Characters of a program's output that are kept."""
REHEARSES = "ADVISOR_REHEARSE"
"""Environment variable with which tests marked `gpu` run on the CPU."""


class Bench:
    """The device and what was drawn on it."""

    until: float = float("inf")
    """When the part at hand has to end, on the monotonic clock."""

    def __init__(self, settings: Settings) -> None:
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError(
                "PyTorch finds no CUDA device here: --rehearse runs in small on the CPU"
            )
        self.device, self.small = settings.device, settings.small
        self.shape = "tiny" if settings.small else "D"
        self._drawn: tuple[str, Problem] | None = None

    def conditions(self, rounds: int) -> Conditions:
        """As the benches take them."""
        return Conditions(
            device=self.device,
            clock="cuda" if self.device == "cuda" else "wall",
            rounds=2 if self.small else rounds,
            memory=True,
        )

    def problem(self, dtype: str) -> Problem:
        """Hidden states, weight and labels of the head; those of one dtype are kept at a time."""
        if self._drawn is None or self._drawn[0] != dtype:
            self.drop()
            case = Case(shape=self.shape, dtype=dtype)
            self._drawn = (dtype, make(case, self.conditions(1)))
        self._drawn[1].reset()
        return self._drawn[1]

    def left(self) -> float:
        """Seconds that the part at hand has left."""
        return self.until - time.monotonic()

    def drop(self) -> None:
        """Give the device's memory back, for others."""
        self._drawn = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def program(self, words: Sequence[str], *, log: Path | None = None) -> dict[str, Any]:
        """Run a program of this interpreter within the part's time: exit code and the end of what it prints.

        Args:
            words: after the interpreter.
            log: takes the whole output; else a file beside the temporary ones.
        """
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        if self.device == "cpu":
            environment[REHEARSES] = "1"
        place = log or Path(os.environ.get("TMPDIR", "/tmp")) / f"gpu-{os.getpid()}.log"
        rest = max(1.0, self.left() - 3)
        with place.open("w", encoding="utf-8") as file:
            try:
                done = subprocess.run(
                    [sys.executable, *words], stdout=file, stderr=subprocess.STDOUT, check=False,
                    env=environment, timeout=rest,
                )  # fmt: skip
                code: int | str = done.returncode
            except subprocess.TimeoutExpired:
                code = f"stopped after {rest:.0f} s"
        return {"exit_code": code, "output": place.read_text("utf-8", errors="replace")[-TAIL:]}


def summary(above: list[float], below: list[float]) -> dict[str, float]:
    """A ratio within rounds as JSON holds it."""
    found: Ratio = ratio(above, below)
    return {"median": found.median, "low": found.low, "high": found.high}
