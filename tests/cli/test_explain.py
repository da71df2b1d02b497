"""`advisor explain`: every objective and every warning has its words, and the figures stand in the pages."""

import ast
import json
import re

import pytest

from advisor.advice.warnings import MEANINGS
from advisor.objectives.table import OBJECTIVES, get_objective
from harness.cli.explain import ADDED, FROZEN, HARMS, HELPS, MEASURED
from harness.cli.main import main
from tests.helpers.paths import ROOT

SOURCE = (ROOT / "advisor" / "advice" / "warnings.py").read_text(encoding="utf-8")


def explained(capsys: pytest.CaptureFixture[str], what: str) -> dict[str, str]:
    assert main(["explain", what, "--json"]) == 0
    found: dict[str, str] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = explained(capsys, name)
    row = OBJECTIVES[name]
    assert found["loss"] == row.formula and row.source in found["source"]
    assert {"helps", "harms", "weight"} < set(found)


def test_every_code_that_is_given_has_its_meaning_and_no_other() -> None:
    given = {
        keyword.value.value
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Caution"
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert given == set(MEANINGS)


@pytest.mark.parametrize("code", MEANINGS)
def test_every_warning_is_explained(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(capsys, code) == {"warning": code, "means": MEANINGS[code]}


def test_the_screen_has_a_line_a_fact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "dft"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["objective", "neg_p,", "dft,", "-p"]
    assert any(line.startswith("harms") and "-26.7" in line for line in lines)


@pytest.mark.parametrize(("what", "near"), [("heterogenous", "heterogeneous"), ("caddft", "cadft")])
def test_a_mistyped_name_is_refused_with_the_nearest(
    what: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", what]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert near in line


def test_the_figures_are_those_of_the_decision_page() -> None:
    page = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
    figures = re.findall(r"\d+\.\d+", HELPS["prior-leaning"] + HARMS["prior-leaning"])
    assert len(figures) == 3 and all(figure in page for figure in figures)


def test_what_was_measured_names_the_page_that_has_it() -> None:
    """Breaks where an objective is said to be measured on a page that does not have it, or not at all."""
    plans = (ROOT / "docs" / "plans.md").read_text(encoding="utf-8")
    table = plans.partition("<!-- table: rates -->")[2].partition("<!-- end -->")[0]
    replayed = {
        get_objective(label).name for label in re.findall(r"^\| `(.+?)`", table, flags=re.M)
    }
    assert replayed == {name for name, page in MEASURED.items() if page != ADDED}
    newer = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    table = newer.partition("<!-- table: added -->")[2].partition("<!-- end -->")[0]
    rows = [get_objective(label) for label in re.findall(r"^\| `(.+?)`", table, flags=re.M)]
    assert {row.name for row in rows if row.frozen} == set(FROZEN)
    assert {row.name for row in rows if not row.frozen} - replayed == {
        name for name, page in MEASURED.items() if page == ADDED
    }


@pytest.mark.parametrize(
    ("what", "measured", "planned"),
    [
        ("nll>neg_p(at=0.5)", "docs/staged.md", False),
        ("tailsft", "docs/objectives.md#whether-the-newer-ones-help", False),
        ("p_anneal", "docs/staged.md", True),
        ("talr", "not on our cells", False),
    ],
)
def test_where_it_was_measured_and_whether_a_plan_has_it(
    what: str, measured: str, planned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explained(capsys, what)
    assert found["measured"] == measured and ("plans" not in found) == planned
