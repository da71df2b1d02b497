"""A disk that takes no more is one line and exit code 2, whatever was to be written."""

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.records.runs import Results
from tests.helpers.records import make

STEPS = ["--max_steps", "2", "--save_steps", "1", "--max_completion_length", "4"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes in the block: what comes is an OSError, as of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def data(write: Any) -> Path:
    rows = [
        {"prompt": f"a {x} {y}", "completion": f" {y} g {x}"}
        for x in "bcdef"
        for y in "abcdefghijklm"
    ]
    path: Path = write("d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return path


def of(command: str, model: Path, data: Path, out: Path) -> list[str]:
    """A command line of each command that writes."""
    pair = [command, str(model), str(data)]
    return {
        "train": [*pair, "--output_dir", str(out), *STEPS[:4]],
        "distill": [*pair, "--teacher", str(model), "--output_dir", str(out), *STEPS],
        "rewrite": [*pair, "-o", str(out / "new.jsonl"), "--marker", "none", "--max_new_tokens", "2",
                    "--answer_regex", "g ([a-f])", "--splitter", "g"],
        "recommend": [*pair, "--temperature", "0", "-o", str(out / "r.json")],
        "validate": [*pair, "--scores", str(out / "scores.csv")],
        "report": [command, str(out), "-o", str(out / "page.html")],
        "confirm": [*pair, "--results", str(out), "--temperature", "0", "--answer_regex", "g ([a-f])",
                    "--max_steps", "2", "--plan", "one", "--limit", "4"],
    }[command]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "room"),
    [
        ("train", 6000),
        ("distill", 6000),
        ("rewrite", 400),
        ("recommend", 400),
        ("validate", 60),
        ("report", 4000),
        ("confirm", 1000),
        ("confirm", 9000),
    ],
)
def test_a_full_disk_is_one_line(
    command: str, room: int, model_folder: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    Results(out).write(make())
    if command == "confirm":
        shutil.rmtree(out)
    words = of(command, model_folder, data, out)
    capsys.readouterr()
    with largest_file(room):
        code = main(words)
    said = capsys.readouterr().err.splitlines()
    assert code == 2 and said[-1].startswith("advisor: error: ")
    assert "File too large" in said[-1] or "is the disk full?" in said[-1]
    assert not any("Traceback" in line for line in said)
