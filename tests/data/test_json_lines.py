"""JSON lines that are read where they lie: the same rows as parsed at once, in little memory."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from advisor.data import data_files, json_lines
from advisor.data.dataset import load_dataset
from advisor.data.json_lines import JsonLines, open_lines
from advisor.data.json_rows import read_json, table
from advisor.data.sources import load_rows
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer

ODD = [
    "\ufeff", "{\"a\": 1}\r", " ", "\u00a0", '{"b": "\u2028", "a": "x\u0085y"}', "\x1c", "", '"only text"',
    '  {"c": [1, {"a": 2}]}\t', '{"a": "' + "long " * 100 + '"}', '{"text": null}',
]  # fmt: skip
"""Lines as they come, some without a row; the first begins with a byte order mark."""


@pytest.mark.parametrize("block", [1, 64, data_files.BLOCK])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_rows_are_those_of_a_file_that_is_parsed_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, block: int, end: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(("\n".join(ODD) + end).encode())
    whole = table(read_json(path)[0][""], path.name)
    monkeypatch.setattr(data_files, "BLOCK", block)
    rows = load_rows(path, None, None).rows
    assert len(rows) == len(whole)
    assert [list(row.items()) for row in rows] == [list(row.items()) for row in whole]
    assert [rows[i] for i in (4, 0, 3, -1)] == [whole[i] for i in (4, 0, 3, -1)]


@pytest.mark.parametrize(
    "text", ["", "null", "[1]\n[2]", '{\n"a": 1}', '{"a": 1}', '{"a":\n1}\n{"a": 2}', "x\ny"]
)
def test_other_json_is_not_read_by_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert open_lines(tmp_path / "x.json") is None


def large(monkeypatch: pytest.MonkeyPatch, path: Path, lines: list[str]) -> JsonLines:
    """A file of so many parts that not all of them are looked at."""
    monkeypatch.setattr(data_files, "BLOCK", 1)
    monkeypatch.setattr(json_lines, "LOOKED_AT", 4)
    path.write_text("\n".join(lines))
    found = open_lines(path)
    assert found is not None
    return found


def test_of_a_large_file_only_evenly_spread_parts_are_parsed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = [json.dumps({"question": str(i), "answer": "a"}) for i in range(40)]
    lines[7], lines[8] = '{"question": ', "[]"
    lines[9] = '{"question": "q", "answer": "a", "system": "s"}'
    path = tmp_path / "x.jsonl"
    rows = large(monkeypatch, path, lines)
    assert (len(rows), rows.looked, rows.columns) == (40, 4, ("question", "answer"))
    assert [row["question"] for row in rows.sample()] == ["0", "10", "20", "30"]
    dataset = load_dataset(str(path), byte_tokenizer())
    assert "columns are those of 4 of its 40 rows" in " ".join(dataset.notes)
    assert "\n".join(lines).encode() == path.read_bytes()  # its fingerprint is of these bytes
    assert dataset.info.fingerprint == data_files.fingerprint(path)
    assert dataset.raw(9) == {"question": "q", "answer": "a", "system": "s"}
    for row, reason in (
        (7, r"x.jsonl, broken JSON on line 8 of"),
        (8, r"x.jsonl, row 8 .*not an object"),
    ):
        with pytest.raises(InputError, match=reason):
            dataset.tokenize([row])
    dataset.tokenize([6, 9])


def test_a_file_that_is_written_to_meanwhile_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = large(monkeypatch, tmp_path / "x.jsonl", ['{"text": "a"}'] * 9)
    with (tmp_path / "x.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match="was changed while it was read"):
        rows[5]


def peak(path: Path, rows: int) -> float:
    """MiB of Python's objects while a file of so many rows is opened and some of it is read."""
    with path.open("w") as file:
        file.writelines(json.dumps({"text": f"{i} " + "word " * 20}) + "\n" for i in range(rows))
    tracemalloc.start()
    found: Any = open_lines(path)
    assert len(found) == rows and found[rows - 1]["text"].startswith(f"{rows - 1} ")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    assert peak(tmp_path / "x.jsonl", 40_000) < 1.1 * peak(tmp_path / "y.jsonl", 4_000) < 2
