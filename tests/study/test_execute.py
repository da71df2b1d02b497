"""One run: ended where it takes too long, and what memory made smaller is in its record."""

import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from advisor.errors import InputError
from harness.records.arm import arm_of
from harness.records.runs import Results
from harness.runtime.memory import largest_that_fits
from harness.statistics.power import Spread, minimum_detectable
from harness.study import confirm as confirming
from harness.study import execute as executing
from harness.study.confirm import make_plan
from harness.study.execute import execute, name_of, trial
from harness.study.failures import failure_of, known_failures
from harness.study.fit_arm import Fitted
from tests.helpers.studies import PROBLEM, result_of, study_of

LOADED = SimpleNamespace(device="cpu", dtype="float32")


def problem_of(limit: float | None) -> Any:
    return SimpleNamespace(
        teachers=None, looks=False, limit=limit, domain="user", prior=None, guards=()
    )


def test_a_run_that_hangs_is_ended_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*rest: Any, **more: Any) -> Any:
        while True:
            try:
                time.sleep(60)
            except Exception:
                pytest.fail("it is no error that a run may take for its own")

    monkeypatch.setattr(executing, "fit", hangs)
    spec = study_of().spec(arm_of("neg_p", learning_rate=1e-3), 2)
    run = execute(spec, problem_of(0.2))
    assert run.error == "TookTooLong: ended after 0 s, the limit of one run"
    failure = failure_of(run)
    assert failure is not None and name_of(spec) == "neg_p lr 0.001 seed 2"
    line = "neg_p at learning rate 0.001 is left out: ended after 0 s, the limit of one run"
    assert failure.line == line
    results: Any = SimpleNamespace(failed=lambda: [run])
    assert not list(known_failures(results, ()))  # started again, it is tried again


def test_a_trial_that_hangs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executing, "load_model", lambda *rest, **more: time.sleep(60))
    problem = problem_of(0.2)
    problem.model, problem.loading = "m", {}
    spec = study_of().spec(arm_of("nll", learning_rate=1e-3), 0)
    line = "a trial of nll lr 0.001 seed 0 was ended after 0 s, the limit of one run: raise --run_limit"
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        trial(spec, problem)


def test_started_again_nothing_is_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study, results = study_of(), Results(tmp_path)
    results.write(result_of(study.base()))
    for seed, seconds in ((0, 40.0), (1, 60.0)):
        ended = result_of(study.spec(arm_of("nll", learning_rate=1e-3), seed))
        results.write(replace(ended, seconds=seconds))
    monkeypatch.setattr(confirming, "trial", lambda *rest: pytest.fail("it is timed again"))
    plan = make_plan(study, PROBLEM, results)
    assert plan.finished == 3 and plan.seconds == 50.0 * (plan.runs - 3)


def test_a_small_task_hides_as_much_as_it_counts(tmp_path: Path) -> None:
    """Breaks where 20 documents that are half of the mean are planned with as 20 of 320."""
    study, results = study_of(tasks=("t", "u")), Results(tmp_path)
    for spec in (study.base(), study.spec(arm_of("nll", learning_rate=1e-3), 0)):
        run = result_of(spec)
        small = [
            replace(s, task="u", documents=s.documents[:20], values=s.values[:20])
            for s in run.scores
        ]
        results.write(replace(run, scores=(*run.scores, *small)))
    plan = make_plan(study, PROBLEM, results)
    assert plan.documents == 320 and plan.detectable is not None
    alike = Spread(document=0.5 * (1 / 300 + 1 / 20) ** 0.5 / 2 * 300**0.5, seed=0.03 * 2**0.5)
    expected = 100 * minimum_detectable(300, 3, alike, alpha=0.05 / 3)
    assert plan.detectable == pytest.approx(expected, rel=0.02)


def test_a_record_says_which_batches_were_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(size: int) -> tuple[Any, Fitted]:
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return LOADED, Fitted()

    def fits(*rest: Any, **more: Any) -> Any:
        return largest_that_fits(scarce, 8, "rows")

    monkeypatch.setattr(executing, "fit", fits)
    monkeypatch.setattr(executing, "evaluate", lambda *rest, **more: [])
    problem = problem_of(None)
    problem.evaluation, problem.loading, problem.tasks, problem.include_path = {}, {}, (), None
    problem.train = SimpleNamespace(info=SimpleNamespace(template="none"))
    spec = study_of().spec(arm_of("neg_p", learning_rate=1e-3), 0)
    LOADED.model = LOADED.tokenizer = None
    run = execute(spec, problem)
    assert run.error is None and run.smaller_batches == {"rows": 2}
