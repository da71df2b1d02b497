"""Sources: every kind of file, splits, text left as it stands, and one clear line for bad ones."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import datasets
import pytest

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from advisor.model.load import load_tokenizer
from tests.helpers.byte_tokens import byte_tokenizer, marked_text

ROWS = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(1000)]
LINES = [json.dumps(row) for row in ROWS]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def source_file(folder: Path, kind: str) -> Path:
    table = datasets.Dataset.from_list(ROWS[:5])
    path = folder / f"data.{kind}"
    if kind == "json":
        path.write_text(json.dumps(ROWS[:5]))
    elif kind == "jsonl":
        write(path, ROWS[:5])
    elif kind == "parquet":
        table.to_parquet(path)
    elif kind in ("csv", "tsv"):
        table.to_csv(path, sep="," if kind == "csv" else "\t")
    else:
        table.save_to_disk(folder / "saved")
        path = folder / "saved" if kind == "folder" else next((folder / "saved").glob("*.arrow"))
    return path


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "tsv", "parquet", "arrow", "folder"])
def test_sources_agree_with_rows_in_memory(tmp_path: Path, kind: str) -> None:
    dataset = load_dataset(str(source_file(tmp_path, kind)), byte_tokenizer())
    assert dataset[:] == load_dataset(ROWS[:5], byte_tokenizer())[:]
    assert dataset.info.split is None and dataset.info.rows == 5


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_numbers_of_json_stay_as_they_are_written(tmp_path: Path, kind: str) -> None:
    """Breaks where a price of 2.50 is trained as 2.5; rows are split and sent on to other processes."""
    numbers = ["2.50", "1e3", "1.0", "-0.0", "0.10000000000000000001", "7", "true"]
    rows = [f'{{"question": {number}, "answer": {number}, "weight": 1.50}}' for number in numbers]
    path = tmp_path / f"n.{kind}"
    path.write_text("\n".join(rows) if kind == "jsonl" else f"[{', '.join(rows)}]")
    dataset = load_dataset(path, byte_tokenizer())
    parts = [dataset.raw(row) for row in range(len(dataset))]
    for one in (dataset, dataset.read(pickle.loads(pickle.dumps(copy.deepcopy(parts))))):
        shown = [marked_text(row.input_ids, row.labels) for row in one]
        assert shown == [f"{number}\n«{number}</s>»" for number in numbers]
        assert {weight for row in one for weight in row.target_weights} == {1.5}


def test_splits(tmp_path: Path) -> None:
    write(tmp_path / "d" / "train.jsonl", ROWS[:3])
    write(tmp_path / "d" / "test.jsonl", ROWS[3:5])
    (tmp_path / "d" / "README.md").write_text("not data")
    tokenizer = byte_tokenizer()
    assert len(load_dataset(str(tmp_path / "d"), tokenizer, split="test")) == 2
    for split, reason in ((None, "splits test, train.*--split"), ("tets", "did you mean test")):
        with pytest.raises(InputError, match=reason):
            load_dataset(str(tmp_path / "d"), tokenizer, split=split)
    both = datasets.DatasetDict(
        a=datasets.Dataset.from_list(ROWS[:2]), b=datasets.Dataset.from_list(ROWS)
    )
    assert len(load_dataset(both, tokenizer, split="a")) == 2
    with pytest.raises(InputError, match="splits a, b"):
        load_dataset(both, tokenizer)


def test_byte_order_mark_na_and_one_row(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_bytes("\ufeffquestion,answer\nwhich,NA\n".encode())
    dataset = load_dataset(str(path), byte_tokenizer())
    assert marked_text(dataset[0].input_ids, dataset[0].labels) == "which\n«NA</s>»"


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    prints = [
        load_dataset(str(write(tmp_path / name, rows)), byte_tokenizer()).info.fingerprint
        for name, rows in (("a.jsonl", ROWS[:2]), ("b.jsonl", ROWS[:2]), ("c.jsonl", ROWS[:3]))
    ]
    assert prints[0] == prints[1] != prints[2]
    in_memory = [load_dataset(r, byte_tokenizer()).info.fingerprint for r in (ROWS[:2], ROWS[:3])]
    assert in_memory[0] != in_memory[1]


BROKEN = [*LINES[:811], '{"question": "x", "answer": ', *LINES[812:]]
BAD_FILES = [
    ("b.jsonl", "\n".join(BROKEN).encode(), "broken JSON on line 812 of .*b.jsonl"),
    ("b.json", b"[\n" + ",\n".join(BROKEN).encode() + b"]", "broken JSON on line 813"),
    ("cut.jsonl", "\n".join(LINES)[:-5].encode(), "broken JSON on line 1000"),
    ("e.jsonl", b"", "is empty"),
    ("blank.csv", b"\n \n", "is empty"),
    ("none.json", b"[]", "has no rows"),
    ("null.json", b"null", "has no rows"),
    ("null.jsonl", b" null \n", "has no rows"),
    ("row.jsonl", b'{"text": "a"}\nnull\n', r"row.jsonl, row 1 .*not an object"),
    ("pretty.json", b'{\n "text" "a"}', "broken JSON on line 1"),
    ("twice.csv", b"text,text\na,b\n", "one name twice"),
    ("long.csv", b"question,answer\na,b,c\n", "2 column names .* for 3 cells"),
    ("quote.csv", b'question,answer\na,"b\n', "cannot be read as csv"),
    ("head.csv", b"question,answer\n", "has no rows"),
    ("l.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}', "byte 0xe9 on line 2, column 11.*iconv -f latin1"),
    ("l.csv", b"question,answer\ncaf\xe9,b\n", "not UTF-8.*line 2"),
    ("u.csv", "question,answer\na,b\n".encode("utf-16"), "iconv -f utf-16"),
    ("x.pkl", b"\x80\x04.", "unknown file type .pkl"),
    ("x.parquet", b"hello", "cannot be read as parquet"),
    (
        "n.json",
        b'{"version": 1, "list": [{"question": "q", "answer": "a"}]}',
        "write them by themselves, e.g. jq",
    ),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD_FILES)
def test_bad_files(tmp_path: Path, capfd: Any, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        load_dataset(str(tmp_path / name), byte_tokenizer())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_bad_places(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", ROWS[:2])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").write_text("x")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.csv").write_text("question,answer\na,b\n")
    write(tmp_path / "mixed" / "b.jsonl", ROWS[:2])
    for name, reason in (
        ("trian.jsonl", r"did you mean .*train\.jsonl\?"),
        ("empty", "no data file"),
        ("mixed", "mixes .csv, .jsonl"),
        ("none/x.json", "nor a folder"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(InputError, match=reason):
            load_dataset(str(tmp_path / name), byte_tokenizer())
    with pytest.raises(InputError, match=r"cannot be read from the hub.*Offline"):
        load_dataset("no-such-owner/no-such-set", byte_tokenizer())
    with pytest.raises(InputError, match="one file without splits"):
        load_dataset(str(tmp_path / "train.jsonl"), byte_tokenizer(), split="test")


def test_bad_rows_in_memory() -> None:
    for rows, reason in (
        ([], "empty list"),
        ([1, 2], "row 0 .*not an object"),
        ([{"text": "a"}, {1: "b"}], "row 1 .*not an object"),
        ([{"text": "a"}, {"text": {"b": 1}}], "in memory, row 1 .*column 'text' holds"),
    ):
        with pytest.raises(InputError, match=reason):
            load_dataset(rows, byte_tokenizer()).tokenize([0, 1])


def answers(path: Path) -> list[str]:
    """What is trained on, without the end."""
    dataset = load_dataset(str(path), byte_tokenizer())
    return ["".join(chr(t) for t in e.labels if 0 <= t < 128) for e in dataset]


AS_WRITTEN = ["2021-03-04", "2021-03-04T10:00:00", "2", "0.5", "true", ""]


def test_json_values_stay_as_written(tmp_path: Path) -> None:
    """datasets makes timestamps of a column of dates and 2.0 of a 2 beside a 0.5."""
    values = ['"2021-03-04"', '"2021-03-04T10:00:00"', "2", "0.5", "true", "NaN"]
    path = tmp_path / "v.jsonl"
    path.write_text("\n".join(f'{{"question": "q", "answer": {value}}}' for value in values))
    assert answers(path) == AS_WRITTEN
    dates = write(tmp_path / "d.jsonl", [{"question": "q", "answer": "2021-03-04"}] * 2)
    assert answers(dates) == AS_WRITTEN[:1] * 2
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": AS_WRITTEN[1]}]
    assert answers(write(tmp_path / "m.jsonl", [{"messages": turns}] * 2)) == AS_WRITTEN[1:2] * 2


def test_csv_cells_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("question,answer\na,02\nb,3.50\nc,2021-03-04\nd\n")
    assert answers(tmp_path / "n.csv") == ["02", "3.50", "2021-03-04", ""]


def test_nan_in_parquet_is_no_target(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"question": ["a", "b"], "answer": [1.5, float("nan")]})
    table.to_parquet(tmp_path / "x.parquet")
    assert answers(tmp_path / "x.parquet") == ["1.5", ""]


def test_one_object_over_several_lines_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(ROWS[0], indent=1))
    assert answers(tmp_path / "p.json") == ["a0"]


def test_a_silent_hub_is_not_asked_again(monkeypatch: Any, capfd: Any) -> None:
    """Each retry of huggingface_hub would sleep, and say so on stderr."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"sleeps {seconds} s"))
    with pytest.raises(InputError, match="cannot be read from the hub"):
        load_dataset("nobody/no-such-set", byte_tokenizer())
    with pytest.raises(InputError, match="the hub is out of reach"):
        load_tokenizer("nobody/no-such-model")
    assert capfd.readouterr() == ("", "")
