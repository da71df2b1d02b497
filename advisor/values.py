"""Values that come from a file, checked against a type; one line with the place where they differ.

Rows, records, logs and settings are read with this one parser, pydantic's. The choice:

- pydantic is in every installation already (huggingface_hub needs typer, typer needs it), its core is
  compiled, and a list of messages costs a few microseconds; it names the place of a fault as a path, reads
  TypedDicts, frozen dataclasses and models alike, and writes JSON schemas.
- msgspec decodes JSON faster, but a row is a Python object by then, and it would be one more dependency.
- Dataclasses checked by hand need code for every field and every nesting; that code is where the
  tracebacks came from.

Types are checked, never converted: "5" is no number and 1 is no text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, cast

from advisor.errors import InputError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
LARGEST_ID = 2**63 - 1
"""What the tensors of token ids hold: integers of 64 bits."""
EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "dataclass_type": "an object",
}
"""What a fault of each of pydantic's kinds calls for."""


class Kind(Generic[T]):
    """A type to check values against; pydantic is imported when the first value comes."""

    def __init__(self, make: Callable[[], TypeAdapter[T]]) -> None:
        self._make = make

    @cached_property
    def adapter(self) -> TypeAdapter[T]:
        """Pydantic's adapter of the type."""
        return self._make()


def _turns() -> TypeAdapter[Any]:
    """Messages in any of the spellings; their other keys are kept as they are."""
    from pydantic import ConfigDict, TypeAdapter
    from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

    turn = TypedDict("turn", {"role": str | None, "from": str | None}, total=False)
    return TypeAdapter(list[turn], config=ConfigDict(strict=True, extra="allow"))


def _pairs_of_turns() -> TypeAdapter[list[list[Any]]]:
    from pydantic import ConfigDict, Field, TypeAdapter

    pair = Annotated[list[Any], Field(min_length=2, max_length=2)]
    return TypeAdapter(list[pair], config=ConfigDict(strict=True))


def _ids(lowest: int) -> TypeAdapter[list[int]]:
    from pydantic import Field, TypeAdapter

    return TypeAdapter(list[Annotated[int, Field(strict=True, ge=lowest, le=LARGEST_ID)]])


TURNS: Kind[Any] = Kind(_turns)
PAIR_OF_TURNS: Kind[list[list[Any]]] = Kind(_pairs_of_turns)
"""Earlier turns as [user, assistant] pairs."""
TOKEN_IDS: Kind[list[int]] = Kind(lambda: _ids(0))
LABELS: Kind[list[int]] = Kind(lambda: _ids(-100))


def object_of(
    name: str, kinds: Mapping[str, Any], *, extra: str = "allow", total: bool = True
) -> Any:
    """The type of a JSON object, for pydantic.

    Args:
        name: Of the type.
        kinds: Of the values, by key.
        extra: What is done with other keys: "allow", "ignore" or "forbid".
        total: Whether every key has to be there.
    """
    from pydantic import with_config
    from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

    make: Any = TypedDict  # a call that mypy reads as a definition
    settings: Any = {"strict": True, "extra": extra}
    return with_config(settings)(make(name, kinds, total=total))


def parse(kind: Kind[T], value: object, name: str) -> T:
    """The value as its type says.

    Args:
        kind: The type.
        value: What was read.
        name: What the value is called in the source: a column, a key, a file.

    Raises:
        InputError: It is something else; with the path of the first fault.
    """
    from pydantic import ValidationError

    try:
        return kind.adapter.validate_python(value)
    except ValidationError as error:
        raise InputError(fault(error, name)) from error


def built(kind: Kind[T], content: object, name: str) -> T:
    """A dataclass, with those within it, from JSON's objects and lists; what it has no field for is left out.

    Raises:
        InputError: A field is missing or of another type than its annotation says, or a number is not finite.
    """
    from pydantic import ValidationError

    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False)
        if LONE.search(text) is None:
            return kind.adapter.validate_json(text, strict=True)
        if STANDS_IN.search(text) is not None:
            raise ValueError("halves of characters, and characters of private use")
        found = kind.adapter.validate_json(LONE.sub(_moved(SHIFT), text), strict=True)
        return cast(T, _moved_back(found))
    except ValidationError as error:
        raise InputError(fault(error, name)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} cannot be read ({error})") from error


LONE, STANDS_IN = re.compile("[\ud800-\udfff]"), re.compile("[\U000f0000-\U000f07ff]")
"""Halves of characters, which pydantic's JSON does not read, and what stands in for them meanwhile."""
SHIFT = 0xF0000 - 0xD800


def _moved(by: int) -> Callable[[re.Match[str]], str]:
    return lambda match: chr(ord(match.group()) + by)


def _moved_back(value: Any) -> Any:
    """A value with the halves of characters in its texts again."""
    if isinstance(value, str):
        return STANDS_IN.sub(_moved(-SHIFT), value)
    if isinstance(value, Mapping):
        return {_moved_back(key): _moved_back(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_moved_back, value))
    if is_dataclass(value) and not isinstance(value, type):
        own = {one.name: _moved_back(getattr(value, one.name)) for one in fields(value) if one.init}
        return replace(value, **own)
    return value


def dataclass_of(kind: type[T]) -> Kind[T]:
    """The type of a dataclass, for `built`."""

    def make() -> TypeAdapter[T]:
        from pydantic import TypeAdapter

        return TypeAdapter(kind)

    return Kind(make)


def fault(error: ValidationError, name: str) -> str:
    """The first fault in one line: `messages[1].role is 5, not text`."""
    first = error.errors(include_url=False, include_context=True)[0]
    place = name + path(first["loc"])
    limits: dict[str, Any] = first.get("ctx", {})
    kind, value = first["type"], first["input"]
    if kind == "missing":
        return f"{name}{path(first['loc'][:-1])} lacks {first['loc'][-1]!r}"
    if kind in EXPECTED:
        return f"{place} is {shown(value)}, not {EXPECTED[kind]}"
    if kind == "less_than_equal":
        return f"{place} is {shown(value)}, more than {limits['le']}"
    if kind == "greater_than_equal":
        return f"{place} is {shown(value)}, less than {limits['ge']}"
    if kind in ("too_short", "too_long") and "actual_length" in limits:
        wanted = limits.get("min_length", limits.get("max_length"))
        return f"{place} has {limits['actual_length']} entries, not {wanted}"
    return f"{place} is {shown(value)}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def path(places: Sequence[int | str]) -> str:
    """Keys and positions (counted from 0) as they are written in Python."""
    return "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places)


def shown(value: object) -> str:
    """A value as it stands in a message: at most forty characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def given(value: object) -> bool:
    """Whether a cell is filled: null, NaN, an empty text and an empty list (Arrow's null) are not."""
    if isinstance(value, str | list | dict):
        return bool(value)
    return value is not None and value == value


class Written(float):
    """A number whose file writes it otherwise than Python would, such as 2.50 or 1e3."""

    __slots__ = ("text",)
    text: str
    """As it is written."""

    def __new__(cls, text: str | float) -> Written:
        """The number of a text; a copy of one is made of the number, and gets its text afterwards."""
        number = super().__new__(cls, text)
        number.text = str(text)
        return number


def decimal(text: str) -> float:
    """The number that a JSON text writes, with the text where it would be lost."""
    number = float(text)
    return number if repr(number) == text else Written(text)


def scalar(value: object) -> str | None:
    """Text of a value, as its file or JSON writes it; empty for null and NaN, None for lists and objects."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, Written):
        return value.text
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) else None


def is_messages(value: object) -> bool:
    """Whether a cell is a list of objects."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def listed(names: Sequence[str]) -> str:
    """Names for a message, at most twenty of them."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
