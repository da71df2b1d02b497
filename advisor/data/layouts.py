"""What the rows of a source look like together: the first that counts, and how many of each layout."""

from collections import Counter
from collections.abc import Iterator

from datasets import Dataset

from advisor.data.formats import Content, Format
from advisor.data.row_marks import LeftOut
from advisor.data.sources import Rows
from advisor.errors import InputError


def first_content(format: Format, found: Rows, *, drop_bad_rows: bool) -> Content:
    """What the first row says that is a demonstration; it tells texts from conversations."""
    refused, content = None, None
    for i, row in enumerate(found.rows):
        try:
            content = format.read(row)
        except InputError as error:
            refused = refused or InputError(f"{found.name}, row {i} (counted from 0): {error}")
            if not drop_bad_rows:
                raise refused from error
            continue
        if not isinstance(content, LeftOut):
            return content
    if content is None and refused is not None:
        raise InputError(f"no row can be read: {refused}")
    assert isinstance(content, LeftOut)
    raise InputError(f"{found.name}: none of its rows is a demonstration (the last: {content.why})")


def layout_note(found: Rows, format: Format) -> Iterator[str]:
    """That rows are laid out in several ways, where they are."""
    if not format.layouts:
        return
    rows = found.rows
    if isinstance(rows, Dataset):  # its other columns need not be read
        rows = rows.select_columns(sorted({c for f in format.layouts for c in f.needs}))
    counts = Counter(format.of(row).name for row in rows)
    if len(counts) > 1:
        parts = ", ".join(f"{number:,} as {name}" for name, number in counts.most_common())
        yield f"Rows of several layouts, each read by the columns that it fills: {parts}."
