"""A pandas DataFrame as rows: empty cells absent, numbers and lists as Python has them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from advisor.errors import InputError
from advisor.values import listed


def rows_of(frame: pd.DataFrame) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a DataFrame without its index, and what was assumed, one sentence each.

    NaN, NA and NaT are absent cells, None. pandas makes whole numbers beside empty cells decimal ones, 2 to
    2.0, which as a target is another text: they are whole again.

    Raises:
        InputError: no rows, columns that are not named by text, or two of one name.
    """
    names = list(frame.columns)
    if frame.empty:
        raise InputError("the DataFrame is empty: give at least one row and one column")
    if not all(isinstance(name, str) for name in names):
        raise InputError(
            f"the DataFrame's columns are not all named by text ({listed([repr(n) for n in names])}): "
            "rename them"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"the DataFrame has several columns of the name {twice[0]!r}: rename them")
    whole = [name for name in names if _made_decimal(frame[name])]
    columns = {
        name: [_cell(cell, whole=name in whole) for cell in frame[name].tolist()] for name in names
    }
    rows = [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if not whole:
        return rows, []
    return rows, [
        f"Whole numbers beside empty cells are read as such, 2 and not 2.0: {listed(whole)}."
    ]


def refuse_missing(source: object, column: str | None) -> None:
    """Refuse NaN in a DataFrame's column of weights, where it may be a mistake as well as an empty cell."""
    if column is None or not isinstance(source, pd.DataFrame):
        return
    missing = source[column].isna()
    if missing.any() and not missing.all():
        raise InputError(
            f"in memory, row {int(missing.to_numpy().argmax())} (counted from 0): {column} is NaN; write the "
            f"weights that are meant, 1 for those of no weight: frame[{column!r}].fillna(1)"
        )


def _made_decimal(column: "pd.Series[Any]") -> bool:
    """Whether decimal numbers are all whole, and there are empty cells that explain why they are decimal."""
    if not pd.api.types.is_float_dtype(column.dtype):
        return False
    filled = column.dropna()
    return len(filled) < len(column) and bool((filled % 1 == 0).all())


def _cell(value: Any, *, whole: bool = False) -> Any:
    """One cell, nested ones included, as JSON would give it."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _cell(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cell(inner) for inner in value]
    if pd.isna(value):
        return None
    return int(value) if whole else value
