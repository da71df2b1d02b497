"""What arms forget: guards against the untouched model, in verdicts, decisions, records, pages and words."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.compare.plan_decision import decision_of
from harness.records.runs import Results, Run, Score, read_run
from harness.report import write_report
from harness.report.figures import trade_figures
from harness.report.tables import guard_table
from harness.study.forgetting import guard_rows, said_of, trades
from harness.study.from_records import Evidence
from harness.study.run_study import Confirmed
from harness.study.study import Study
from harness.study.verdict import settle
from tests.helpers.studies import (
    flat,
    plan_of,
    play,
    prior_leaning_wins,
    study_of,
    truth_of_the_plan,
)

DOCUMENTS = tuple(f"guard{i}" for i in range(400))
GUARDED = {"temperature": 1.0, "temperatures": [0.0, 0.5, 1.0], "repeats": 1, "guards": ["g"]}
KEPT = {"base": 0.8, "nll": 0.4, "neg_p": 0.79, "threshold(0.2)": 0.8}
"""Share of the guard's documents that an objective still gets right."""


def guarded(run: Run) -> Run:
    """A run with a guard of which the base gets 80 % right, and nll forgets half."""
    right = np.arange(400) < 400 * KEPT.get(run.spec.arm.objective, 0.8)
    score = Score(task="g", metric="exact_match", temperature=1.0, part="guard", documents=DOCUMENTS,
                  values=tuple((float(x),) for x in right))  # fmt: skip
    return dataclasses.replace(run, guards=(score,))


def evidence_of(truth: Any, study: Study) -> Evidence:
    return Evidence(study=study, runs=tuple(map(guarded, play(study, truth))))


@pytest.fixture(scope="module")
def study() -> Evidence:
    return evidence_of(prior_leaning_wins, study_of(evaluation=GUARDED))


def test_an_arm_that_forgets_is_told_from_one_that_does_not(study: Evidence) -> None:
    rows = {row.arm.label: row for row in guard_rows(study) if not row.arm.control}
    assert {arm: round(row.difference.estimate, 1) for arm, row in rows.items()} == {
        "nll": -40.0, "neg_p": -1.0, "threshold(0.2)": 0.0
    }  # fmt: skip
    assert rows["nll"].verdict == "worse" and rows["threshold(0.2)"].verdict == "not resolved"
    assert said_of(rows["nll"].arm, list(rows.values())) == (
        "It forgets: -40.0 points (95 % interval "
        f"{rows['nll'].difference.interval[0]:+.1f} to {rows['nll'].difference.interval[1]:+.1f}) on g, "
        "against the untouched model."
    )
    # Of one seed, for racing had dropped it: that checkpoint lost nothing, the objective may.
    assert said_of(rows["threshold(0.2)"].arm, list(rows.values())).startswith(
        "That it forgets anything of g is not shown (at worst +0.0 points"
    )


def test_the_verdict_and_its_rows_say_it(study: Evidence) -> None:
    verdict = settle(study.study, study.runs)
    assert verdict.winner.objective == "neg_p" and " of g " in verdict.headline
    assert "on the guard g" in str(verdict) and len(verdict.guards) == 4
    plain = settle(
        study_of(),
        [dataclasses.replace(run, guards=()) for run in play(study_of(), prior_leaning_wins)],
    )
    assert plain.guards == () and "forget" not in plain.headline


def test_a_plan_says_what_the_run_that_it_keeps_forgets(tmp_path: Path) -> None:
    planned = plan_of(evaluation={**plan_of().evaluation, "guards": ["g"]})
    runs = tuple(map(guarded, play(planned, truth_of_the_plan)))
    decision = decision_of(Confirmed(verdict=None, study=planned, runs=runs), tmp_path)
    assert decision is not None and decision.decision.keep is not None
    kept = decision.decision.keep.trained
    assert decision.forgets == said_of(kept, decision.guards) != ""
    assert decision.forgets in str(decision)
    assert {one["guard"] for one in decision.to_dict()["guards"]} == {"g"}


def test_gains_stand_beside_what_they_cost(study: Evidence) -> None:
    found = {trade.gain.arm.label: trade for trade in trades(study) if not trade.gain.arm.control}
    assert found["neg_p"].gain.gain > found["nll"].gain.gain
    assert found["nll"].guard.gain == pytest.approx(-40)
    assert all(trade.gain.baseline.objective == "base" for trade in found.values())


def test_a_record_keeps_guards_and_the_page_shows_them(study: Evidence, tmp_path: Path) -> None:
    results = Results(tmp_path)
    for run in study.runs:
        path = results.write(run)
        assert read_run(path).guards == run.guards
    frame = results.frame()
    assert set(frame[frame["task"] == "g"]["part"]) == {"guard"}
    page = write_report(tmp_path).path.read_text(encoding="utf-8")
    assert "Gain against forgetting" in page and "What is forgotten" in page
    table, (figure,) = guard_table(study, None), trade_figures(study, None)
    assert table.groups[0][0] == "g, on which the untouched model scores 80.0"
    assert figure.svg.startswith("<svg")
    plain = Evidence(study=study_of(), runs=tuple(play(study_of(), lambda *_: flat(0.5))))
    assert trade_figures(plain, None) == []


def test_a_guard_of_which_less_is_better_has_its_own_unit_and_direction() -> None:
    """Breaks where both axes have one unit, or an arm that lost is shown as one that changed upwards."""

    def losing(run: Run) -> Run:
        loss = 1.0 if run.spec.arm.objective == "base" else 1.3
        score = Score(task="wiki", metric="word_perplexity", temperature=None, part="guard",
                      documents=DOCUMENTS, values=tuple((loss + i / 4000,) for i in range(400)),
                      unit="nats per word", higher_is_better=False)  # fmt: skip
        return dataclasses.replace(run, guards=(score,))

    guards = {**GUARDED, "guards": ["wiki"]}
    runs = tuple(map(losing, play(study_of(evaluation=guards), prior_leaning_wins)))
    evidence = Evidence(study=study_of(evaluation=guards), runs=runs)
    assert {round(one.guard.gain, 3) for one in trades(evidence)} == {-0.3}
    said = said_of(trades(evidence)[0].gain.arm, guard_rows(evidence))
    assert "+0.3 nats per word (95 % interval +0.291 to +0.309) on wiki" in said
    [figure] = trade_figures(evidence, None)
    assert "kept on wiki, nats per word" in figure.svg and "up and right is better" in figure.svg
    assert "gain on the task, points" in figure.svg
