"""DataFrames and other objects in memory: the rows of a file with the same content."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer

ROWS = [
    {"question": "q0", "answer": "a0"},
    {"question": "q1", "answer": None},
    {"question": "q2", "answer": "NaN"},
]


def texts(source: Any, **settings: Any) -> list[str]:
    """The targets of every row, without the end."""
    dataset = load_dataset(source, byte_tokenizer(), **settings)
    return ["".join(chr(t) for t in e.labels if 0 <= t < 128) for e in dataset]


def test_sources_in_memory_agree(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    expected = load_dataset(str(path), byte_tokenizer())[:]
    frame = pd.DataFrame(ROWS, index=[7, 7, 1])
    for source in (ROWS, frame, datasets.Dataset.from_list(ROWS)):
        assert load_dataset(source, byte_tokenizer())[:] == expected
    info = load_dataset(frame, byte_tokenizer()).info
    assert info.name == "in memory" and info.columns == ("question", "answer") and not info.notes
    assert info.fingerprint == load_dataset(ROWS, byte_tokenizer()).info.fingerprint
    assert info.fingerprint != load_dataset(frame[::-1], byte_tokenizer()).info.fingerprint


@pytest.mark.parametrize("absent", [None, np.nan, pd.NA, pd.NaT])
def test_empty_cells_are_absent(absent: Any) -> None:
    frame = pd.DataFrame({"question": ["a", "b"], "answer": pd.Series(["c", absent], dtype=object)})
    dataset = load_dataset(frame, byte_tokenizer())
    assert dataset.raw(1) == {"question": "b", "answer": None}
    assert texts(frame) == ["c", ""]


def test_numbers_are_written_as_they_were() -> None:
    frame = pd.DataFrame({"question": ["a", "b", "c"], "answer": [2, 3, None]})
    assert frame["answer"].tolist()[0] == 2.0 and isinstance(frame["answer"].tolist()[0], float)
    assert texts(frame) == ["2", "3", ""]
    assert load_dataset(frame, byte_tokenizer()).info.notes[0] == (
        "Whole numbers beside empty cells are read as such, 2 and not 2.0: answer."
    )
    assert texts(frame.assign(answer=[2.5, 3.0, None])) == ["2.5", "3.0", ""]
    assert texts(frame.assign(answer=[2.0, 3.0, 4.0])) == ["2.0", "3.0", "4.0"]
    assert texts(frame.assign(answer=[2, 3, 4])) == ["2", "3", "4"]
    assert texts(frame.assign(answer=pd.array([2, None, 4], dtype="Int64"))) == ["2", "", "4"]
    assert texts(frame.assign(answer=[True, False, True])) == ["true", "false", "true"]


def test_nested_cells_of_arrow_are_lists_again() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    frame = pd.DataFrame({"messages": [np.array(turns, dtype=object)]})
    assert (
        load_dataset(frame, byte_tokenizer())[:]
        == load_dataset([{"messages": turns}], byte_tokenizer())[:]
    )
    ids = pd.DataFrame({"input_ids": [np.array([1, 2, 3])], "labels": [np.array([-100, 2, 3])]})
    assert load_dataset(ids, byte_tokenizer())[0].labels == [-100, 2, 3]


REFUSED: list[tuple[Any, str]] = [
    (pd.DataFrame(), "the DataFrame is empty"),
    (pd.DataFrame({"text": []}), "the DataFrame is empty"),
    (pd.DataFrame([["a", "b"]]), "not all named by text .*0, 1"),
    (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "several columns of the name 'text'"),
    (pd.Series(["a"]), "DATASET is of type Series: give a path, a hub id"),
    ({"text": ["a"]}, "DATASET is of type dict"),
    (iter(ROWS), "DATASET is of type list_iterator"),
    (
        datasets.IterableDataset.from_generator(lambda: iter(ROWS)),
        "DATASET is of type IterableDataset",
    ),
    (None, "DATASET is of type NoneType"),
]


@pytest.mark.parametrize(("source", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_refused_sources(source: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        load_dataset(source, byte_tokenizer())
    assert "\n" not in str(caught.value)


def test_rows_in_memory_have_no_splits() -> None:
    with pytest.raises(InputError, match=r"no splits; leave out --split test"):
        load_dataset(ROWS, byte_tokenizer(), split="test")


def test_more_rows_are_read_in_the_same_way() -> None:
    rows = [{"a": "q0", "b": "r0"}, {"a": "q1", "b": "r1"}]
    dataset = load_dataset(
        rows, byte_tokenizer(), prompt_field="a", completion_field="b", max_length=9
    )
    part = dataset.read([dataset.raw(1)])
    assert part[0] == dataset[1] and len(part) == part.info.rows == 1
    assert part.info.max_length == 9 and part.info.fingerprint != dataset.info.fingerprint
