"""The schemas of what commands print with `--json`, and whether an answer keeps to one."""

import json
from typing import Any

import pytest

from tests.helpers.paths import ROOT


def schema_of(command: str) -> dict[str, Any]:
    """The schema that is written down for a command."""
    text = (ROOT / "docs" / f"{command}.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def faults(command: str, answer: Any) -> list[str]:
    """Where an answer, as plain data or not yet, does not keep to the schema of its command."""
    jsonschema = pytest.importorskip("jsonschema")  # of the developers
    validator = jsonschema.Draft202012Validator(schema_of(command))
    plain = json.loads(json.dumps(answer, allow_nan=False))
    return [error.message for error in validator.iter_errors(plain)]
