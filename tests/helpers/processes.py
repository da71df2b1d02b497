"""Processes that are killed, and processes that are ranks of one training."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT

RANKS = int(os.environ.get("ADVISOR_RANKS", "2"))
"""Processes of a training on several, a power of two; more than two by hand."""


def kill_once(process: "subprocess.Popen[Any]", there: Callable[[], object]) -> None:
    """SIGKILL a process as soon as something is there; it must not have ended before."""
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def on_ranks(module: str, *arguments: str) -> None:
    """Run a module of the tests on several CPU ranks, to its end."""
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(RANKS)]
    done = subprocess.run(
        [sys.executable, *launch, "-m", module, *arguments],
        env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def leave_without_threads(trainer: Any) -> None:
    """Leave the ranks; a process that ends with threads of gloo alive is sometimes aborted."""
    from harness.runtime.process_group import leave_process_group

    if sys.platform == "linux":  # elsewhere nothing tells the names of threads
        assert _alive("gloo"), "no thread of gloo, whatever its name is now: this cannot be checked"
    leave_process_group(trainer)
    deadline = time.monotonic() + 20
    while _alive("gloo"):  # a thread that was joined is listed a moment longer
        assert time.monotonic() < deadline, "threads of gloo outlive the process group"
        time.sleep(0.005)


def _alive(name: str) -> bool:
    """Whether a thread of this process has `name` in its own."""
    for path in Path("/proc/self/task").glob("*/comm"):
        try:
            if name in path.read_text():
                return True
        except OSError:  # it has ended meanwhile
            continue
    return False
