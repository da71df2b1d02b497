"""How kills are counted: what was begun again, what was repeated, what is lost and left over."""

from pathlib import Path

import pytest

from harness.experiments.calibration.ledger import append_line
from harness.experiments.kills.came import Came
from harness.experiments.kills.journal import note, read
from harness.experiments.kills.ledger import read as lines_of
from harness.experiments.kills.works import differing, outcome, without_times


@pytest.mark.parametrize(
    ("lines", "kills", "in_hand", "repeated"),
    [
        (["begin a", "kept a", "begin b", "kill", "begin b", "kept b"], 1, 1, 0),
        (["begin a", "kept a", "kill", "begin a", "kept a"], 1, 1, 1),
        (["begin a", "begin b", "kill", "begin a", "begin b", "kept a", "kept b"], 1, 2, 1),
        (["kill", "begin a", "kill", "kill", "begin a", "kept a"], 3, 1, 0),
        (["begin a 0.5", "kept a 0.5", "kill", "begin a 1", "kept a 1"], 1, 0, 0),
        (["step 0", "step 1", "saved 2", "step 2", "step 3", "kill", "step 2", "step 3"], 1, 1, 0),
        (["step 0", "step 1", "saved 2", "step 2", "kill", "step 0", "step 1"], 1, 1, 2),
        (["step 0", "saved 1", "kill", "step 1"], 1, 0, 0),
        (["step 0", "kill", "step 0", "step 1", "kill", "step 0"], 2, 2, 0),
    ],
)
def test_a_journal_tells_what_was_made_again(
    lines: list[str], kills: int, in_hand: int, repeated: int, tmp_path: Path
) -> None:
    for line in lines:
        note(tmp_path / "journal", line)
    told = read(tmp_path / "journal")
    assert (told.kills, told.in_hand, told.repeated) == (kills, in_hand, repeated)


def test_outcomes_are_compared_without_times(tmp_path: Path) -> None:
    for name, seconds in (("a", 1), ("b", 2)):
        (tmp_path / name / "runs").mkdir(parents=True)
        text = f'{{"seconds": {seconds}, "score": 3, "curve": [{{"seconds": {seconds}}}]}}'
        (tmp_path / name / "runs" / "r.json").write_text(text)
        (tmp_path / name / "w.safetensors").write_bytes(b"w")
        (tmp_path / name / "other").write_text(name)
    whole = outcome(tmp_path / "a")
    assert whole == outcome(tmp_path / "b") and whole["runs/r.json"] == {"score": 3, "curve": [{}]}
    (tmp_path / "b" / "w.safetensors").write_bytes(b"v")
    (tmp_path / "b" / ".r.json.part").touch()
    (tmp_path / "b" / "other").unlink()
    found = differing(outcome(tmp_path / "b"), whole)
    assert found == (["other", "w.safetensors"], [".r.json.part"])
    assert without_times([{"at": 1, "x": {"seconds": 2}}]) == [{"x": {}}]


def test_a_ledger_is_read_back_and_a_torn_line_passed_over(tmp_path: Path) -> None:
    came = Came(
        place="p", number=0, kills=4, lost=("a",), repeated=0, in_hand=3, left=(), seconds=1.5
    )
    path = tmp_path / "ledger.jsonl"
    append_line(path, came.line())
    with path.open("a") as file:
        file.write('{"place": "q", "num')
    assert lines_of(path) == [came] and lines_of(tmp_path / "none.jsonl") == []
