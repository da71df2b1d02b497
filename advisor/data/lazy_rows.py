"""Rows that are read when they are asked for, as a sequence."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, overload


class LazyRows(Sequence[dict[str, Any]]):
    """A sequence by its length and by how one row is read."""

    @abstractmethod
    def _row(self, number: int) -> dict[str, Any]:
        """The row of a number from 0 up to the length."""

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        numbers = range(len(self))[index]
        return self._row(numbers) if isinstance(numbers, int) else [*map(self._row, numbers)]
