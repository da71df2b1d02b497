"""What the benches share: clocks, interleaved rounds, ratios, peak memory, and facts of the machine."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from harness.runtime.versions import versions

MIB = 2**20
PEERS = ("liger-kernel", "cut-cross-entropy", "triton")
"""Packages that are timed beside ours, or that they use."""
_RATE_SIDE = {
    "cpu": 2048,
    "cuda": 8192,
}  # of the square matrices whose product is the machine's rate
_RATE_TIMES = {"cpu": 1, "cuda": 10}  # products in one measurement: starting one is not to be seen


class WrongNumbers(RuntimeError):
    """Ours does not compute what it should: no time of it means anything."""


class NoRoom(RuntimeError):
    """Ours does not fit into the device's memory: nothing is said of its numbers."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How a bench is run."""

    device: str = "cpu"
    """cpu or cuda."""
    threads: int = 1
    """Threads of the CPU's operations."""
    clock: str = "cpu"
    """"cpu" (time of the process: what others do on the machine stays out), "wall" or "cuda"."""
    rounds: int = 6
    """The first one is dropped, unless it is the only one."""
    seed: int = 0
    """Of the inputs and of the order within the rounds."""
    peers: bool = True
    """Whether the peers run too."""
    memory: bool = True
    """Whether peak memory is measured, a fresh process a variant."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of two times of the same round: median and range over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.3g}"
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def ratio(above: list[float], below: list[float]) -> Ratio:
    """Round by round, `above` over `below`."""
    return ratio_of([a / b for a, b in zip(above, below, strict=True)])


def ratio_of(values: list[float]) -> Ratio:
    """Median and range of ratios that are already there."""
    return Ratio(median=statistics.median(values), low=min(values), high=max(values))


def spread(times: list[float]) -> float:
    """(slowest - fastest) / fastest: what others on the machine did to a constant amount of work."""
    return max(times) / min(times) - 1


def interleave(
    variants: Mapping[str, Callable[[], object]],
    conditions: Conditions,
    *,
    reset: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Time every variant once a round, in random order.

    Args:
        variants: what to run, by name.
        conditions: clock, rounds and seed.
        reset: run before each, outside the clock.

    Returns:
        Seconds by name, one a round.
    """
    generator = random.Random(conditions.seed)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(conditions.rounds):
        order = list(variants)
        generator.shuffle(order)
        for name in order:
            reset()
            times[name].append(_seconds(variants[name], conditions.clock))
    return {name: seconds[1:] or seconds for name, seconds in times.items()}


def _seconds(run: Callable[[], object], clock: str) -> float:
    if clock == "cuda":
        return _cuda_seconds(run)
    now = time.process_time if clock == "cpu" else time.perf_counter
    begin = now()
    run()
    return now() - begin


def _cuda_seconds(run: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def matmul(
    dtype: torch.dtype, device: str, side: int | None = None
) -> tuple[Callable[[], object], float]:
    """Bare matrix products to be timed as the machine's rate, and their floating-point operations.

    Of random numbers: a GPU multiplies ones with less power, and so faster. `side` is of the matrices.
    """
    kind = torch.device(device).type
    side, times = side or _RATE_SIDE[kind], _RATE_TIMES[kind]
    generator = torch.Generator(device).manual_seed(0)
    a, b, out = (
        torch.randn(side, side, dtype=dtype, device=device, generator=generator) for _ in range(3)
    )

    def run() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)

    return run, 2.0 * side**3 * times


def peak_extra(run: Callable[[], object], device: str) -> int:
    """Peak memory of one run beyond what is there before it, in bytes.

    On the CPU it is the kernel's peak of resident memory, its counter reset here (Linux only).
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def can_measure_memory(device: str) -> bool:
    """Whether this system tells the peak of a process."""
    return device == "cuda" or Path("/proc/self/clear_refs").exists()


def peak_in_fresh_process(bench: str, conditions: Conditions, **what: Any) -> int | None:
    """`peak_extra` of one variant by itself, in bytes; None where it fails there.

    Args:
        bench: head or probe; its module's `peak(conditions, **what)` runs in the new process.
        conditions: of the run.
        what: the variant, in words that JSON can hold.
    """
    request = json.dumps({"bench": bench, "conditions": asdict(conditions), "what": what})
    command = [sys.executable, "-W", "ignore", "-m", "harness.experiments.bench.peak", request]
    environment = {**os.environ, "OMP_NUM_THREADS": str(conditions.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return int(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def facts(conditions: Conditions) -> dict[str, Any]:
    """Machine, versions and conditions, to be printed and stored next to every ratio."""
    found: dict[str, Any] = {"cpu": _cpu_name(), "cores": os.cpu_count()}
    found["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    if conditions.device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    found["versions"] = {"python": platform.python_version(), **versions(*PEERS)}
    return {**found, "conditions": asdict(conditions), "load_average": round(os.getloadavg()[0], 2)}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
