"""The parts of a record that stand in it as plain objects: what the readers of records ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from advisor.values import Kind, object_of, parse

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def check(spec: Any, planned: Any) -> None:
    """See that evaluation, teachers and plan of a run are what they are read as.

    Args:
        spec: of the run.
        planned: `Run.planned`.

    Raises:
        InputError: names the place of the first fault.
    """
    parse(EVALUATION, spec.evaluation, "spec.evaluation")
    parse(TEACHERS, spec.teachers, "spec.teachers")
    parse(PLANNED, planned, "planned")


def _evaluation() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    heats = {"temperature": float, "temperatures": list[float]}
    numbers = {"repeats": int, "development_repeats": int, "choosing": int,
               "limit": int | float | None}  # fmt: skip
    guards = {"guards": list[str], "guards_as_chats": bool}
    return TypeAdapter(object_of("evaluation", heats | numbers | guards, total=False))


def _teachers() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    kinds = {"models": dict[str, dict[str, str]], "route": str | None}
    return TypeAdapter(object_of("teachers", kinds) | None)


def _planned() -> TypeAdapter[Any]:
    from typing import NotRequired

    from pydantic import TypeAdapter

    fields = {"method": str, "learning_rate": float, "below": NotRequired[float | None]}
    step: Any = object_of("step", fields, extra="forbid")
    kinds = {
        "at": float, "objectives": list[str], "learning_rates": list[float], "seeds": list[int],
        "full": NotRequired[bool], "plan": NotRequired[str | None],
        "steps": NotRequired[list[step]],
    }  # fmt: skip
    return TypeAdapter(object_of("planned", kinds) | None)


EVALUATION: Kind[Any] = Kind(_evaluation)
TEACHERS: Kind[Any] = Kind(_teachers)
PLANNED: Kind[Any] = Kind(_planned)


def schema_of_file(run: TypeAdapter[Any]) -> dict[str, Any]:
    """The JSON schema of a record as it stands in its file.

    There the sets of documents stand once and a score names one by its number, values are flat, steps stand
    by column, and the id is beside the specification.

    Args:
        run: of `Run`, as which a record is read.
    """
    schema = run.json_schema()
    parts, fields = schema["$defs"], schema["properties"]
    numbers = {"type": "array", "items": {"type": "number"}}
    parts["Score"]["properties"] |= {"documents": {"type": "integer"}, "values": numbers}
    fields |= {
        "id": {"type": "string"},
        "steps": {"type": "object", "additionalProperties": {"type": "array"}},
        "held_out": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
        "documents": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
    }
    of_spec = parts["RunSpec"]["properties"]
    for holder, name, kind in (
        (of_spec, "evaluation", EVALUATION), (of_spec, "teachers", TEACHERS), (fields, "planned", PLANNED),
    ):  # fmt: skip
        holder[name] = kind.adapter.json_schema()
        parts |= holder[name].pop("$defs", {})
    for part in (schema, parts["Score"], parts["Look"], parts["RunSpec"], parts["Arm"]):
        part["additionalProperties"] = False
    schema["required"] = [*schema["required"], "id", "documents", "schema"]
    return schema
