"""A race carried out on made-up runs: nothing is repeated, whatever is killed, and several share the work."""

import json
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainerCallback

from advisor.advice.learnt_belief import shipped
from advisor.advice.recommend import recommend
from advisor.errors import InputError
from advisor.model.load import load_model
from advisor.options import DataOptions, ModelOptions
from harness.cli.inputs import measure, read_pair
from harness.evaluate.scoring_options import ScoringOptions
from harness.ladder.named_pair import pair_of
from harness.records.runs import Look, Results, Run, RunSpec, Score
from harness.report.figures import plan_figures
from harness.report.plan_view import carried_out
from harness.study import run_race
from harness.study.fit_arm import fit
from harness.study.from_records import evidence_of
from harness.study.plan_study import Request, plan_study
from harness.study.race_log import Told
from harness.study.run_race import COSTS, lease, piece_of, race, values_within
from harness.study.run_study import Silent, run_study
from harness.study.study import Step, Study, ending_of
from harness.study.study_options import StudyOptions
from tests.helpers.studies import flat, run_of, study_of

PROBLEM: Any = SimpleNamespace(prior={"mean_p": 0.6, "model": {"parameters": shipped().sizes[1]}})
TRUTH = {"cadft(1)": 0.8, "neg_p": 0.75, "nll": 0.5}
Done = list[tuple[str, float | None, float | None]]


def racing(**changes: Any) -> Study:
    """A race of the shipped arms."""
    steps = tuple(
        Step(method=name, learning_rate={"high": 1e-3, "low": 3e-4, "tenth": 1e-4}[word])
        for name, word in shipped().racers
    )
    names = tuple(dict.fromkeys(step.method for step in steps))
    rates = tuple(dict.fromkeys(step.learning_rate for step in steps))
    return study_of(
        objectives=names, learning_rates=rates, seeds=(0,), steps=steps, plan="race", **changes
    )


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """The studies whose parts were timed, on a machine that takes a minute a run and 20 ms an answer."""
    timed = list[Study]()

    def seconds_of_parts(study: Study, problem: Any) -> tuple[float, float]:
        timed.append(study)
        return 60.0, 0.02

    monkeypatch.setattr(run_race, "seconds_of_parts", seconds_of_parts)
    return timed


@pytest.fixture
def results(tmp_path: Path, trials: list[Study]) -> Results:
    """An empty folder."""
    return Results(tmp_path)


def base_of(study: Study, results: Results) -> Run:
    run = run_of(study.base(), flat(0.3))
    results.write(run)
    return run


def executing(done: Done, dies_at: int | None = None) -> Any:
    """What is executed in place of a training: notes every piece, and may die in one of them."""

    def execute(spec: RunSpec, problem: Any, until: float | None = None) -> Run:
        if dies_at is not None and len(done) == dies_at:
            raise KeyboardInterrupt
        done.append((spec.arm.method, spec.arm.learning_rate, until))
        run = run_of(spec, flat(TRUTH.get(spec.arm.method, 0.6)))
        if until == 1:
            return run
        assert until is not None
        looked = tuple(score for score in run.scores if score.part == "development")
        return replace(run, scores=(), curve=(Look(share=until, scores=looked, seconds=1.0),))

    return execute


def test_a_race_ends_with_its_leader_whole_and_repeats_nothing_after_kills(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, whole, told = racing(), Done(), list[Told]()
    base = base_of(study, results)
    monkeypatch.setattr(run_race, "execute", executing(whole))
    outcome = race(study, PROBLEM, results, base, on_state=told.append)
    assert outcome.complete
    assert max(Counter(whole).values()) == 1
    leader = told[-1].arms[told[-1].state.leader]
    kept = results.find(leader)
    assert kept is not None
    shares = [look.share for look in kept.curve]
    assert shares == sorted(shares)
    assert (leader.arm.method, leader.arm.learning_rate, 1.0) in whole
    ended = {spec for spec, _, until in whole if until == 1}
    assert len(ended) < len(whole)  # not every arm was taken to its end

    again = Results(tmp_path / "again")
    (tmp_path / "again").mkdir()
    base_of(study, again)
    pieces = Done()
    for dies_at in (1, 2, 4, 5, None):
        monkeypatch.setattr(run_race, "execute", executing(pieces, dies_at))
        try:
            race(study, PROBLEM, again, base)
        except KeyboardInterrupt:
            assert dies_at is not None
    assert pieces == whole
    assert [run.spec.id for run in again.runs()] == [run.spec.id for run in results.runs()]
    race(study, PROBLEM, again, base)
    assert pieces == whole  # nothing is left to do


def test_what_a_race_left_on_the_way_is_shown_as_far_as_it_went(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = racing()
    base = base_of(study, results)
    monkeypatch.setattr(run_race, "execute", executing([]))
    outcome = race(study, PROBLEM, results, base)
    [evidence] = evidence_of(results.runs())
    assert evidence.left() == []  # a race that has taken a run to its end is over
    found = carried_out(evidence, results.folder, None)
    assert found is not None
    assert found.complete
    whole = {run.spec.arm.method for run in outcome.runs} - {"base"}
    curves = found.progress()
    assert {name.partition(" @")[0] for name, curve in curves.items() if 1.0 in curve} == whole
    assert any(1.0 not in curve for curve in curves.values())
    assert all(0 <= score <= 100 for curve in curves.values() for score in curve.values())
    assert found.to_dict()["along"].keys() == curves.keys()
    drawn = [figure.svg for figure in plan_figures(evidence, found)]
    assert any("along the training" in svg for svg in drawn)
    assert any("What was believed of each run" in svg for svg in drawn)
    *bought, end = found.standings
    looks = sum(len(curve) for curve in curves.values())
    assert len(bought) == looks and end.next is None
    assert end.regret < bought[0].regret
    assert all(standing.points.keys() == end.points.keys() for standing in bought)
    assert end.leader in {run.spec.id for run in outcome.runs}


def test_a_task_that_leaves_no_room_is_not_raced_on(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, done = racing(), Done()
    base = run_of(study.base(), flat(0.5))
    right = tuple(replace(score, values=((1.0,),) * len(score.documents)) for score in base.scores)
    base = replace(base, scores=right)
    results.write(base)
    monkeypatch.setattr(run_race, "execute", executing(done))
    assert race(study, PROBLEM, results, base).complete
    assert done == []


def test_runs_that_score_alike_do_not_end_a_race(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of fixed runs ends after two that are not told apart; a race knows what others may still do."""
    study, base = racing(), run_of(racing().base(), flat(0.3))
    alike = [replace(base, spec=study.run_of(step)) for step in study.steps[:2]]
    assert ending_of(replace(study, plan="six"), [base, *alike]) == "noise"
    assert ending_of(study, [base, *alike]) is None


def test_that_tasks_differ_is_no_error_of_counting() -> None:
    """Breaks where a race takes an easy task beside a hard one for noise, and buys more than it needs."""
    study = racing(tasks=("t", "u"))
    easy, hard = np.arange(60) % 10 != 0, np.arange(20) % 10 == 0
    scores = [
        Score(task=task, metric="exact_match", temperature=1.0, part="development",
              documents=tuple(f"{i:02}" for i in range(len(right))), values=tuple((float(x),) for x in right))
        for task, right in (("u", hard), ("t", easy))
    ]  # fmt: skip
    values = values_within(study, scores)
    assert values.shape == (80,) and values.mean() == pytest.approx((0.9 + 0.1) / 2)
    error = (0.09 / 60 + 0.09 / 20) ** 0.5 / 2
    assert values.std() / 80**0.5 == pytest.approx(error)


def test_the_parts_are_timed_once_for_every_model(
    results: Results, trials: list[Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = [racing(), racing(model="other")]
    monkeypatch.setattr(run_race, "execute", executing(Done()))
    for study in (*studies, *studies):
        race(study, PROBLEM, results, base_of(study, results))
    assert trials == studies
    costs = json.loads((results.folder / COSTS).read_text())
    assert list(costs) == [study.run_of(study.steps[0]).id for study in studies]


def test_two_at_once_share_the_work(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    study, done = racing(), Done()
    base = base_of(study, results)
    monkeypatch.setattr(run_race, "execute", executing(done))
    monkeypatch.setattr(run_race, "WAIT", 0.01)
    threads = [
        threading.Thread(target=race, args=(study, PROBLEM, Results(results.folder), base))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert max(Counter(done).values()) == 1


def test_a_lease_is_one_process_s_until_it_lets_go(results: Results) -> None:
    spec = racing().run_of(racing().steps[0])
    with lease(results, spec) as first, lease(Results(results.folder), spec) as second:
        assert (first, second) == (True, False)
    with lease(results, spec) as third:
        assert third


def test_a_plan_that_another_process_carries_out_is_refused(results: Results) -> None:
    """Breaks where two processes make every run of a plan, and remove each other's checkpoints."""
    study = replace(racing(), plan="three")
    with (
        lease(results, study.run_of(study.steps[0])),
        pytest.raises(InputError, match="another process carries this plan out: wait for it"),
    ):
        run_study(study, PROBLEM, StudyOptions(results=str(results.folder)))


def test_an_arm_that_fails_is_out_and_the_others_race_on(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, done = racing(), Done()
    base = base_of(study, results)
    execute = executing(done)

    def failing(spec: RunSpec, problem: Any, until: float | None = None) -> Run:
        run: Run = execute(spec, problem, until)
        diverged = replace(run, scores=(), curve=(), error="TrainingDiverged: at step 3")
        return diverged if (spec.arm.method, spec.arm.learning_rate) == done[0][:2] else run

    monkeypatch.setattr(run_race, "execute", failing)
    outcome = race(study, PROBLEM, results, base)
    assert [(one.method, one.learning_rate) for one in outcome.left_out] == [done[0][:2]]
    assert sum(one[:2] == done[0][:2] for one in done) == 1
    assert outcome.complete
    assert len(outcome.runs) > 1


@pytest.mark.parametrize(
    ("error", "again"),
    [("TookTooLong: ended after 4 h", True), ("TrainingDiverged: at step 3", False)],
)
def test_an_arm_that_took_too_long_goes_on_from_its_pieces(
    results: Results, monkeypatch: pytest.MonkeyPatch, error: str, again: bool
) -> None:
    """Breaks where pieces of days are thrown away with the one that --run_limit ended."""
    study, done, failed = racing(), Done(), list[str]()
    base = base_of(study, results)
    execute = executing(done)

    def failing(spec: RunSpec, problem: Any, until: float | None = None) -> Run:
        run: Run = execute(spec, problem, until)
        place = results.folder / "pieces" / spec.id / "settings"
        place.mkdir(parents=True, exist_ok=True)
        second = sum(one[:2] == done[-1][:2] for one in done) == 2
        if second and until != 1 and not failed:
            failed.append(spec.id)
            return replace(run, scores=(), curve=(), error=error)
        return run

    monkeypatch.setattr(run_race, "execute", failing)
    outcome = race(study, PROBLEM, results, base)
    assert outcome.complete and len(outcome.left_out) == 1
    kept = {run.spec.id for run in results.parts()}
    run_race.forget_all(study, results, outcome.left_out)
    left = {path.name for path in (results.folder / "pieces").iterdir()}
    assert left == (set(failed) if again else set())
    assert (failed[0] in kept) == again
    [out] = outcome.left_out
    at = [
        until for method, rate, until in done if (method, rate) == (out.method, out.learning_rate)
    ]
    before = len(done)
    race(study, PROBLEM, results, base)
    more = [one[2] for one in done[before:] if one[:2] == (out.method, out.learning_rate)]
    assert at[0] not in more and (again or not more)


def test_a_budget_ends_it_once_a_run_is_whole(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, done = racing(), Done()
    base = base_of(study, results)
    monkeypatch.setattr(run_race, "execute", executing(done))
    outcome = race(study, PROBLEM, results, base, budget=0.0)
    assert [until for _, _, until in done].count(1.0) == 1
    assert done[-1][2] == 1.0
    assert len(outcome.runs) == 2
    assert Silent().stand(None) is None  # type: ignore[arg-type]


def test_a_race_whose_last_piece_ends_after_the_budget_is_complete(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where a race that has nothing left to do asks to be started again, and keeps its pieces."""
    study, whole, pieces, clock = racing(), Done(), Done(), [0.0]
    monkeypatch.setattr(run_race, "execute", executing(whole))
    race(study, PROBLEM, results, base_of(study, results))
    monkeypatch.setattr(run_race.time, "monotonic", lambda: clock[0])
    execute = executing(pieces)

    def slow_at_last(spec: RunSpec, problem: Any, until: float | None = None) -> Run:
        run: Run = execute(spec, problem, until)
        clock[0] = 60.0 if len(pieces) == len(whole) else 1.0
        return run

    monkeypatch.setattr(run_race, "execute", slow_at_last)
    again = Results(tmp_path / "again")
    outcome = race(study, PROBLEM, again, base_of(study, again), budget=30.0)
    assert pieces == whole and outcome.complete


def test_a_piece_goes_on_from_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where pieces are looked for elsewhere than they were left: each would begin anew."""
    pair = pair_of("ladder:strong", None)
    loaded, dataset = read_pair(pair, ModelOptions(), DataOptions())
    advice = recommend(measure(loaded, dataset), temperature=0.0)
    request = Request(
        pair=pair,
        study=StudyOptions(plan="race", results=str(tmp_path)),
        training={"max_steps": 8},
        scoring=ScoringOptions(temperature=0.0, limit=8),
    )
    study, problem = plan_study(request, loaded, dataset, advice)
    spec, results = study.run_of(study.steps[0]), Results(tmp_path)
    began = []

    class Watches(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            began.append(state.global_step)

    monkeypatch.setattr("harness.study.fit_arm.PrinterCallback", Watches)
    monkeypatch.setattr(Trainer, "remove_callback", Trainer.add_callback)
    whole, _ = fit(spec, problem)
    for share in (1 / 4, 1 / 2, 1.0):
        failure, run = piece_of(study, problem, results, spec, share)
        assert failure is None
        assert run.error is None
    assert began == [0, 0, 2, 4]
    assert [look.share for look in run.curve] == [1 / 4, 1 / 2]
    assert not list((tmp_path / "pieces").glob("*/*"))
    kept = load_model(str(tmp_path / "checkpoints" / spec.id)).model.state_dict()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, kept[name])
