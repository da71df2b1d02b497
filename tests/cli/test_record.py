"""Where the record of a recommendation goes, and where it must not."""

from pathlib import Path

import pytest

from advisor.errors import InputError
from harness.cli.record import record_path


def test_a_record_is_never_written_over_the_data_or_among_them(tmp_path: Path) -> None:
    """Breaks where `-o` with the name of the dataset replaces its rows by the answer."""
    data = tmp_path / "rows"
    data.mkdir()
    rows = data / "train.json"
    rows.write_text("[]")
    with pytest.raises(InputError, match="is DATASET itself: give another path"):
        record_path(str(rows), str(rows))
    for inside in (data, data / "answer.json"):
        with pytest.raises(InputError, match="lies within DATASET"):
            record_path(str(inside), str(data))
    assert rows.read_text() == "[]" and list(data.iterdir()) == [rows]


def test_a_name_that_no_record_has_is_refused(tmp_path: Path) -> None:
    """Breaks where `plan.htm` becomes a folder with a record in it."""
    with pytest.raises(
        InputError, match=r"no record ends in \.htm: give a name that ends in .json or .html"
    ):
        record_path(str(tmp_path / "plan.htm"), None)
    (tmp_path / "run.txt").mkdir()
    assert record_path(str(tmp_path / "run.txt"), None).parent == tmp_path / "run.txt"
    assert record_path(str(tmp_path / "v0.2"), None).parent == tmp_path / "v0.2"
    assert record_path(str(tmp_path / "a.json"), "org/rows") == tmp_path / "a.json"
