"""What the rows of a source look like together: the first that counts, and how many of each layout."""

from collections import Counter
from collections.abc import Iterable, Iterator

from datasets import Dataset

from advisor.data.formats import Content, Format, Row
from advisor.data.joined import Joined
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
    rows: Iterable[Row] = found.rows
    if isinstance(rows, Dataset):  # its other columns need not be read
        rows = rows.select_columns(sorted({c for f in format.layouts for c in f.needs}))
    elif isinstance(rows, Joined):
        rows = rows.sample()
    counts = Counter(format.of(row).name for row in rows)
    if len(counts) > 1:
        parts = ", ".join(f"{number:,} as {name}" for name, number in counts.most_common())
        looked = counts.total()
        of = f" (of the {looked:,} rows looked at)" if looked < len(found.rows) else ""
        yield f"Rows of several layouts, each read by the columns that it fills: {parts}{of}."


def unread_note(found: Rows) -> Iterator[str]:
    """That rows which are not drawn are not read, where that is so."""
    if isinstance(found.rows, Joined) and found.rows.looked < len(found.rows):
        yield (
            f"{found.name} is large: its columns are those of {found.rows.looked:,} of its "
            f"{len(found.rows):,} rows, and a row is read when it is drawn, so that a fault in another stays "
            "unseen; advisor validate reads all, and so does --exact. The fingerprint is of all bytes."
        )
