"""The page of a plan that was carried out: decision, runs, curve; nothing of it is markup."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import plan_table
from harness.compare.plan_decision import decision_of
from harness.records.runs import Results
from harness.report import write_report
from harness.report.plan_view import plan_curve
from harness.study.run_study import Confirmed
from harness.study.study import Study
from tests.helpers.studies import in_bits, plan_of, play, truth_of_the_plan


def page_of(study: Study, folder: Path, runs: int = 4) -> tuple[str, str]:
    """The headline and the page of the first runs of a plan."""
    for run in play(study, truth_of_the_plan)[:runs]:
        Results(folder).write(replace(run, planned=study.planned(1.0)))
    report = write_report(folder)
    return report.headlines[0], report.path.read_text(encoding="utf-8")


def test_a_plan_is_shown_as_it_was_carried_out(tmp_path: Path) -> None:
    headline, text = page_of(plan_of(), tmp_path)
    assert headline.startswith("Keep cadft(1) @ 0.0003: ")
    assert "300 development documents, which chose" in text
    assert "300 test documents, which did not choose" in text
    assert "Score by decoding temperature" in text and "Score on test documents by decoding" in text
    for arm in ("base", "p_pow(0.5) @ 0.001", "cadft(1) @ 0.0003", "nll @ 0.001"):
        assert text.count(f"</i>{arm}</th>") >= 3, arm  # two parts and the curve
    assert text.count(">kept</td>") == 2 and "--plan three" in text
    assert "goes on where it stopped" not in text


def test_scores_that_are_no_shares_keep_their_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tuple(map(in_bits, play(plan_of(), truth_of_the_plan)))
    found = decision_of(Confirmed(verdict=None, study=plan_of(), runs=runs), tmp_path)
    assert found is not None
    [curve] = plan_curve(found)
    scores = [score for _, *own in curve.groups[0][1] for score in own]
    assert not [score for score in scores if re.fullmatch(r"\d\.\d", score)]
    monkeypatch.setattr(plan_table, "out", Console(width=200, file=(screen := io.StringIO())))
    plan_table.show(found)
    assert all(score in screen.getvalue() for score in scores)


def test_a_plan_that_is_not_at_its_end_says_so(tmp_path: Path) -> None:
    headline, text = page_of(plan_of(), tmp_path, runs=2)
    assert headline.startswith("Not complete: ") and "goes on where it stopped" in text


def test_without_a_finished_fine_tune_nothing_is_decided(tmp_path: Path) -> None:
    headline, _ = page_of(plan_of(), tmp_path, runs=1)
    assert headline.startswith("Not settled: it is a plan")


def test_what_a_task_is_called_is_no_markup(tmp_path: Path) -> None:
    """Breaks where a text of the records reaches the page unescaped."""
    _, text = page_of(plan_of(model="<script>alert(1)</script>"), tmp_path)
    assert "<script" not in text and "&lt;script&gt;" in text
