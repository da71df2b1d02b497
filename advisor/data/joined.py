"""Rows of several files, one file after the other, each row with the columns of all."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from advisor.data.json_lines import JsonLines
from advisor.data.lazy_rows import LazyRows
from advisor.data.row_groups import ParquetRows

Part = JsonLines | ParquetRows | list[dict[str, Any]]


class Joined(LazyRows):
    """Rows of files; those of JSON lines and parquet are read when they are asked for."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._firsts = [0, *accumulate(map(len, parts))]
        self.columns = tuple({column: None for part in parts for column in _columns(part)})
        """Names in the order in which they appear in what is looked at; a row may have others besides."""
        self.looked = sum(
            part.looked if isinstance(part, JsonLines) else len(part) for part in parts
        )
        """Rows of which the columns are known."""

    def __len__(self) -> int:
        return self._firsts[-1]

    def _row(self, number: int) -> dict[str, Any]:
        part = bisect_right(self._firsts, number) - 1
        return self._filled(self._parts[part][number - self._firsts[part]])

    def sample(self) -> Iterator[dict[str, Any]]:
        """The rows that tell how rows are laid out: all of small files."""
        for part in self._parts:
            yield from map(self._filled, part if isinstance(part, list) else part.sample())

    def expect(self, rows: Iterable[int]) -> None:
        """These rows will be asked for: what reads them dearly one by one reads them together."""
        wanted = sorted(rows)
        for part, first in zip(self._parts, self._firsts, strict=False):
            if isinstance(part, ParquetRows):
                part.expect(row - first for row in wanted if 0 <= row - first < len(part))

    def _filled(self, row: dict[str, Any]) -> dict[str, Any]:
        return {**dict.fromkeys(self.columns), **row}


def _columns(part: Part) -> Iterable[str]:
    return (part[0] if part else ()) if isinstance(part, list) else part.columns
