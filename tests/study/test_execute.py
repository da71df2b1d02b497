"""One run: ended where it takes too long, and what memory made smaller is in its record."""

import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from advisor.errors import InputError, TrainingDiverged
from harness.evaluate.lm_eval import TaskNotLoaded
from harness.records.arm import arm_of
from harness.records.runs import Results, RunSpec
from harness.runtime.memory import largest_that_fits
from harness.statistics.power import Spread, minimum_detectable
from harness.study import confirm as confirming
from harness.study import execute as executing
from harness.study import fit_arm
from harness.study.confirm import make_plan, seconds_of_parts
from harness.study.execute import Trial, execute, name_of, trial
from harness.study.failures import CERTAIN, failure_of, known_failures
from harness.study.fit_arm import Fitted
from tests.helpers.studies import PROBLEM, plan_of, result_of, study_of

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


def test_a_race_times_its_next_arm_where_the_first_diverges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study, asked = plan_of(), list[str]()

    def trial_of(spec: RunSpec, problem: Any) -> Trial:
        asked.append(spec.arm.method)
        if spec.arm.method in diverge:
            raise TrainingDiverged("the loss is not a finite number")
        return Trial(loading=1.0, step=2.0, answer=0.5)

    monkeypatch.setattr(confirming, "trial", trial_of)
    problem: Any = SimpleNamespace(train=range(80))
    diverge = {"p_pow(0.5)"}
    assert seconds_of_parts(study, problem) == (1.0 + 2.0 * 10, 0.5)
    assert asked == ["p_pow(0.5)", "cadft(1)"]
    diverge = {step.method for step in study.steps}
    with pytest.raises(InputError, match=r"^--plan three: every run of it diverges"):
        seconds_of_parts(study, problem)


def test_what_a_trial_of_a_race_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirming, "trial", raised(ValueError("Invalid beta parameter:\n1.5")))
    line = r"a trial of p_pow\(0\.5\) lr 0\.001 seed 0 failed \(ValueError: Invalid beta parameter: 1\.5\)"
    with pytest.raises(InputError, match=f"^{line}$"):
        seconds_of_parts(plan_of(), PROBLEM)


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


def raised(error: Exception, cause: Exception | None = None) -> Any:
    """What raises an error that came of another one."""

    def function(*rest: Any, **more: Any) -> Any:
        raise error from cause

    return function


AWAY = ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub")
NOT_LOADED = "task gsm8k: cannot be loaded (Couldn't reach 'openai/gsm8k' on the Hub)"
BROKEN = "CUDA error: an illegal memory access was encountered"
NO_DISK = "Input/output error"


@pytest.mark.parametrize(
    ("error", "cause", "ends"),
    [
        (TaskNotLoaded(NOT_LOADED), AWAY, NOT_LOADED),
        (InputError("task t: no answer"), AWAY, f"ConnectionError: {AWAY}"),
        (ValueError("no answer"), OSError(NO_DISK), f"OSError: {NO_DISK}"),
        (RuntimeError(BROKEN), None, f"RuntimeError: {BROKEN}"),
    ],
)
@pytest.mark.parametrize("place", ["fit", "evaluate"])
def test_trouble_of_the_machine_ends_the_study_and_puts_no_arm_out(
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    cause: Exception | None,
    ends: str,
    place: str,
) -> None:
    """Breaks where a network that was away for a minute condemns the arm that was being scored."""
    if place == "fit" and isinstance(error, TaskNotLoaded):
        return
    monkeypatch.setattr(executing, "fit", lambda *rest, **more: (LOADED, Fitted()))
    monkeypatch.setattr(executing, place, raised(error, cause))
    run = execute(study_of().spec(arm_of("neg_p", learning_rate=1e-3), 0), scored_problem())
    with pytest.raises(InputError, match=rf"^neg_p failed \({re.escape(ends)}\)$"):
        failure_of(run)
    results: Any = SimpleNamespace(failed=lambda: [run])
    assert not list(known_failures(results, ()))


def test_a_model_that_cannot_be_read_any_more_puts_no_arm_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks where a folder that is not mounted for a while makes a plan complete without its runs."""
    monkeypatch.setattr(fit_arm, "load_model", raised(InputError("/share/m: no such folder")))
    problem = problem_of(None)
    problem.model, problem.loading, problem.trackers, problem.checkpoints = "m", {}, None, None
    run = execute(study_of().spec(arm_of("neg_p", learning_rate=1e-3), 0), problem)
    with pytest.raises(InputError, match=r"^neg_p failed \(/share/m: no such folder\)$"):
        failure_of(run)


@pytest.mark.parametrize(
    ("error", "certain"),
    [
        (ValueError("t: exact_match is not finite on every document"), True),
        (InputError("task t: the user's code fails"), True),
        (KeyError("answer"), True),
        (RuntimeError("probability tensor contains either `inf`, `nan` or element < 0"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("something of torch's"), False),
        (torch.OutOfMemoryError("CUDA out of memory."), False),
    ],
)
def test_only_what_the_model_says_fails_for_good(
    monkeypatch: pytest.MonkeyPatch, error: Exception, certain: bool
) -> None:
    monkeypatch.setattr(executing, "fit", lambda *rest, **more: (LOADED, Fitted()))
    monkeypatch.setattr(executing, "evaluate", raised(error))
    run = execute(study_of().spec(arm_of("neg_p", learning_rate=1e-3), 0), scored_problem())
    failure = failure_of(run)
    assert failure is not None and failure.learning_rate == 1e-3
    assert (str(run.error).partition(": ")[0] in CERTAIN) == certain


def scored_problem() -> Any:
    """A problem as far as scoring a run reads it; `LOADED` is then a model."""
    problem = problem_of(None)
    problem.evaluation, problem.loading, problem.tasks, problem.include_path = {}, {}, (), None
    problem.train = SimpleNamespace(info=SimpleNamespace(template="none"))
    LOADED.model = LOADED.tokenizer = None
    return problem


def test_a_record_says_which_batches_were_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(size: int) -> tuple[Any, Fitted]:
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return LOADED, Fitted()

    def fits(*rest: Any, **more: Any) -> Any:
        return largest_that_fits(scarce, 8, "rows")

    monkeypatch.setattr(executing, "fit", fits)
    monkeypatch.setattr(executing, "evaluate", lambda *rest, **more: [])
    spec = study_of().spec(arm_of("neg_p", learning_rate=1e-3), 0)
    run = execute(spec, scored_problem())
    assert run.error is None and run.smaller_batches == {"rows": 2}
