"""The page of a recommendation: the plan first, the numbers of the answer, and nothing run or fetched."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from advisor.advice.recommend import Recommendation, recommend
from advisor.errors import InputError
from harness import plots
from harness.report import facts
from harness.report.advice_page import Asked, advice_page, write_advice
from harness.report.figures import advice_figures
from tests.helpers.pages import HOSTILE, INERT, SHOWN, Page
from tests.helpers.priors import prior_of

DAY = date(2026, 3, 4)
HISTOGRAM = [5] * 20


def asked(**changes: object) -> Asked:
    fields = {
        "model": "org/m-7B", "dataset": "/home/someone/secret/d.jsonl", "measured": "2026-03-01",
        "next": "advisor confirm org/m-7B d.jsonl --temperature 0 --plan three", "written": DAY,
        "commands": ("advisor recommend org/m-7B d.jsonl --limit 40", "advisor recommend --prior p.json"),
        "versions": {"python": "3.11.9"}, **changes,
    }  # fmt: skip
    return Asked(**fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> Recommendation:
    prior = prior_of(0.62, histogram=HISTOGRAM, dispersion=0.3)  # which is warned of
    return recommend(prior, temperature=0.0)


@pytest.fixture(scope="module")
def page(found: Recommendation) -> Page:
    return Page(advice_page(found, asked()))


def test_the_plan_stands_first_and_its_command_before_every_number(page: Page) -> None:
    order = [
        "Make two runs, and another if these score low",
        "Score every run on",
        "advisor confirm org/m-7B d.jsonl --temperature 0 --plan three",
        "mean p of a target token",
        "What may make it wrong",
        "Do it again",
        "advisor recommend org/m-7B d.jsonl --limit 40 advisor recommend --prior p.json",
    ]
    places = [page.text.index(text) for text in order]
    assert places == sorted(places)


def test_the_numbers_are_those_of_the_answer(page: Page, found: Recommendation) -> None:
    plan = found.plan
    for run in plan.runs:
        row = next(row for row in page.rows if row[0] == run.objective)
        assert row[1] == f"{run.learning_rate:g}"
        assert row[2] == "in any case" or f"scores {run.below:g} or more" in row[2]
    names = [plan.cheaper.name, plan.name, plan.dearer.name]  # type: ignore[union-attr]
    assert [row[0] for row in page.rows if row[0] in names] == names
    for warning in found.warnings:
        assert f"{warning.text} [{warning.code}]" in page.text
    assert ["nll", "0", ""] in [row[:3] for row in page.rows]
    assert all(any(row[0] == cell.name for row in page.rows) for cell in found.nearest)
    assert (
        f"{plan.regret:.1f}points it may lose on average, measured on SmolLM2-135M-Instruct"
        in page.text
    )


def test_measured_pairs_of_one_name_are_all_drawn(
    found: Recommendation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where points are told by the names of their pairs: those of the ladder share them."""
    drawn: list[Any] = []

    def spy(axes: Any, points: Any, **more: Any) -> Any:
        drawn.extend(point.mean_p for point in points)
        return axes

    monkeypatch.setattr(plots, "continuum", spy)
    first, second, *_ = found.published
    alike = [replace(first, features={"mean_p": logit}) for logit in (-0.4, -0.3)]
    advice_figures(replace(found, published=[first, second], nearest=[second, *alike]))
    assert drawn == [cell.mean_p for cell in (first, second, *alike)]


def test_it_tells_the_days_and_what_was_measured(page: Page) -> None:
    assert "greedy decoding · 2026-03-04" in page.text and "Measured on2026-03-01" in page.text
    assert "500 examples" in page.text and "python 3.11.9" in page.text
    unknown = Page(advice_page(recommend(prior_of(0.5), temperature=1.0), asked(measured=None)))
    assert "a day that the file of the prior does not tell" in unknown.text
    assert unknown.count("figure") == 1  # no histogram in the prior: no empty frame


def test_no_local_path_stands_in_a_headline(page: Page, tmp_path: Path) -> None:
    title = page.source.split("<title>")[1].split("</title>")[0]
    assert "org/m-7B on d.jsonl" in title and "secret" not in title
    eyebrow = page.source.split('<p class="eyebrow">')[1].split("</p>")[0]
    assert eyebrow.startswith("org/m-7B on d.jsonl")
    (tmp_path / "model").mkdir()
    assert facts.short(f"{tmp_path}/model/") == "model" and facts.short("org/name") == "org/name"
    assert facts.short("../data/d.jsonl") == "d.jsonl" and facts.short("x" * 5000) == "x" * 5000


def test_hostile_names_are_shown_and_do_nothing(found: Recommendation) -> None:
    page = Page(advice_page(found, asked(model=HOSTILE, dataset=HOSTILE, next=HOSTILE)))
    assert {tag for tag, _ in page.tags} <= INERT and page.text.count(SHOWN) == 5
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]


def test_a_page_that_cannot_be_written_is_refused(found: Recommendation, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("here")
    with pytest.raises(InputError, match="cannot be written"):
        write_advice(file / "page.html", found, asked())
    assert file.read_text() == "here"
