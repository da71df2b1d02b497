"""What of a record is compared where a study was made twice: all but what no two runs have alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def without(value: Any, names: Collection[str]) -> Any:
    """A value of JSON without the entries of some names, wherever they stand in it."""
    if isinstance(value, Mapping):
        return {key: without(inner, names) for key, inner in value.items() if key not in names}
    return [without(inner, names) for inner in value] if isinstance(value, list) else value
