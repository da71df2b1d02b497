"""Tables as text: the separator, the names of the columns, and what stands before them."""

import csv
import io
import re
from pathlib import Path

from advisor.data.data_files import kind_of, opened
from advisor.errors import InputError

SEPARATORS = (",", ";", "\t", "|")
SAMPLE = 50  # rows from which the separator is told
SAMPLE_BYTES = 2**20
EXCEL = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


def csv_layout(path: Path, delimiter: str | None) -> tuple[str, list[str], int]:
    """The separator of a table, the names of its columns, and the lines before them.

    The separator is the one asked for; else that of the file's kind, unless the first lines only make
    rows of one length with another. Columns without a name are called by their position.

    Raises:
        InputError: More cells than names, one name twice, or a separator of several characters.
    """
    usual = "\t" if kind_of(path)[0] == ".tsv" else ","
    lines = _first_lines(path)
    skipped = 0
    if lines and (excel := EXCEL.fullmatch(lines[0].rstrip("\r\n"))):
        skipped, usual = 1, excel[1]
    if delimiter is not None:
        separator = "\t" if delimiter in ("\\t", "tab") else delimiter
        if len(separator) != 1 or separator in '\r\n"':
            raise InputError(f"--delimiter {delimiter!r}: give one character, or tab")
    else:
        order = (usual, *(s for s in SEPARATORS if s != usual))
        separator = next((s for s in order if _is_table(lines[skipped:], s)), usual)
    _check_quotes(path, separator)
    head = _rows(lines[skipped:], separator, 2)
    header, first = head[0], head[1] if len(head) > 1 else []
    named = [name for name in header if name.strip()]
    if len(set(named)) < len(named) or len(first) > len(header):
        raise InputError(
            f"{path}: {len(header)} column names ({', '.join(header[:20])}) for {len(first)} cells, "
            "or one name twice; correct its first line, or give the separator with --delimiter"
        )
    names = [name if name.strip() else f"(unnamed {i})" for i, name in enumerate(header, 1)]
    return separator, names, skipped


def _check_quotes(path: Path, separator: str) -> None:
    """Refuse backslashes before quotes within a cell: CSV doubles quotes, so the cell would end there."""
    with opened(path) as stream:
        if not any(b'\\"' in line for line in stream):
            return
    with opened(path) as stream:
        text = stream.read().decode("utf-8-sig")
    mark = re.escape(separator)
    quote = re.compile(rf'(?:^|{mark})"(?:[^"]|"")*?\\"[^"\r\n{mark}]', re.MULTILINE)
    if found := quote.search(text):
        line = text.count("\n", 0, found.end() - 1) + 1
        raise InputError(
            f'{path}, line {line}: a quote within a cell is written \\", as Spark does; CSV doubles '
            'it (""): write the file anew, with Spark by option("escape", "\\"")'
        )


def _first_lines(path: Path) -> list[str]:
    """The first megabyte of a table, as lines; a last one that may go on is left out."""
    with opened(path) as stream:
        found = stream.readlines(SAMPLE_BYTES)
        whole = len(found) < 2 or not stream.read(1)
    text = b"".join(found).decode("utf-8-sig")
    lines = list(io.StringIO(text, newline=""))  # str.splitlines breaks at more than line ends
    return lines if whole else lines[:-1]


def _is_table(lines: list[str], separator: str) -> bool:
    """Whether the first rows have the same number of cells, more than one."""
    lengths = {len(row) for row in _rows(lines, separator, SAMPLE)}
    return len(lengths) == 1 and min(lengths) > 1


def _rows(lines: list[str], separator: str, most: int) -> list[list[str]]:
    csv.field_size_limit(2**31 - 1)
    found: list[list[str]] = []
    try:
        for row in csv.reader(iter(lines), delimiter=separator):
            if row and len(found) < most:
                found.append(row)
            if len(found) == most:
                break
    except csv.Error:  # the parser of the whole file names the line
        pass
    return found
