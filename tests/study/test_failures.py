"""A run that dies does not take the study with it: what is out, what goes on, what is not tried again."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.cli.main import main
from harness.records.arm import Arm
from harness.records.runs import Results, Run, RunSpec
from harness.study.confirm import Outcome, confirm
from harness.study.failures import failure_of
from harness.study.from_records import evidence_of
from harness.study.study import chosen_arms
from harness.study.verdict import settle
from tests.helpers.studies import PLAN, PROBLEM, result_of, study_of

Fails = Callable[[RunSpec], str | None]


def played(folder: Path, fails: Fails) -> tuple[Outcome, list[RunSpec], list[Any]]:
    """A study in which some runs fail; what was started, and what was told."""
    asked: list[RunSpec] = []
    events: list[Any] = []

    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        for spec in specs:
            asked.append(spec)
            yield replace(result_of(spec), error=fails(spec))

    outcome = confirm(
        study_of(full=True), PROBLEM, Results(folder), PLAN, executor=executor, on_run=events.append
    )
    return outcome, asked, events


DIVERGED = "TrainingDiverged: the training has diverged: the loss is not a finite number"


def test_a_rate_that_diverges_is_out_and_its_arm_goes_on_with_another(tmp_path: Path) -> None:
    """neg_p is best at 1e-3; there it diverges, so that it is compared at 1e-4."""

    def fails(spec: RunSpec) -> str | None:
        return DIVERGED if (spec.arm.method, spec.arm.learning_rate) == ("neg_p", 1e-3) else None

    outcome, asked, events = played(tmp_path, fails)
    assert outcome.complete and outcome.study.objectives == ("nll", "neg_p", "threshold(0.2)")
    rates = {
        arm.method: arm.learning_rate
        for arm in chosen_arms(outcome.study, outcome.runs)
        if not arm.control
    }
    assert rates["neg_p"] == 1e-4
    assert sum((spec.arm.method, spec.arm.learning_rate) == ("neg_p", 1e-3) for spec in asked) == 1
    [failure] = outcome.left_out
    assert failure.line.startswith(
        "neg_p at learning rate 0.001 is left out: the training has diverged"
    )
    assert [(e.refused is not None, e.whole) for e in events if e.refused] == [(True, False)]
    verdict = settle(outcome.study, outcome.runs)
    assert {row.arm.label for row in verdict.rows} >= {"neg_p", "threshold(0.2)", "nll, lr/10"}
    assert verdict.out == (failure.line,)
    results = Results(tmp_path)
    [evidence] = evidence_of(results.runs(), results.failed())  # as `report` and `compare` read it
    assert settle(evidence.study, evidence.runs) == verdict


def test_a_rate_that_diverges_on_a_later_seed_is_out_as_well(tmp_path: Path) -> None:
    """A rate that diverges once in three seeds is no rate to use: the next best is run on all of them."""

    def fails(spec: RunSpec) -> str | None:
        late = (spec.arm.method, spec.arm.learning_rate, spec.seed) == ("neg_p", 1e-3, 1)
        return DIVERGED if late else None

    outcome, _, _ = played(tmp_path, fails)
    at = [run.spec for run in outcome.runs if run.spec.arm.method == "neg_p"]
    assert {spec.seed for spec in at if spec.arm.learning_rate == 1e-4} == {0, 1, 2}
    assert outcome.complete and settle(outcome.study, outcome.runs).rows


def test_an_arm_that_fails_at_every_rate_is_out(tmp_path: Path) -> None:
    """Whatever it dies of; the verdict is of the rest."""

    def fails(spec: RunSpec) -> str | None:
        return "RuntimeError: boom" if spec.arm.method == "neg_p" else None

    outcome, asked, _ = played(tmp_path, fails)
    assert outcome.study.objectives == ("nll", "threshold(0.2)")
    assert len(outcome.left_out) == 2 and "RuntimeError: boom" in outcome.left_out[0].line
    assert {row.arm.label for row in settle(outcome.study, outcome.runs).rows} == {
        "nll",
        "threshold(0.2)",
        "nll, lr/10",
    }
    assert sum(spec.arm.method == "neg_p" for spec in asked) == 2


def test_an_arm_that_its_trainer_refuses_is_out_at_once(tmp_path: Path) -> None:
    """TRL's refusal does not hang on the rate."""

    def fails(spec: RunSpec) -> str | None:
        return "InputError: it needs something" if spec.arm.method == "threshold(0.2)" else None

    outcome, asked, _ = played(tmp_path, fails)
    assert sum(spec.arm.method == "threshold(0.2)" for spec in asked) == 1
    assert [f.line for f in outcome.left_out] == ["threshold(0.2) is left out: it needs something"]


def test_the_control_at_a_tenth_may_fail(tmp_path: Path) -> None:
    """NLL is best at 1e-4, its control is at 1e-5."""

    def fails(spec: RunSpec) -> str | None:
        text = "NotScored: t: exact_match is not finite on every document"
        return text if spec.arm.control == "tenth" else None

    outcome, _, _ = played(tmp_path, fails)
    assert outcome.complete and not any(a.control for a in chosen_arms(outcome.study, outcome.runs))


def test_without_nll_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    """One line names every rate."""
    with pytest.raises(InputError, match=r"nll.*0\.0001.*0\.001.*--learning_rates"):
        played(tmp_path, lambda spec: DIVERGED if spec.arm.method == "nll" else None)


def test_what_would_only_fail_again_is_not_tried_again(tmp_path: Path) -> None:
    """Not so a run that died of something else: that may go well the next time."""

    def first(spec: RunSpec) -> str | None:
        if spec.arm.method == "neg_p" and spec.arm.learning_rate == 1e-3:
            return DIVERGED
        return "WorkerDied: killed" if spec.arm.method == "threshold(0.2)" else None

    before, _, _ = played(tmp_path, first)
    assert before.study.objectives == ("nll", "neg_p")
    again, asked, _ = played(tmp_path, lambda spec: None)
    assert {spec.arm.method for spec in asked} == {"threshold(0.2)"}
    [failure] = again.left_out
    assert failure.learning_rate == 1e-3 and str(tmp_path / "failed") in failure.line
    assert again.study.objectives == ("nll", "neg_p", "threshold(0.2)")


def test_only_failed_runs_are_failures() -> None:
    """A finished run leaves nothing out."""
    assert failure_of(result_of(study_of().grid()[0])) is None


QUICK = [
    *("confirm", "ladder:strong", "--objectives", "neg_p", "--seeds", "1"),
    *("--max_steps", "2", "--limit", "6", "--temperature", "0", "--json"),
]


@pytest.mark.slow
def test_a_real_study_goes_on_without_what_diverges(capsys: Any, tmp_path: Path) -> None:
    """Protects a study on a real model from a rate that diverges.

    At 1e30 every arm overflows, at 1e-3 none: the verdict is of 1e-3. The trial fails, too.
    """
    rates = ["--learning_rates", "1e30", "1e-3", "--max_grad_norm", "0", "--max_steps", "4"]
    words = [*QUICK, *rates]
    capsys.readouterr()
    assert main([*words, "--results", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["complete"] and {Arm(**row["arm"]).label for row in answer["rows"]} == {
        "neg_p",
        "nll",
        "nll, lr/10",
    }
    out = {(f["method"], f["learning_rate"]) for f in answer["left_out"]}
    assert out == {("nll", 1e30), ("neg_p", 1e30)}
    assert all("has diverged" in f["reason"] for f in answer["left_out"])
    records = [json.loads(path.read_text()) for path in (tmp_path / "failed").glob("*.json")]
    assert {record["error"].partition(":")[0] for record in records} == {"TrainingDiverged"}


@pytest.mark.slow
def test_a_score_that_is_no_number_leaves_its_run_out(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Protects a study from a score that is no number, as a task of the user's own may give."""
    from harness.evaluate import score_choice

    value = score_choice.document_value

    def broken(metric: str, logged: Any) -> float | None:
        return float("nan") if state["neg_p"] else value(metric, logged)

    state = {"neg_p": False}
    from harness.study import execute as executing

    fit = executing.fit

    def noted(spec: Any, problem: Any, **more: Any) -> Any:
        state["neg_p"] = spec.arm.method == "neg_p"
        return fit(spec, problem, **more)

    monkeypatch.setattr(score_choice, "document_value", broken)
    monkeypatch.setattr(executing, "fit", noted)
    words = [*QUICK, "--learning_rates", "1e-3"]
    capsys.readouterr()
    assert main([*words, "--results", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out)
    [failure] = answer["left_out"]
    assert failure["method"] == "neg_p" and "not a finite number" in failure["reason"]
    assert "neg_p" not in {row["arm"]["objective"] for row in answer["rows"]}
