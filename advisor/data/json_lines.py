"""Rows of JSON lines read where they lie: an index of places, and a row when it is asked for.

The index has an entry for every 128 KiB of a file, so that ten million rows take as much memory as ten
thousand. The names of the columns are those of all rows up to 32 MiB, and of evenly spread parts of a larger
file.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advisor.data.data_files import kind_of, line_blocks
from advisor.data.json_rows import as_row, parse_line
from advisor.data.lazy_rows import LazyRows
from advisor.errors import InputError

LOOKED_AT = 256
"""Parts of a file, of `data_files.BLOCK` bytes and the rest of a line, that are parsed when it is opened."""


class JsonLines(LazyRows):
    """The rows of a file with a JSON value on every line; a bare text is a row with the column `text`."""

    def __init__(self, path: Path) -> None:
        """Read the file once; `data_files.check_file` saw that it is UTF-8.

        Raises:
            InputError: Broken JSON, or a row that is no object, in what is looked at.
        """
        self.path = path
        self._mark = _mark(path)
        # Of each part: the place of its first byte, and the numbers of its first row and of its first line.
        self._bytes, self._rows, self._lines = array("q", [0]), array("q", [0]), array("q", [0])
        with path.open("rb") as file:
            for block in line_blocks(file):
                self._bytes.append(self._bytes[-1] + len(block))
                self._rows.append(self._rows[-1] + _filled(block, len(self._rows) - 1))
                self._lines.append(self._lines[-1] + block.count(b"\n"))
        self._held: tuple[int, list[tuple[int, str]]] = (-1, [])
        parts = len(self._rows) - 1
        self._looked_at = range(0, parts, max(1, parts // LOOKED_AT))
        self.looked = sum(self._rows[part + 1] - self._rows[part] for part in self._looked_at)
        """Rows that are looked at."""
        self.columns = self._columns()
        """Names in the order in which they appear in the rows that are looked at."""

    def __len__(self) -> int:
        return self._rows[-1]

    def _row(self, number: int) -> dict[str, Any]:
        part = bisect_right(self._rows, number) - 1
        line, text = self._part(part)[number - self._rows[part]]
        return as_row(parse_line(text, line, self.path), number)

    def sample(self) -> Iterator[dict[str, Any]]:
        """The rows that are looked at: all of a small file."""
        for part in self._looked_at:
            yield from (self[row] for row in range(self._rows[part], self._rows[part + 1]))

    def _columns(self) -> tuple[str, ...]:
        """The names; what is no JSON is refused before what is no row."""
        columns: dict[str, None] = {}
        refused: InputError | None = None
        for part in self._looked_at:
            for row, (number, text) in enumerate(self._part(part), self._rows[part]):
                value = parse_line(text, number, self.path)
                try:
                    columns.update(dict.fromkeys(as_row(value, row)))
                except InputError as error:
                    refused = refused or InputError(f"{self.path.name}, {error}")
        if refused:
            raise refused
        return tuple(columns)

    def _part(self, part: int) -> list[tuple[int, str]]:
        """The lines of one part that hold something, each with its number, counted from 0."""
        if self._held[0] != part:
            first, end = self._bytes[part], self._bytes[part + 1]
            with self.path.open("rb") as file:
                file.seek(first)
                block = file.read(end - first)
            if _mark(self.path) != self._mark:
                raise InputError(f"{self.path} was changed while it was read; start again")
            lines = enumerate(_lines(block, part), self._lines[part])
            self._held = (part, [(number, line) for number, line in lines if line.strip()])
        return self._held[1]


def open_lines(path: Path) -> JsonLines | None:
    """The rows of a file with a JSON value on every line; None for one that holds anything else.

    A packed file has no places to go to, and is None as well.
    """
    if kind_of(path)[1]:
        return None
    with path.open("rb") as file:
        lines = (
            text for part, line in enumerate(file) for text in _lines(line, part) if text.strip()
        )
        first, second = next(lines, ""), next(lines, "")
    if not second or first.lstrip().startswith("["):
        return None
    try:
        parse_line(first, 0, path)
    except InputError:
        return None
    return JsonLines(path)


def _lines(block: bytes, part: int) -> list[str]:
    """The lines of a part of a file; the first part may begin with a byte order mark."""
    return block.decode("utf-8" if part else "utf-8-sig").split("\n")


def _filled(block: bytes, part: int) -> int:
    """Number of lines that hold more than blanks."""
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    if block.count(b"\n{") + block.startswith(b"{") == lines:  # as nearly always
        return lines
    return sum(bool(line.strip()) for line in _lines(block, part))


def _mark(path: Path) -> tuple[int, int]:
    """What tells that a file was written to: its size and when, in nanoseconds."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns
