"""Every command says in one line how many of the rows read are dropped, and why."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main

GOOD = {"prompt": "a b", "completion": " c d"}
ROWS = [
    *[
        {"prompt": f"{one} {other}", "completion": f" {other} d"}
        for one in "abcde" for other in "fghijklm"
    ],
    *[{**GOOD, "label": False}] * 3,
    *[{"prompt": "a b", "completion": ""}] * 2,
    {"prompt": "a b", "completion": ["c", "d"]},
    {"prompt": ["a", {"b": 1}], "completion": "d"},
    {"prompt": "a b", "completion": {"text": 5}},
    {"prompt": "a b", "completion": {"text": 6}},
]  # fmt: skip
"""40 of 49 rows are demonstrations; 4 cannot be read, two of them for the same reason."""
TRAIN = ["--output_dir", "OUT", "--max_steps", "1", "--report_to", "none"]
COMMANDS = {
    "validate": [],
    "recommend": ["--exact"],
    "train": TRAIN,
    "distill": [*TRAIN, "--teacher", "MODEL", "--max_completion_length", "4"],
    "confirm": ["--results", "OUT", "--budget", "0s", "--objectives", "nll", "--seeds", "1"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mixed.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_drops(
    model_folder: Path, data: Path, tmp_path: Path, capsys: Any, command: str
) -> None:
    names = {"OUT": str(tmp_path / "out"), "MODEL": str(model_folder)}
    flags = [names.get(word, word) for word in COMMANDS[command]]
    code = main([command, str(model_folder), str(data), *flags, "--drop_bad_rows"])
    # Eight held-out rows are too few for confirm's verdict at the end, not for what is asked here.
    assert code == 0 or command == "confirm"
    shown = capsys.readouterr()
    said = [
        line for line in (shown.err + shown.out).splitlines() if "rows read are dropped" in line
    ]
    assert len(said) == 1 and "Columns not used" not in shown.err
    assert "mixed.jsonl: 9 of the 49 rows read are dropped: 3 marked label false; " in said[0]
    assert "2 with an empty completion or no assistant turn" in said[0]
    assert re.search(
        r"2 refused: column 'completion' holds \{'text': 5\}.*row 47 is the first", said[0]
    )
    assert "holds 2 answers" in said[0] and "column 'prompt' holds" in said[0]


def test_without_the_flag_the_first_bad_row_is_refused(
    model_folder: Path, data: Path, capsys: Any
) -> None:
    assert main(["validate", str(model_folder), str(data)]) == 2
    assert re.search(r"error: mixed.jsonl, row 45 .*holds 2 answers", capsys.readouterr().err)


def test_the_next_command_keeps_the_flags(model_folder: Path, data: Path, capsys: Any) -> None:
    flags, loading = (
        ["--exact", "--drop_bad_rows", "--json"],
        ["--dtype", "float32", "--device", "cpu"],
    )
    assert main(["recommend", str(model_folder), str(data), *flags, *loading]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert " --dtype float32 --device cpu --drop_bad_rows" in answer["next"]
    assert "--delimiter" not in answer["next"] and "--device_map" not in answer["next"]
    assert any("9 of the 49 rows read are dropped" in note for note in answer["prior"]["notes"])
    assert main(["validate", str(model_folder), str(data), *flags[1:]]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert sum(counts["reasons"].values()) == counts["dropped"] == 9
