"""Hostile names, readers that leave, closed streams and poor terminals: no raw escape, no traceback."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from harness.cli.console import SafeConsole
from harness.cli.main import main
from harness.cli.parser import COMMANDS
from harness.cli.streams import BROKEN_PIPE

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202e"
RAW = ("\x1b", "\x07", "\x9b", "\u202e")


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $A is the program."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("$A", f"{sys.executable} -m advisor")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_hostile_name_is_never_printed_raw(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([f"./{HOSTILE}"], [f"./{HOSTILE}", f"./{HOSTILE}"], [f"--{HOSTILE}"]):
        with contextlib.suppress(SystemExit):
            main([command, *words])
        told = "".join(capfd.readouterr())
        assert not any(raw in told for raw in RAW), told


def test_the_console_spells_out_what_a_terminal_obeys_and_keeps_its_styles() -> None:
    console = SafeConsole(file=io.StringIO(), force_terminal=True, width=80)
    table = Table(HOSTILE)
    table.add_row(HOSTILE, style="bold")
    console.print(table)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\\x1b[31mred" in told and "\x1b[1m" in told
    assert not any(raw in told for raw in ("\x1b[31m", "\x1b]", *RAW[1:]))


def test_log_lines_and_tracebacks_are_safe() -> None:
    code = (
        "import logging; from harness.cli import streams; streams.prepare()\n"
        f"logging.warning('no %s', {HOSTILE!r}); raise RuntimeError({HOSTILE!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\\x1b[31mred") == 2
    assert not any(raw in done.stderr for raw in RAW)


def test_a_reader_that_leaves_ends_the_program_as_it_does_others() -> None:
    done = shell("(sleep 3; exec $A env) | true")
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    done = shell(f"$A env {closed}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_ascii_terminals_and_twenty_columns(environment: dict[str, str]) -> None:
    done = shell("$A validate ./nö ./ñ", COLUMNS="20", **environment)
    assert done.returncode == 2 and done.stderr.startswith("advisor: error: ")
    assert "Traceback" not in done.stderr
    done = shell("$A recommend --help", COLUMNS="20", **environment)
    assert (done.returncode, done.stderr) == (0, "")
