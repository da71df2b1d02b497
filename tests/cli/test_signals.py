"""SIGTERM and SIGHUP end a command as Ctrl-C does; `nohup` keeps it from the second."""

import os
import signal
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from harness.cli import main as program
from harness.cli import signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a system without these signals")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    kept = {name: signal.getsignal(getattr(signal, name)) for name in signals.ENDING}
    yield
    for name, handler in kept.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_one_line_after_what_cleans_up(
    name: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    def run(args: object) -> None:
        try:
            os.kill(os.getpid(), getattr(signal, name))
        except Exception:
            pytest.fail("it is no error that a run may take for its own")
        finally:
            cleaned.append(name)

    signal.signal(getattr(signal, name), signal.SIG_DFL)  # the tests may run under `nohup`
    signals.prepare()
    monkeypatch.setattr(program, "command", lambda name: SimpleNamespace(run=run))
    assert program.main(["env"]) == code
    assert cleaned == [name]
    assert capsys.readouterr().err == f"advisor: ended by {name}\n"


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.prepare()
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
