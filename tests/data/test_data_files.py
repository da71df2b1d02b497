"""Files as people have them: read as they are meant, with a note, or named for what they are."""

import bz2
import gzip
import json
import lzma
import sys
from pathlib import Path
from typing import Any

import pytest

from advisor.data.data_files import data_files_of
from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer, marked_text

ROWS = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(3)]
SHOWN = [f"q{i}\n«a{i}</s>»" for i in range(3)]
LINES = "\n".join(json.dumps(row) for row in ROWS)
TABLE = "question,answer\n" + "".join(f"q{i},a{i}\n" for i in range(3))


def opened(path: Path, content: str | bytes, **settings: Any) -> SFTDataset:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_dataset(str(path), byte_tokenizer(), **settings)


def shown(dataset: SFTDataset) -> list[str]:
    return [marked_text(e.input_ids, e.labels) for e in dataset]


def refused(path: Path, content: str | bytes, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        opened(path, content, **settings)[0]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_column_without_a_name_is_not_used(tmp_path: Path) -> None:
    """The case pandas-index.csv: `DataFrame.to_csv` writes its index first; it was "cannot be read"."""
    data = opened(tmp_path / "p.csv", ",prompt,completion\n0,Say red.,red\n1,Say blue.,blue\n")
    assert shown(data) == ["Say red.«red</s>»", "Say blue.«blue</s>»"]
    assert "Columns not used: (unnamed 1)." in data.info.notes
    # Excel keeps empty columns behind the last one.
    assert shown(opened(tmp_path / "e.csv", "question,answer,,\nq0,a0,,\n")) == SHOWN[:1]


def test_semicolons_with_a_byte_order_mark(tmp_path: Path) -> None:
    """The case excel-semicolons.csv; the separator in a cell is no separator."""
    text = '\ufeffQuestion;Answer\r\n"What is 2+2?";"4"\r\n"Name a colour; any";"red"\r\n'
    fields = {"prompt_field": "Question", "completion_field": "Answer"}
    data = opened(tmp_path / "e.csv", text, **fields)
    assert shown(data) == ["What is 2+2?\n«4</s>»", "Name a colour; any\n«red</s>»"]
    assert data.info.notes[0].startswith("The separator of e.csv is ';'")
    assert "columns are Question;Answer" in refused(
        tmp_path / "c.csv", text, **fields, delimiter=","
    )


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_separators_are_found_and_said(tmp_path: Path, separator: str, suffix: str) -> None:
    table = TABLE.replace(",", separator)
    for text in (table, "\ufeff" + table, f"sep={separator}\n{table}"):
        data = opened(tmp_path / f"t.{suffix}", text)
        assert shown(data) == SHOWN
        usual = (suffix, separator) in (("csv", ","), ("tsv", "\t"))
        assert any("separator" in note for note in data.info.notes) is not usual


def test_a_separator_that_cannot_be_told(tmp_path: Path) -> None:
    table = TABLE.replace(",", "^")
    assert shown(opened(tmp_path / "d.csv", table, delimiter="^")) == SHOWN
    assert "give one character" in refused(tmp_path / "d.csv", table, delimiter="^^")
    assert "no csv or tsv file" in refused(tmp_path / "d.jsonl", LINES, delimiter=",")
    tabs = TABLE.replace(",", "\t")
    assert shown(opened(tmp_path / "d.csv", tabs, delimiter="tab")) == SHOWN
    # One column of text with commas and semicolons in it stays one column.
    assert shown(opened(tmp_path / "t.csv", 'text\n"a;b"\n"c, d"\n')) == ["«a;b</s>»", "«c, d</s>»"]


PACKED = [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]


@pytest.mark.parametrize(("suffix", "pack"), PACKED)
@pytest.mark.parametrize(
    ("kind", "text"), [("jsonl", LINES), ("csv", TABLE), ("json", json.dumps(ROWS))]
)
def test_compressed_files(tmp_path: Path, suffix: str, pack: Any, kind: str, text: str) -> None:
    assert shown(opened(tmp_path / f"d.{kind}.{suffix}", pack(text.encode()))) == SHOWN


def test_damaged_and_unreadable_compressed_files(tmp_path: Path, monkeypatch: Any) -> None:
    packed = gzip.compress(LINES.encode() * 50)
    assert "cannot be read as gzip" in refused(tmp_path / "cut.jsonl.gz", packed[:-20])
    assert "cannot be read as gzip" in refused(tmp_path / "no.jsonl.gz", LINES)
    assert "unpack this parquet" in refused(tmp_path / "d.parquet.gz", packed)
    assert "line 1, column" in refused(tmp_path / "l.csv.gz", gzip.compress(b"caf\xe9,b\n"))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    reason = refused(tmp_path / "d.jsonl.zst", b"\x28\xb5\x2f\xfd")
    assert "pip install zstandard" in reason and "unzstd d.jsonl.zst" in reason


def test_zstd(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed")
    packed = zstandard.ZstdCompressor().compress(LINES.encode())
    assert shown(opened(tmp_path / "d.jsonl.zst", packed)) == SHOWN
    assert shown(
        opened(tmp_path / "t.csv.zst", zstandard.ZstdCompressor().compress(TABLE.encode()))
    )
    twice = zstandard.ZstdCompressor().compress(b"\n" + LINES.encode())
    assert shown(opened(tmp_path / "f.jsonl.zst", packed + twice)) == SHOWN * 2
    for broken in (packed[:-1], packed[:-20], b"xxxx" + packed):
        assert "cannot be read as zstd" in refused(tmp_path / "c.jsonl.zst", broken)


COLUMNS = {key: [row[key] for row in ROWS] for key in ROWS[0]}
SHAPES = [
    COLUMNS,
    {"data": ROWS},
    {"version": "1.0", "data": ROWS},
    {"train": ROWS},
    {"data": COLUMNS},
    {"data": {"train": ROWS}},
    {key: {str(i): v for i, v in enumerate(values)} for key, values in COLUMNS.items()},
    {str(i): row for i, row in enumerate(ROWS)},
    {"columns": list(COLUMNS), "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_one_json_value(tmp_path: Path, shape: Any) -> None:
    """Columns were joined to one row of nonsense; wrapped rows were refused."""
    data = opened(tmp_path / "s.json", json.dumps(shape))
    assert shown(data) == SHOWN
    assert any("s.json" in note for note in data.info.notes)


ONE_ROW = [
    ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "q\n«a</s>»"),
    ({"conversation": [{"human": "q", "assistant": "a"}]}, "q\n«a</s>»"),
    (
        {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]},
        "q\n«a</s>»",
    ),
    ({"input_ids": [97, 98], "labels": [-100, 98]}, "a«b»"),
    ({"question": "q", "answer": ["a"]}, "q\n«a</s>»"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "text"), ONE_ROW)
def test_one_row_of_lists_is_no_columns(tmp_path: Path, row: Any, text: str) -> None:
    assert shown(opened(tmp_path / "r.json", json.dumps(row))) == [text]


def test_columns_of_conversations_and_of_token_ids(tmp_path: Path) -> None:
    talk = ONE_ROW[0][0]["messages"]
    assert (
        shown(opened(tmp_path / "c.json", json.dumps({"messages": [talk, talk]})))
        == ["q\n«a</s>»"] * 2
    )
    ids = {"input_ids": [[97, 98], [99]], "labels": [[-100, 98], [99]]}
    assert shown(opened(tmp_path / "i.json", json.dumps(ids))) == ["a«b»", "«c»"]
    uneven = json.dumps({"prompt": ["a", "b"], "completion": ["c"]})
    assert "different lengths (prompt 2, completion 1)" in refused(tmp_path / "u.json", uneven)


def test_splits_in_one_file(tmp_path: Path) -> None:
    both = json.dumps({"train": ROWS[:2], "test": ROWS[2:]})
    assert "choose one with --split" in refused(tmp_path / "b.json", both)
    data = opened(tmp_path / "b.json", both, split="test")
    assert shown(data) == SHOWN[2:] and data.info.split == "test"


LISTING = {
    "alpaca_demo": {"file_name": "alpaca_demo.json"},
    "ours": {"hf_hub_url": "someone/ours", "formatting": "sharegpt"},
}
NAMED = [
    ("d.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4166206\n",
     "Git LFS's pointer to one of 4,166,206 bytes: fetch it with git lfs pull"),
    ("d.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ("dataset_info.json", json.dumps(LISTING).encode(),
     "LLaMA-Factory's list of datasets, not data; name one of them as DATASET: alpaca_demo "
     "(alpaca_demo.json), ours (someone/ours)"),
    ("d.xlsx", b"PK", "a spreadsheet; save it as csv"),
    ("d.zip", b"PK", "an archive; unpack it"),
    ("model.safetensors", b"x", "weights of a model, not a dataset"),
    ("d.jsonl", b'{"data": {"question": "q", "answer": "a"}}\n' * 2, "jq -c .data FILE"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "reason"), NAMED)
def test_files_that_are_something_else(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    assert reason in refused(tmp_path / name, content)


def test_folders_that_are_something_else(tmp_path: Path, model_folder: Path) -> None:
    adapter, listing = tmp_path / "adapter", tmp_path / "listing"
    for folder in (adapter, listing):
        folder.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (listing / "dataset_info.json").write_text(json.dumps(LISTING))
    (listing / "alpaca_demo.json").write_text(json.dumps(ROWS))
    for folder, reason in (
        (adapter, "is an adapter, not a dataset"),
        (model_folder, "is a model, not a dataset"),
        (listing, r"LLaMA-Factory's list of datasets"),
    ):
        with pytest.raises(InputError, match=reason):
            load_dataset(str(folder), byte_tokenizer())
    assert shown(load_dataset(str(listing / "alpaca_demo.json"), byte_tokenizer())) == SHOWN


def test_hidden_files_and_folders_are_no_data(tmp_path: Path) -> None:
    """Breaks where a notebook's copy of the rows doubles them."""
    line = '{"prompt": "a", "completion": "b"}\n'
    folder = tmp_path / ".cache" / "data"
    copies = (".ipynb_checkpoints/train-checkpoint.jsonl", "__MACOSX/train.jsonl", "._train.jsonl")
    for name in ("train.jsonl", *copies):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(line)
    assert data_files_of(folder) == [folder / "train.jsonl"]
    assert len(load_dataset(folder, byte_tokenizer())) == 1


def test_ids_beyond_int64_are_one_line(tmp_path: Path) -> None:
    """The case ids-beyond-int64: `validate` ended in a traceback."""
    row = {"input_ids": [5, 6, 2**63], "labels": [-100, 6, 2**63]}
    reason = refused(tmp_path / "i.jsonl", "\n".join([json.dumps(row)] * 3))
    assert reason.startswith("i.jsonl, row 0 (counted from 0): input_ids[2] is 9223372036854775808")


def test_quotes_behind_backslashes_are_refused(tmp_path: Path) -> None:
    r"""Spark's \" ended the cell: words were lost. A backslash at a cell's end is none."""
    path, head = tmp_path / "rows.csv", "question,answer\n"
    bad = refused(path, head + '"two\nlines","he said \\"hi\\", no"\n')
    assert 'rows.csv, line 3: a quote within a cell is written \\"' in bad
    fine = head + '"C:\\dir\\",b\n"[{""a"": ""x \\""y\\"" z""}]",c\nsay \\"hi\\",d\n'
    assert shown(opened(path, fine)) == [
        "C:\\dir\\\n«b</s>»", '[{"a": "x \\"y\\" z"}]\n«c</s>»', 'say \\"hi\\"\n«d</s>»',
    ]  # fmt: skip


def test_one_key_twice_is_refused(tmp_path: Path) -> None:
    """The json module keeps the last value."""
    row = '{"question": "q", "answer": "a"}\n'
    twice = row.replace("}", ', "answer": "b"}')
    assert refused(tmp_path / "a.jsonl", row + twice).startswith("line 2 of ")
    for name, content in (("a.json", f"[{twice}]"), ("b.jsonl", twice)):
        assert "an object holds the key 'answer' twice" in refused(tmp_path / name, content)


def test_rows_under_rows_are_found_at_any_depth(tmp_path: Path) -> None:
    """SQuAD's lie under .data[].paragraphs[]."""
    found = {"version": "2", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": []}]}]}
    remedy = "jq -c '.. | .paragraphs? // empty | .[]' FILE > rows.jsonl"
    assert remedy in refused(tmp_path / "a.json", json.dumps(found))


def test_one_row_with_a_column_called_examples(tmp_path: Path) -> None:
    row = {"instruction": "i", "output": "o", "examples": [{"input": "x", "output": "y"}]}
    assert shown(opened(tmp_path / "a.jsonl", json.dumps(row) + "\n")) == ["i\n«o</s>»"]


def test_files_that_are_not_what_their_names_say(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"question": "q", "answer": "a"}\n')
    assert "is packed with gzip, by its first bytes; name it a.jsonl.gz" in refused(
        tmp_path / "a.jsonl", packed
    )
    assert refused(tmp_path / "a.json", "{}") == "a.json has no rows"
    ragged = refused(tmp_path / "a.csv", "question,answer\na,b\nc,d,e\n")
    assert "line 3" in ragged and ragged.endswith("or give the separator with --delimiter")
