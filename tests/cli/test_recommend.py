"""`advisor recommend --json` keeps to the schema that others read it by."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from advisor.advice.recommend import SCHEMA
from advisor.advice.warnings import MEANINGS
from harness.cli.main import main
from tests.helpers.documentation import DOCS

jsonschema = pytest.importorskip("jsonschema")  # of the developers
WRITTEN: dict[str, Any] = json.loads((DOCS / "recommend.schema.json").read_text(encoding="utf-8"))
QUICK = ["--json", "--limit", "40"]


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["recommend", *words, *QUICK]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "words",
    [
        ["ladder:strong", "--temperature", "1"],
        ["ladder:weak", "--temperature", "0", "--machine", "h100"],
    ],
)
def test_an_answer_keeps_to_the_schema(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, *words)
    jsonschema.validate(found, WRITTEN)
    assert found["versions"]["objective-advisor"] == version("objective-advisor")


def test_a_page_from_a_record_tells_both_commands_and_the_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, page = tmp_path / "answer.json", tmp_path / "answer.html"
    found = answer(capsys, "ladder:strong", "--temperature", "1", "-o", str(record))
    assert found["command"] == "advisor recommend ladder:strong --temperature 1.0 --limit 40"
    words = ["recommend", "--prior", str(record), "--temperature", "0", "-o", str(page)]
    assert main(words) == 0
    text = page.read_text(encoding="utf-8")
    assert f"{found['command']}\nadvisor recommend ladder:strong" in text
    assert f"<dd>{found['date']}</dd>" in text
    assert capsys.readouterr().out.splitlines()[-1].removeprefix("next: ") in text
    assert sorted(tmp_path.glob("answer*.html")) == [page]


@pytest.mark.slow
def test_a_deep_answer_keeps_to_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects those who read `deep`, which takes a short training."""
    words = ("ladder:mid", "--temperature", "0.7", "--depth", "deep", "--deep_steps", "8")
    found = answer(capsys, *words)
    assert found["deep"] is not None
    jsonschema.validate(found, WRITTEN)


def test_the_schema_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "ladder:strong", "--temperature", "1")
    for broken in ({**found, "more": 1}, {**found, "plan": {}}, {**found, "schema": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, WRITTEN)


def test_the_schema_knows_every_code_and_its_number() -> None:
    assert WRITTEN["$defs"]["code"]["enum"] == list(MEANINGS)
    assert WRITTEN["properties"]["schema"] == {"const": SCHEMA}
