"""What a plan has come to: the run that is kept, what is said of it, and where it lies."""

from pathlib import Path
from typing import Any

import pytest

from harness.compare.plan_decision import decision_of, failed
from harness.records.arm import BASE
from harness.study.checkpoint_folders import folder_of
from harness.study.failures import Failure
from harness.study.run_study import Confirmed
from tests.helpers.studies import STEPS, flat, plan_of, play, run_of, truth_of_the_plan


def confirmed(truth: Any = truth_of_the_plan, **changes: Any) -> Confirmed:
    study = plan_of(**changes)
    return Confirmed(verdict=None, study=study, runs=tuple(play(study, truth)))


def test_the_best_on_development_documents_is_kept_and_judged_on_others(tmp_path: Path) -> None:
    """Breaks where test documents choose, development ones are shown as the score, or T is another."""
    found = confirmed()
    [kept] = [run for run in found.runs if run.spec.arm.method == "cadft(1)"]
    folder_of(tmp_path, kept.spec).mkdir(parents=True)
    answer = decision_of(found, tmp_path)
    assert answer is not None and answer.fine_tune
    assert answer.decision.best.method == "cadft(1)"
    assert answer.checkpoint == folder_of(tmp_path, kept.spec)
    [test] = [s for s in kept.scores if s.part == "test" and s.temperature == 1.0]
    assert f"it scores {100 * test.mean:.1f}" in answer.headline
    assert answer.curve[answer.decision.best] == pytest.approx(
        {s.temperature: 100 * s.mean for s in kept.scores if s.part == "test"}
    )
    data = answer.to_dict()
    assert data["keep"]["learning_rate"] == 3e-4 and data["checkpoint"] == str(answer.checkpoint)
    assert set(data["curve"]) == {"base", "p_pow(0.5) @ 0.001", "cadft(1) @ 0.0003", "nll @ 0.001"}


def test_the_checkpoint_that_stays_is_that_of_the_decision(tmp_path: Path) -> None:
    """Breaks where runs that score alike are ordered in two ways, so that the kept one is deleted."""
    study = plan_of(steps=STEPS[:2])
    one, *tuned = play(study, lambda method, rate: flat(0.3 if method == BASE else 0.7))
    same = [run_of(run.spec, flat(0.7)) for run in tuned]
    alike = [type(run)(**{**vars(run), "scores": same[0].scores}) for run in same]
    for run in alike:
        folder_of(tmp_path, run.spec).mkdir(parents=True)
    found = Confirmed(verdict=None, study=study, runs=(one, *alike))
    answer = decision_of(found, tmp_path)
    assert answer is not None
    [kept] = [run for run in alike if run.spec.arm.method == answer.decision.best.method]
    assert answer.checkpoint == folder_of(tmp_path, kept.spec)


@pytest.mark.parametrize("best", [0.3, 0.1])
def test_runs_that_do_not_beat_the_base_are_not_praised(best: float, tmp_path: Path) -> None:
    found = confirmed(lambda method, rate: flat(0.32 if method == BASE else best), steps=STEPS[:1])
    answer = decision_of(found, tmp_path)
    assert answer is not None and not answer.fine_tune and answer.checkpoint is None


def test_without_a_finished_fine_tune_there_is_no_decision(tmp_path: Path) -> None:
    study = plan_of()
    failure = Failure(method="nll", learning_rate=1e-3, seed=0, reason="it diverged")
    found = Confirmed(
        verdict=None, study=study, runs=(run_of(study.base(), flat(0.3)),), left_out=(failure,)
    )
    assert decision_of(found, tmp_path) is None
    assert "nll at learning rate 0.001 is left out: it diverged" in failed(found)
