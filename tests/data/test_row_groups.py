"""Parquet that is read where it lies: the same rows as datasets gives, in any order."""

import datetime
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advisor.data import row_groups
from advisor.data.dataset import load_dataset
from advisor.data.row_groups import ParquetRows
from advisor.data.sources import load_rows
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer

ROWS: list[dict[str, Any]] = [
    {
        "messages": [{"role": "user", "content": f"q{i}"},
                     {"role": "assistant", "content": [None, "a"][i % 2]}],
        "kind": i % 2, "when": datetime.datetime(2026, 1, 1 + i), "score": float("inf") if i else None,
        "tags": {"x": [i], "y": []},
    }
    for i in range(20)
]  # fmt: skip


@pytest.mark.parametrize("batch", [1, 200, 2**21])
@pytest.mark.parametrize("group", [1, 7, 20])
def test_rows_are_those_of_datasets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, batch: int, group: int
) -> None:
    table = datasets.Dataset.from_list(ROWS).cast_column(
        "kind", datasets.ClassLabel(names=["a", "b"])
    )
    table.to_parquet(tmp_path / "x.parquet", batch_size=group)
    monkeypatch.setattr(row_groups, "BATCH_BYTES", batch)
    rows = ParquetRows(tmp_path / "x.parquet")
    assert list(rows) == list(table)
    order = [5, 4, 19, 0, 6, 6, 13]
    assert [rows[i] for i in order] == [table[i] for i in order]
    rows.expect(order)
    assert [rows[i] for i in (*order, 7)] == [table[i] for i in (*order, 7)]
    assert next(rows.sample()) == table[0]


def test_a_damaged_page_is_a_refusal_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    rows = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(300)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100, compression="gzip")
    start = pq.read_metadata(path).row_group(1).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    dataset = load_dataset(str(path), byte_tokenizer())
    assert dataset[99].target_tokens
    with pytest.raises(
        InputError, match=r"x\.parquet cannot be read as parquet \(.*write it again"
    ):
        dataset[100]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="several columns of the name 'text'"):
        ParquetRows(tmp_path / "x.parquet")


def test_files_of_a_folder_are_joined(tmp_path: Path) -> None:
    for name, rows in (("a", [{"text": "1"}, {"text": "2"}]), ("b", [{"text": "3", "more": 4}])):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    found = load_rows(tmp_path, None, None)
    assert found.columns == ("text", "more")
    assert [list(row.values()) for row in found.rows] == [["1", None], ["2", None], ["3", 4]]
    with pytest.raises(IndexError):
        found.rows[3]
