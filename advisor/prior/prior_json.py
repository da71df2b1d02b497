"""A prior as it stands in JSON: its fields with their types, and of which statistics its intervals are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from advisor.errors import InputError
from advisor.values import Kind, object_of, parse

if TYPE_CHECKING:
    from pydantic import TypeAdapter

READ = ("mean_p", "conflict_share", "ignorance_share", "p_eos", "p_template", "dispersion")
"""What `Prior.bounds` holds."""
CUT = ("mean_p", "share_below", "contradiction", "p_eos", "p_template", "dispersion")
"""What `Prior.intervals` holds: the statistics that stand beside a cut-off of the published rule."""
NO_TOKENS = ("p_eos", "p_template")
"""Statistics that are absent where no target is such a token."""
SHARES = ("mean_p", "median_p", "top1", "conflict_share", "ignorance_share")
"""Statistics between 0 and 1, as those of NO_TOKENS are."""
ROUNDING = 1e-6
"""What a mean of numbers may exceed their bound by."""


def checked(found: Mapping[str, Any], prior: Any) -> dict[str, Any]:
    """The fields of a prior, of the types that it has; what a later version adds is left out.

    Args:
        found: what was kept.
        prior: the dataclass.

    Raises:
        InputError: a field is missing or of another type; names it.
    """
    plain = json.loads(
        json.dumps(dict(found), default=str)
    )  # pairs as lists, wherever they come from
    plain = parse(Kind(lambda: adapter(prior)), plain, "prior")
    for name, whole in (("bounds", READ), ("intervals", CUT)):
        ends = {key: tuple(pair) for key, pair in plain.get(name, {}).items()}
        lacking = [key for key in whole if key not in (*NO_TOKENS, *ends)]
        if lacking and (ends or name == "bounds"):
            raise InputError(f"prior.{name} lacks {lacking[0]!r}")
        plain[name] = ends
    return {**plain, "mean_p_interval": tuple(plain["mean_p_interval"])}


def adapter(prior: type[Any]) -> TypeAdapter[dict[str, Any]]:
    """Every field of `Prior` as it stands in JSON, by the annotation that it has there."""
    from pydantic import Field, TypeAdapter

    number: Any = Annotated[float, Field(allow_inf_nan=False)]
    share: Any = Annotated[float, Field(ge=-ROUNDING, le=1 + ROUNDING)]
    interval: Any = Annotated[list[number], Field(min_length=2, max_length=2)]
    model = {"name": str, "fingerprint": str, "parameters": int, "kind": str}
    dataset = {"name": str, "fingerprint": str, "rows": int, "max_length": int}
    named = {
        **dict.fromkeys(SHARES, share),
        **dict.fromkeys(NO_TOKENS, share | None),
        "mean_log_p": Annotated[float, Field(le=ROUNDING, allow_inf_nan=False)],
        "model": object_of("model", model),
        "dataset": object_of("dataset", dataset),
        "bounds": object_of("bounds", dict.fromkeys(READ, interval), extra="forbid", total=False),
        "intervals": object_of(
            "intervals", dict.fromkeys(CUT, interval), extra="forbid", total=False
        ),
    }
    by_annotation = {
        "int": int, "int | None": int | None, "float": number, "float | None": number | None,
        "bool": bool, "Interval": interval,
        "Mapping[str, float]": dict[str, number], "Sequence[int]": list[int],
        "Sequence[Sequence[int]]": list[list[int]], "Sequence[str]": list[str],
    }  # fmt: skip
    kinds: dict[str, Any] = {}
    for field in fields(prior):
        kind = named.get(field.name) or by_annotation[str(field.type)]
        needed = field.default is MISSING and field.default_factory is MISSING
        kinds[field.name] = kind if needed else NotRequired[kind]
    return TypeAdapter(object_of("prior", kinds, extra="ignore"))
