"""A study's runs continued with GRPO on the ladder, in miniature: once each, on training prompts alone."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from advisor.data.dataset import load_dataset
from advisor.model.load import load_model
from harness.cli.main import main
from harness.evaluate.user_scorer import ScorerFailed
from harness.generate.decoding import turn_ends
from harness.ladder import resolve
from harness.ladder.ladder_tasks import task_rows
from harness.records.runs import Results, Run
from harness.reinforce.grpo_settings import Then, grpo_settings
from harness.reinforce.verifier import Question, Verifier
from harness.study import continue_starts, run_study
from harness.study.afterwards import Afterwards, continuation
from harness.study.checkpoint_folders import folder_of
from harness.study.execute import execute
from harness.study.problem import Problem
from harness.study.study import Study
from harness.study.study_options import StudyOptions
from tests.helpers.studies import plan_of, play, study_of, truth_of_the_plan

ROWS = [
    {"prompt": f"{a}+{b}|", "completion": f"{a}+{b}={a + b}#{a + b}"}
    for a in (3, 5)
    for b in (2, 4, 6, 8)
]


class Seen(Verifier):
    """Remembers the prompts that it was asked about."""

    texts: ClassVar[set[str]] = set()

    def __call__(self, answers: Any, questions: list[Question]) -> list[float]:  # type: ignore[override]
        Seen.texts |= {question.text for question in questions}
        return super().__call__(answers, questions)


@pytest.fixture(scope="module")
def case() -> tuple[Study, Problem, Run]:
    """A study of which the untouched model has been scored."""
    model = str(resolve("weak")[0])
    loaded = load_model(model, device="cpu")
    settings = {**grpo_settings(loaded.parameters, steps=2), "per_device_train_batch_size": 64}
    problem = Problem(
        model=model, loading={"device": "cpu"}, train=load_dataset(ROWS, loaded.tokenizer),
        held_out=None, tasks=["ladder_kv"], domain="ladder",
        then=Then(verifier=Seen(pattern="#([^#$]*)"), settings=settings, samples=16),
    )  # fmt: skip
    study = study_of(
        tasks=("ladder_kv",),
        evaluation={"temperature": 1.0, "temperatures": [1.0], "repeats": 1, "limit": 3},
    )
    return study, problem, execute(study.base(), problem)


def test_a_start_is_continued_once_and_rewarded_on_training_prompts_alone(
    case: tuple[Study, Problem, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, problem, base = case
    results, told = Results(tmp_path), list[str]()

    def stages(title: str) -> Any:
        told.append(title)
        return lambda done, total: None

    found = continue_starts.continue_all(study, problem, results, [base], stages=stages)
    assert found is not None and found.left == 0 and not found.failed
    [row] = found.rows
    assert row.arm.method == "base" and row.documents == 3
    assert all(0 <= rates[1] <= rates[16] <= 100 for rates in (row.before, row.after))
    assert told[0].startswith("1 of 1: GRPO from base") and any("steps" in title for title in told)
    assert problem.then is not None
    record = results.find_afterwards(continuation(base.spec, problem.then))
    assert record is not None and [step["step"] for step in record.steps] == [1, 2]
    scored = {row["prompt"] for row in task_rows("kv")}
    assert Seen.texts == {row["prompt"] for row in ROWS} and not Seen.texts & scored

    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a continuation that has ended is repeated")

    monkeypatch.setattr(continue_starts, "reinforced", never)
    monkeypatch.setattr(continue_starts, "fit", never)
    again = continue_starts.continue_all(study, problem, results, [base])
    assert again == found


def test_a_kept_start_stops_where_the_demonstrations_end_a_turn(
    case: tuple[Study, Problem, Run], tmp_path: Path
) -> None:
    """A checkpoint whose turns end in ordinary tokens stops at their text, which GRPO does not look at."""
    _, problem, base = case
    spec = replace(base.spec, arm=replace(base.spec.arm, objective="nll"))
    loaded = load_model(problem.model, device="cpu")
    loaded.model.generation_config.update(eos_token_id=0, stop_strings=["#"])
    folder = folder_of(tmp_path, spec)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    start = continue_starts.Start(spec=spec, problem=problem, results=Results(tmp_path)).load()
    assert turn_ends(problem.train) < set(start.model.generation_config.eos_token_id)


def test_after_its_time_nothing_is_begun(case: tuple[Study, Problem, Run], tmp_path: Path) -> None:
    study, problem, base = case
    assert (
        continue_starts.continue_all(study, problem, Results(tmp_path), [base], until=0.0) is None
    )


def test_a_continuation_that_hangs_is_named_and_tried_again(
    case: tuple[Study, Problem, Run], tmp_path: Path
) -> None:
    study, problem, base = case
    results = Results(tmp_path)
    found = continue_starts.continue_all(study, replace(problem, limit=0.02), results, [base])
    assert found is not None and not found.rows and found.left == 1
    assert "TookTooLong: ended after 0 s, the limit of one run" in found.lines[1]
    assert problem.then is not None
    assert results.find_afterwards(continuation(base.spec, problem.then)) is None


@pytest.mark.parametrize(
    ("error", "for_good", "says"),
    [
        (ValueError("what TRL refuses"), True, "ValueError: what TRL refuses"),
        (torch.OutOfMemoryError("CUDA out of memory."), False, "OutOfMemoryError: CUDA out of"),
        (RuntimeError("CUDA error: unknown error"), False, "CUDA error: unknown error"),
        (ConnectionError("the hub"), False, "ConnectionError: the hub"),
        (ScorerFailed("the judge is away"), False, "ScorerFailed: the judge is away"),
    ],
)
def test_a_continuation_that_fails_takes_nothing_with_it(
    case: tuple[Study, Problem, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    for_good: bool,
    says: str,
) -> None:
    """Breaks where a lack of memory ends the command in a traceback, and the decision is never printed."""
    study, problem, base = case
    monkeypatch.setattr(continue_starts, "reinforced", raising(error))
    monkeypatch.setattr(continue_starts, "score_part", lambda *rest, **more: [base.scores[0]])
    results = Results(tmp_path)
    found = continue_starts.continue_all(study, problem, results, [base])
    assert found is not None and says in found.lines[-1] and not found.rows
    assert found.left == (0 if for_good else 1)
    assert problem.then is not None
    kept = results.find_afterwards(continuation(base.spec, problem.then))
    assert (kept is not None) == for_good


def raising(error: Exception) -> Any:
    def function(*rest: Any, **more: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize("left", [None, 1, 0])
def test_starts_stay_on_the_disk_until_all_are_continued(
    left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where a start has to be trained again because its continuation took too long the first time."""
    study, results = plan_of(), Results(tmp_path)
    runs = play(study, truth_of_the_plan)
    for run in runs:
        results.write(run)
        folder_of(tmp_path, run.spec).mkdir(parents=True)
    found = Afterwards(rows=(), coverage=None, failed=(), left=left or 0, steps=2)
    given = None if left is None else found
    monkeypatch.setattr(run_study, "continue_all", lambda *rest, **more: given)
    problem: Any = SimpleNamespace(teachers=None, then=object())
    options = StudyOptions(results=str(tmp_path), then="grpo")
    assert run_study.run_study(study, problem, options).afterwards is given
    kept = [run for run in runs if folder_of(tmp_path, run.spec).is_dir()]
    assert len(kept) == (2 if left == 0 else 4)


def test_a_continuation_that_diverged_is_not_tried_again(
    case: tuple[Study, Problem, Run], tmp_path: Path
) -> None:
    study, problem, base = case
    assert problem.then is not None
    results, spec = Results(tmp_path), continuation(base.spec, problem.then)
    results.write_afterwards(
        replace(base, spec=spec, scores=(), error="TrainingDiverged: the loss")
    )
    found = continue_starts.continue_all(study, problem, results, [base])
    assert found is not None and not found.rows and "failed: TrainingDiverged" in found.lines[0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--then_steps", "5"], "--then_steps: nothing is continued: add --then grpo"),
        (["--then", "grpo", "--plan", "race"], "a race takes few of its runs to their ends"),
        (
            ["--then", "grpo", "--use_peft", "true", "--limit", "4"],
            "not adapters: leave out --use_peft",
        ),
    ],
)
def test_refusals_are_one_line(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ["ladder:weak", "--temperature", "1", "--results", str(tmp_path), *words]
    assert main(["confirm", *flags]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert reason in said


def test_answers_that_cannot_be_checked_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(
        "".join(f'{{"prompt": "{n}|", "completion": "word{n % 3}"}}\n' for n in range(20)), "utf-8"
    )
    flags = [str(resolve("weak")[0]), str(data), "--temperature", "1", "--then", "grpo"]
    assert main(["confirm", *flags, "--results", str(tmp_path / "results")]) == 2
    assert "no answer can be checked, so there is nothing to reward" in capsys.readouterr().err


def test_too_few_questions_are_refused_before_any_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:5]))
    flags = ["--temperature", "1", "--tasks", "ladder_kv", "--limit", "3", "--then", "grpo"]
    words = ["confirm", str(resolve("weak")[0]), str(rows), *flags, "--results", str(tmp_path)]
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--then grpo: 5 training prompts have an answer, fewer than the 8 of a step" in said
    assert not Results(tmp_path).runs()
