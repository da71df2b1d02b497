"""The keyword arguments of a call, sorted into the options that the command line makes of its flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from advisor.errors import InputError
from advisor.names import did_you_mean
from advisor.options import DataOptions, ModelOptions, Options, check, flags_of

T = TypeVar("T", bound=Options)


def made(kind: type[T], values: Mapping[str, Any]) -> T:
    """The options that some values make; a list is a tuple, and a text alone one of several.

    Raises:
        InputError: a value outside its bounds, or values that exclude each other.
    """
    several = {field.name for field in flags_of(kind).values() if "tuple" in str(field.type)}
    options = kind(**{name: _tuple(v) if name in several else v for name, v in values.items()})
    check(options)
    return options


def _tuple(value: Any) -> Any:
    if value is None or isinstance(value, tuple):
        return value
    return (value,) if isinstance(value, str | int | float) else tuple(value)


def split(
    settings: Mapping[str, Any], *kinds: type[Options]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What of the settings are fields of each kind of options, and the rest."""
    parts = []
    rest = dict(settings)
    for kind in kinds:
        names = [field.name for field in flags_of(kind).values() if field.name in rest]
        parts.append({name: rest.pop(name) for name in names})
    return parts, rest


def reading_of(
    settings: Mapping[str, Any], function: Callable[..., Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings all of which say how a model is loaded, and how a dataset is read.

    Args:
        settings: keyword arguments of a call.
        function: that was called: its own keywords are offered too where one is mistyped.

    Raises:
        InputError: another setting, naming the nearest, or a value outside its bounds.
    """
    (loading, reading), rest = split(settings, ModelOptions, DataOptions)
    for name in rest:
        known = [
            *(getattr(function, "__kwdefaults__", None) or ()),
            *(
                field.name
                for kind in (ModelOptions, DataOptions)
                for field in flags_of(kind).values()
            ),
        ]
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
        raise InputError(f"no setting {name!r}: {hint}")
    made(ModelOptions, loading)
    made(DataOptions, reading)
    return loading, reading
