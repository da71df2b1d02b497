"""The form of a record in its file is a contract: what is written has it, and it changes on purpose alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.records.record_parts import schema_of_file
from harness.records.runs import RUN, Results
from harness.records.schemas import SCHEMA
from tests.helpers.paths import ROOT
from tests.helpers.records import make

LOCKED = ROOT / "harness" / "records" / "record.schema.json"


def test_the_form_of_a_record_is_the_locked_one() -> None:
    """A field that is added, renamed or of another type fails: raise SCHEMA, or write the file anew."""
    assert schema_of_file(RUN.adapter) == json.loads(LOCKED.read_text())


def faults(record: Any) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(LOCKED.read_text()))
    return [str(error.message) for error in validator.iter_errors(record)]


def test_what_is_written_has_the_locked_form(tmp_path: Path) -> None:
    record = json.loads(Results(tmp_path).write(make()).read_text())
    assert faults(record) == []
    stored = [json.loads(path.read_text()) for path in (ROOT / "results").rglob("runs/*.json")]
    newest = [record for record in stored if record["schema"] == SCHEMA]
    assert newest and not [fault for record in newest[:10] for fault in faults(record)]


@pytest.mark.parametrize(
    "change",
    [{"new": 1}, {"tokens": "5"}, {"spec": {}}, {"scores": [{"task": "t"}]}, {"documents": ["a"]}],
    ids=str,
)
def test_another_form_is_a_fault(tmp_path: Path, change: dict[str, Any]) -> None:
    record = json.loads(Results(tmp_path).write(make()).read_text())
    assert faults({**record, **change})
    assert faults({name: value for name, value in record.items() if name != "scores"})
