"""A study that is killed at ten random moments and then left to end; run by study/test_confirm.py.

    python -m tests.helpers.killed_study FOLDER WORDS...

Forks, so that torch is imported once. Writes FOLDER/journal, see `harness/experiments/kills/journal.py`.
"""

import gc
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lm_eval.evaluator
import lm_eval.models.huggingface  # noqa: F401

from harness.cli import main as cli
from harness.experiments.kills.journal import KILL, note, watch

KILLS = 4


def start(folder: Path, words: list[str]) -> int:
    """A child that works on the study; its process id."""
    if child := os.fork():
        return child
    with (folder / "output").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    watch(folder / "journal")
    os._exit(cli.main([*words, "--results", str(folder)]))


def moments(seconds: float) -> Iterator[tuple[bool, float]]:
    """Whether to wait for the first execution, and how long to wait then."""
    rng = random.Random(0)
    for _ in range(KILLS):
        yield rng.random() < 0.8, rng.uniform(0, 1.2 * seconds)


def let_run(journal: Path, before: int, delay: float) -> None:
    """Wait, but not beyond the first run that is kept: work is left on a faster machine too."""
    end = time.monotonic() + delay
    while time.monotonic() < end and b"kept" not in journal.read_bytes()[before:]:
        time.sleep(0.005)


def main() -> None:
    """Undisturbed first, which also says how long a run takes; then with kills."""
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    for name in ("whole", "killed"):
        (folder / name).mkdir()
    journal = folder / "killed" / "journal"
    journal.touch()
    begun = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(start(folder / "whole", words), 0)[1]) == 0
    runs = (folder / "whole" / "journal").read_text().count("kept ")
    for wait, delay in moments((time.monotonic() - begun) / runs):
        before = journal.stat().st_size
        child = start(folder / "killed", words)
        while wait and journal.stat().st_size == before and os.waitpid(child, os.WNOHANG)[0] == 0:
            time.sleep(0.005)
        let_run(journal, before, delay)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it had ended already"
        note(journal, KILL)
    assert os.waitstatus_to_exitcode(os.waitpid(start(folder / "killed", words), 0)[1]) == 0


if __name__ == "__main__":
    gc.freeze()  # as in conftest.py
    main()
