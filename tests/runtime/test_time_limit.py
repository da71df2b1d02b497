"""A limit of time: what waits and what computes is ended, and what answers to no signal ends the process."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from advisor.errors import InputError
from harness.runtime.time_limit import TookTooLong, at_most, check
from harness.study.study_options import StudyOptions

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a system without the signal")
DEAF = """
import signal, time
from harness.runtime import time_limit
time_limit.GRACE = 0.1
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
with time_limit.at_most(0.1, "dft lr 0.001 seed 0"):
    time.sleep(60)
"""


def waits() -> None:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], check=False)


def computes() -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:
            pytest.fail("it is no error that a run may take for its own")


@pytest.mark.parametrize("work", [waits, computes])
def test_what_hangs_is_ended(work: object) -> None:
    before, start = signal.getsignal(signal.SIGUSR2), time.monotonic()
    with pytest.raises(TookTooLong, match=r"^ended after 0 s, the limit of one run$"):  # noqa: SIM117
        with at_most(0.2, "a run"):
            work()  # type: ignore[operator]
    assert 0.2 <= time.monotonic() - start < 30
    assert signal.getsignal(signal.SIGUSR2) is before


def test_what_is_quick_enough_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    with at_most(0.05, "a run"):
        pass
    with at_most(None, "a run"):
        assert signal.getsignal(signal.SIGUSR2) is before
        time.sleep(0.1)


ON_TIME = """
import signal, time
from harness.runtime.time_limit import TookTooLong, at_most
before, late = signal.getsignal(signal.SIGUSR2), 0
for turn in range(2000):
    end = time.monotonic() + 0.001 + (turn % 40 - 20) * 5e-6
    try:
        with at_most(0.001, "a run"):
            while time.monotonic() < end:
                pass
    except TookTooLong:
        late += 1
    assert signal.getsignal(signal.SIGUSR2) is before, turn
print("late", late)
"""


def test_what_ends_at_the_limit_is_never_ended_by_a_signal_that_nobody_awaits() -> None:
    """Breaks where the signal may come after its handler is gone: then the system ends the process."""
    done = subprocess.run(
        [sys.executable, "-c", ON_TIME], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("late"), (done.returncode, done.stderr)


def test_what_does_not_answer_ends_the_process_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEAF], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1 and done.stderr == (
        "advisor: error: dft lr 0.001 seed 0 hangs: it took more than 0 s, and does not answer; "
        "start again to go on\n"
    )


def test_a_limit_that_could_not_be_held_is_refused() -> None:
    said: list[str] = []

    def elsewhere() -> None:
        try:
            check(14_400.0, "--run_limit 4h")
        except InputError as error:
            said.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    check(14_400.0, "--run_limit 4h")
    assert said == [
        "--run_limit 4h: works on Linux and macOS, in the main thread of a program: leave it out"
    ]


def test_a_limit_that_no_thread_can_wait_for_is_refused() -> None:
    """Breaks where a limit of a million years is a thread's traceback, and nothing is ended."""
    line = "^--run_limit 9999999999h: is longer than any work takes: leave it out$"
    with pytest.raises(InputError, match=line):
        StudyOptions(run_limit="9999999999h").refuse_contradictions()
    StudyOptions(run_limit="1000h").refuse_contradictions()
