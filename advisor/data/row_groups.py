"""Rows of a parquet file read where they lie: a batch of a row group, and a row when it is asked for."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.table import table_cast

from advisor.data.lazy_rows import LazyRows
from advisor.errors import InputError

BATCH_BYTES = 2**21
"""Of decoded rows that are held, about."""
LOOKED_AT = 64
"""Row groups of which the first batch is looked at."""


class ParquetRows(LazyRows):
    """The rows of a parquet file, as `datasets` gives them, with a batch of them in memory.

    Within a row group parquet is read from its beginning, so that rows in any order are dear where groups are
    large: `expect` says beforehand which will be asked for.
    """

    def __init__(self, path: Path) -> None:
        """Read the footer.

        Raises:
            InputError: It is no parquet file, or holds what is no data of rows.
        """
        self.path = path
        with self._readable():
            self._file = pq.ParquetFile(path, buffer_size=BATCH_BYTES // 4)
            self._features = datasets.Features.from_arrow_schema(self._file.schema_arrow)
            self._cast = self._features.arrow_schema
        self.columns = tuple(self._file.schema_arrow.names)
        if twice := [name for name in self.columns if self.columns.count(name) > 1]:
            raise InputError(f"{path} has several columns of the name {twice[0]!r}; rename them")
        footer = self._file.metadata
        groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
        self._firsts: list[int] = [0, *accumulate(group.num_rows for group in groups)]
        size = sum(group.total_byte_size for group in groups) // max(1, len(self))
        self._batch_rows = min(max(BATCH_BYTES // max(1, size), 1), 2**12)
        self._group = -1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._held, self._start, self._end = pa.table({}), 0, 0
        self._kept: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return self._firsts[-1]

    def _row(self, number: int) -> dict[str, Any]:
        return self._kept[number] if number in self._kept else self._read(number)

    def expect(self, rows: Iterable[int]) -> None:
        """Read these rows in one go from the beginning to the end, and keep them."""
        self._kept = {row: self._read(row) for row in sorted(rows)}

    def sample(self) -> Iterator[dict[str, Any]]:
        """The first batch of row groups that are evenly spread."""
        groups = len(self._firsts) - 1
        for group in range(0, groups, max(1, groups // LOOKED_AT)):
            first, end = self._firsts[group], self._firsts[group + 1]
            yield from (self[row] for row in range(first, min(end, first + self._batch_rows)))

    def _read(self, row: int) -> dict[str, Any]:
        with self._readable():
            if not self._start <= row < self._end:
                self._go_to(row)
            found = self._held.slice(row - self._start, 1).to_pylist()[0]
            return dict(self._features.decode_example(found))

    def _go_to(self, row: int) -> None:
        """Hold the batch that a row is in: a later one of the same row group, or from its beginning."""
        group = bisect_right(self._firsts, row) - 1
        if group != self._group or row < self._start:
            self._group, self._end = group, self._firsts[group]
            self._batches = self._file.iter_batches(self._batch_rows, row_groups=[group])
        while self._end <= row:
            batch = next(self._batches)
            self._start, self._end = self._end, self._end + batch.num_rows
        self._held = table_cast(pa.Table.from_batches([batch]), self._cast)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """What Arrow and datasets raise, as a refusal."""
        try:
            yield
        except (
            Exception
        ) as error:  # Arrow's own kinds, OSError, ValueError, a type that is not known
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"{self.path} cannot be read as parquet ({reason}); write it again"
            ) from error
