"""A plan carried out: which run is next, which checkpoint stays, and how it comes back from records."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.records.arm import arm_of
from harness.records.runs import Results, Run, RunSpec
from harness.study.checkpoint_folders import FOLDER, best_of, folder_of, prune, prune_all
from harness.study.confirm import confirm
from harness.study.from_records import evidence_of
from harness.study.study import next_runs
from harness.study.study_options import StudyOptions
from tests.helpers.studies import (
    PLAN,
    PROBLEM,
    STEPS,
    flat,
    plan_of,
    play,
    prior_leaning_wins,
    run_of,
    study_of,
    truth_of_the_plan,
)


def test_a_plan_makes_its_runs_and_the_last_where_it_is_needed() -> None:
    """Breaks where a grid, a tenth or a second seed is run, or the last run in vain."""
    study = plan_of()
    runs = play(study, truth_of_the_plan)
    found = [(run.spec.arm.method, run.spec.arm.learning_rate, run.spec.seed) for run in runs]
    assert found == [
        ("base", None, 0),
        ("p_pow(0.5)", 1e-3, 0),
        ("cadft(1)", 3e-4, 0),
        ("nll", 1e-3, 0),
    ]
    easy = plan_of(steps=(*STEPS[:2], replace(STEPS[2], below=80.0)))
    enough = play(easy, lambda method, rate: flat(0.3 if method == "base" else 0.97))
    assert [run.spec.arm.method for run in enough] == ["base", "p_pow(0.5)", "cadft(1)"]


def test_what_failed_is_not_waited_for() -> None:
    """Breaks where a plan stands still at a run that cannot be made."""
    rest = plan_of().without_rates({("cadft(1)", 3e-4)})
    assert [run.spec.arm.method for run in play(rest, truth_of_the_plan)] == [
        "base",
        "p_pow(0.5)",
        "nll",
    ]


def test_only_the_best_checkpoint_stays(tmp_path: Path) -> None:
    """Breaks where the best is deleted, the worse stay, or a foreign folder is touched."""
    study = plan_of()
    runs = play(study, truth_of_the_plan)
    for run in runs[1:]:
        folder_of(tmp_path, run.spec).mkdir(parents=True)
    (tmp_path / FOLDER / "theirs").mkdir()
    prune(tmp_path, study, runs[:2])
    assert len(list((tmp_path / FOLDER).iterdir())) == 4  # one run alone is the best
    prune(tmp_path, study, runs)
    best = best_of(study, runs)
    assert best is not None and best.spec.arm.method == "cadft(1)"
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} == {best.spec.id, "theirs"}


def test_no_checkpoint_goes_while_the_best_has_none(tmp_path: Path) -> None:
    """Breaks where a record of a study that kept no model wins, and all that was trained is deleted."""
    study = plan_of()
    runs = play(study, truth_of_the_plan)
    first, best = runs[1], runs[2]
    folder_of(tmp_path, first.spec).mkdir(parents=True)
    prune(tmp_path, study, runs)
    assert folder_of(tmp_path, first.spec).is_dir() and not folder_of(tmp_path, best.spec).exists()


def test_the_same_run_is_best_before_and_after_a_restart(tmp_path: Path) -> None:
    """Breaks where scores tie but for digits that a record does not keep: another run would be retrained."""
    study, thirds = plan_of(), [1 / 3] * 297 + [0.0] * 3
    whole = [1.0] * 99 + [0.0] * 201  # the same sum

    def execute(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        for spec in specs:
            run = run_of(spec, truth_of_the_plan(spec.arm.method, spec.arm.learning_rate))
            values = thirds if spec.arm.method == "p_pow(0.5)" else whole
            scores = tuple(
                replace(score, values=tuple((value,) for value in values))
                if score.part == "development" and spec.arm.method != "base"
                else score
                for score in run.scores
            )
            yield replace(run, scores=scores)

    results = Results(tmp_path)
    found = confirm(study, PROBLEM, results, PLAN, executor=execute).runs
    again = confirm(study, PROBLEM, results, PLAN, executor=execute).runs
    best, then = best_of(study, found), best_of(study, again)
    assert best is not None and then is not None and best.spec.id == then.spec.id
    assert {run.spec.id: run for run in found} == {run.spec.id: run for run in again}


def test_a_plan_that_has_ended_leaves_one_checkpoint(tmp_path: Path) -> None:
    """Breaks where a run that failed, or was half written, leaves a model on the disk for good."""
    study = plan_of()
    runs = play(study, truth_of_the_plan)[:3]  # the last one failed after it had been saved
    for spec in map(study.run_of, study.steps):
        folder_of(tmp_path, spec).mkdir(parents=True)
        folder_of(tmp_path, spec).with_name(f"{spec.id}.part").mkdir()
    prune_all(tmp_path, study, runs)
    left = {path.name for path in (tmp_path / FOLDER).iterdir()}
    assert left == {runs[2].spec.id, f"{runs[2].spec.id}.part"}


def test_a_plan_does_not_hide_a_study_of_arms() -> None:
    """Breaks where `confirm` without flags, after a full study, takes its verdict from the page."""
    full, plan = study_of(seeds=(0,)), plan_of()
    before = [replace(run, planned=full.planned(1.0)) for run in play(full, prior_leaning_wins)]
    after = [replace(run, planned=plan.planned(2.0)) for run in play(plan, truth_of_the_plan)]
    done = {run.spec.id: run for run in (*after, *before)}
    [evidence] = evidence_of(list(done.values()))
    assert not evidence.study.steps and evidence.obstacle() is None


def test_a_plan_comes_back_from_its_records() -> None:
    """Breaks where a killed plan would go on as a grid of rates."""
    study = plan_of()
    first = [replace(run, planned=study.planned(1.0)) for run in play(study, truth_of_the_plan)[:2]]
    [evidence] = evidence_of(first)
    assert evidence.study.steps == STEPS and evidence.study.plan == "three"
    assert "it is a plan" in str(evidence.obstacle())
    [due] = evidence.left()
    assert due.arm == arm_of("cadft(1)", learning_rate=3e-4)
    assert [spec.id for spec in next_runs(study, first)] == [due.id]


def test_a_plan_and_arms_of_ones_own_are_refused_together() -> None:
    assert StudyOptions().of_plan == "three"
    assert StudyOptions(plan="two").of_plan == "two"
    for changes in (
        {"objectives": ("nll",)},
        {"seeds": 2},
        {"full": True},
        {"plan": "full"},
        {"teacher": ("a",)},
    ):
        assert StudyOptions(**changes).of_plan is None  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--plan two.*leave out --seeds"):
        _ = StudyOptions(plan="two", seeds=2).of_plan


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"point_cost": 0.3}, "--point_cost: nothing is raced: add --plan race"),
        ({"point_cost": 1.0, "plan": "six"}, "--point_cost: nothing is raced"),
        ({"until": "decided", "seeds": 2}, "--until: nothing is raced"),
        ({"plan": "race", "until": "decided", "point_cost": 0.3}, "leave out --point_cost"),
    ],
)
def test_what_is_of_a_race_alone_is_refused_elsewhere(changes: dict[str, Any], says: str) -> None:
    """Breaks where a price or an end of a race is dropped in silence."""
    with pytest.raises(InputError, match=says):
        StudyOptions(**changes).refuse_contradictions()


def test_a_race_takes_its_price_and_its_end() -> None:
    for changes, price in (({"point_cost": 0.3}, 0.3), ({"until": "decided"}, 1.0), ({}, 1.0)):
        options = StudyOptions(plan="race", **changes)  # type: ignore[arg-type]
        options.refuse_contradictions()
        assert options.of_a_point == price
