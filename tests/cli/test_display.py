"""How far long work is: lines in a log, a bar on a terminal, and a terminal that is left whole."""

import io
import threading
import time

import pytest
from rich.console import Console

from harness.cli import display
from harness.cli.display import EVERY, LONG, Shown
from harness.cli.live import every


class Clock:
    """Seconds, set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_quick_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Shown("scored", clock=Clock()) as told:
        for done in range(1, 11):
            told(done, 10)
    assert capsys.readouterr().err == "scored: 10 of 10\n"
    with Shown("tokenising", quick=False) as told:
        told(10, 10)
    assert capsys.readouterr().err == ""


def test_long_work_is_told_when_it_takes_long_and_every_half_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    told = Shown("scored", clock=clock)
    for second in range(100):
        clock.now = float(second)
        told(10 + second, 5010)
    lines = capsys.readouterr().err.splitlines()
    at = [LONG, LONG + EVERY, LONG + 2 * EVERY, LONG + 3 * EVERY]
    assert [int(line.split()[1]) for line in lines] == [10 + int(second) for second in at]
    assert lines[0] == "scored: 15 of 5010, 0 %, about 83 min left"  # one a second
    told(5010, 5010)
    assert capsys.readouterr().err == "scored: 5010 of 5010\n"


@pytest.mark.parametrize(("left", "said"), [(60, "60 s"), (600, "10 min"), (9000, "2.5 h")])
def test_the_time_left_goes_by_the_pace_since_the_work_was_taken_up(
    capsys: pytest.CaptureFixture[str], left: int, said: str
) -> None:
    clock = Clock()
    told = Shown("rewriting", clock=clock)
    told(1000, 1100 + left)  # taken up again where 1000 were done
    clock.now = 100.0
    told(1100, 1100 + left)
    assert capsys.readouterr().err.endswith(f", about {said} left\n")


def test_work_that_stops_earlier_says_so_and_work_that_fails_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Shown("measuring the prior") as told:
        told(512, 4096)
    assert capsys.readouterr().err == "measuring the prior: 512 of 4096 were enough\n"
    with pytest.raises(KeyError), Shown("measuring the prior") as told:
        told(512, 4096)
        raise KeyError
    with Shown("nothing"):
        pass
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar_and_the_cursor_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(display, "err", Console(file=screen, force_terminal=True, width=80))
    first, second = Shown("reading"), Shown("short run")
    first(3, 10)  # and is never finished
    second(20, 20)
    written = screen.getvalue()
    assert "reading" in written and "3 of 10" in written and "short run" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 2  # hidden and shown again


def test_every_calls_until_the_block_ends() -> None:
    called, three = [], threading.Event()

    def tell() -> None:
        called.append(None)
        if len(called) == 3:
            three.set()

    with every(0.01, tell):
        assert three.wait(10)
    count = len(called)
    time.sleep(0.05)
    assert len(called) == count
