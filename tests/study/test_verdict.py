"""A verdict says no more than the data, and says the same to whoever asks: confirm, compare, calibrate."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.cli.verdict_table import as_json
from harness.compare.compare import Comparison, compare
from harness.records.arm import Arm, arm_of, labels
from harness.records.runs import Results, Run, RunSpec, Score
from harness.study.from_records import evidence_of, settings_of
from harness.study.own_cells import own_cells
from harness.study.study import Study, chosen_arms, next_runs
from harness.study.verdict import settle
from tests.helpers.lm_eval_logs import log
from tests.helpers.paths import ROOT
from tests.helpers.studies import flat, play, row_of, run_of, study_of

PRIOR = {"mean_p": 0.5, "mean_p_interval": [0.4, 0.6], "model": {"parameters": 1e6}}
COMMITTED = ROOT / "results" / "confirm"
STOPPED = {"more-rollouts": 4}
"""Runs that a study lacks, of a third seed that was not made."""


def by_method(**accuracy: float) -> Any:
    """A truth that depends on the method alone; `nll` and `base` unless they are given."""
    known = {"base": 0.3, "nll": 0.5, **accuracy}
    return lambda method, rate: flat(known[method.partition("(")[0]])


def keep(folder: Path, runs: list[Run], planned: Any = None) -> Path:
    for run in runs:
        Results(folder).write(replace(run, prior=PRIOR, planned=planned))
    return folder


def rows_of(comparison: Comparison, temperature: float) -> dict[tuple[str, str], Any]:
    return {
        (row["arm"], row["baseline"]): (row["difference"], row["interval"], row["p_value"], row["verdict"])
        for row in comparison.table()
        if row["temperature"] == temperature
    }  # fmt: skip


def same_table(verdict: Any, comparison: Comparison, temperature: float) -> None:
    """Every row of a verdict against NLL and the base stands in the comparison, to the last digit."""
    found = rows_of(comparison, temperature)
    for row in (*verdict.against("nll"), *verdict.against("base")):
        key = (verdict.labels[row.arm], verdict.labels[row.baseline])
        own = row.difference
        assert found[key] == (own.estimate, list(own.interval), row.adjusted_p, row.verdict)


def test_confirm_compare_and_calibrate_read_one_table(tmp_path: Path) -> None:
    study = study_of(objectives=("nll", "threshold(0.2)", "neg_p"), learning_rates=(1e-3, 1e-4))
    runs = play(study, by_method(neg_p=0.8, threshold=0.2))
    verdict = settle(study, runs)
    keep(tmp_path, runs)
    comparison = compare([tmp_path])
    same_table(verdict, comparison, 1.0)
    assert comparison.headlines == (verdict.headline,)
    [cell] = own_cells([tmp_path]).cells
    assert cell.gains == {r.arm.method: r.difference.estimate for r in verdict.against("nll")
                          if not r.arm.control}  # fmt: skip


@pytest.mark.parametrize(
    "folder", sorted(path.name for path in COMMITTED.iterdir() if path.is_dir())
)
def test_the_committed_studies_give_one_table(folder: str) -> None:
    results = Results(COMMITTED / folder)
    studies = evidence_of(results.runs(), results.failed())
    comparison = compare([COMMITTED / folder])
    names = settings_of(studies)
    assert len(comparison.headlines) == len(studies)
    for evidence, name in zip(studies, names, strict=True):
        verdict = settle(evidence.study, evidence.runs)
        prefix = f"{name}: " if name else ""
        assert f"{prefix}{verdict.headline}" in comparison.headlines
        task = f"{prefix}{', '.join(evidence.study.tasks)}"
        choice = all(s.temperature is None for run in evidence.runs for s in run.scores)
        own = replace(comparison, rows=tuple(r for r in comparison.rows if r.task == task))
        same_table(verdict, own, None if choice else evidence.study.temperature)  # type: ignore[arg-type]
        left = evidence.left()  # a finished study runs nothing again
        assert len(left) == STOPPED.get(folder, 0)


def test_studies_of_other_tasks_or_repeats_are_not_merged() -> None:
    """Sampled and greedy answers of one model are two studies, with two verdicts."""
    found = compare([COMMITTED / "strong-greedy", COMMITTED / "strong-sampled"])
    tasks = dict.fromkeys(row.task for row in found.rows)
    assert sorted(tasks) == ["temperature=0.0: ladder_chain", "temperature=1.0: ladder_chain"]
    gain = {row.task: row.difference.estimate for row in found.rows if row.temperature == 1.0
            and (row.arm.label, row.baseline.label) == ("cadft(1)", "nll")}  # fmt: skip
    assert gain["temperature=1.0: ladder_chain"] == pytest.approx(29.17, abs=0.005)
    assert gain["temperature=0.0: ladder_chain"] != gain["temperature=1.0: ladder_chain"]


def test_rates_alike_on_development_are_chosen_in_one_way() -> None:
    """Whatever the order in which they were typed: the lower one."""
    for rates in ((1e-3, 1e-4), (1e-4, 1e-3)):
        study = study_of(learning_rates=rates)
        runs = [run_of(spec, flat(1.0)) for spec in (study.base(), *study.grid())]
        arms = [arm for arm in chosen_arms(study, runs) if arm.learning_rate and not arm.control]
        assert {arm.learning_rate for arm in arms} == {1e-4}


def test_what_the_last_command_asked_is_what_the_records_say(tmp_path: Path) -> None:
    """Seeds and arms that were asked for and not begun are missing, not forgotten."""
    study = study_of(objectives=("nll", "neg_p"), seeds=(0, 1, 2))
    runs = play(study, by_method(neg_p=0.8))
    first = [run for run in runs if run.spec.seed == 0]
    keep(tmp_path, first, planned=study.planned(1.0))
    [evidence] = evidence_of(Results(tmp_path).runs())
    assert evidence.study.seeds == (0, 1, 2) and len(evidence.left()) == 3
    verdict = settle(evidence.study, evidence.runs)
    assert verdict.headline.startswith("Not complete (at least 3 runs are due): ")
    assert as_json(study, verdict)["complete"] is False
    keep(tmp_path, runs, planned=study.planned(2.0))
    [evidence] = evidence_of(Results(tmp_path).runs())
    assert settle(evidence.study, evidence.runs).incomplete is None


def test_an_arm_whose_grid_is_not_finished_waits_and_the_rest_is_judged() -> None:
    study = study_of(objectives=("nll", "neg_p", "threshold(0.2)"))
    runs = play(study, by_method(neg_p=0.8, threshold=0.6))
    cut = [
        r for r in runs if r.spec.arm.method != "threshold(0.2)" or r.spec.arm.learning_rate == 1e-3
    ]
    verdict = settle(study, cut)
    assert verdict.incomplete == "Not complete (1 run is due, threshold(0.2) not judged yet)"
    assert {arm.method for arm in verdict.curve} == {"base", "nll", "neg_p"}


def test_a_run_that_came_to_nothing_does_not_take_the_study_with_it(tmp_path: Path) -> None:
    """A refused rate is out and named; the arm goes on at the other, and the study is complete."""
    study = study_of(objectives=("nll", "neg_p"))
    broken = study.spec(arm_of("neg_p", learning_rate=1e-3), 0)
    whole = play(study, by_method(neg_p=0.8))
    runs = [r for r in whole if r.spec.arm.learning_rate != 1e-3 or r.spec.arm.method != "neg_p"]
    keep(tmp_path, runs)
    failed = replace(
        runs[0], spec=broken, scores=(), error="TrainingDiverged: the loss is not a number"
    )
    Results(tmp_path).write(failed)
    results = Results(tmp_path)
    [evidence] = evidence_of(results.runs(), results.failed())
    while left := evidence.left():
        assert broken not in left
        more = [run_of(spec, by_method(neg_p=0.8)(spec.arm.method, None)) for spec in left]
        evidence = replace(evidence, runs=(*evidence.runs, *more))
    verdict = settle(evidence.study, evidence.runs)
    assert verdict.incomplete is None and verdict.winner.learning_rate == 1e-4
    assert verdict.out == ("neg_p at learning rate 0.001 is left out: the loss is not a number",)


def test_one_seed_keeps_a_checkpoint_and_calls_nothing_better() -> None:
    study = study_of(seeds=(0,))
    verdict = settle(study, play(study, by_method(neg_p=0.9, threshold=0.1)))
    assert {row.verdict for row in verdict.rows} <= {"ahead", "behind", "not resolved"}
    assert {"ahead", "behind"} <= {row.verdict for row in verdict.rows}
    assert verdict.winner.label == "neg_p" and verdict.fine_tune is True
    assert verdict.headline.startswith("Keep the checkpoint of neg_p: +")
    assert "One seed compares checkpoints, not objectives" in verdict.headline


def test_the_kept_checkpoint_is_chosen_on_development_documents() -> None:
    """Test documents say what it scores: they would flatter what they chose."""
    study = study_of(seeds=(0,))

    def on_test(run: Run, accuracy: float) -> Run:
        def values(score: Score) -> Score:
            right = tuple(
                (float(i < accuracy * len(score.documents)),) for i in range(len(score.documents))
            )
            return replace(score, values=right) if score.part == "test" else score

        return replace(run, scores=tuple(map(values, run.scores)))

    runs = play(study, by_method(neg_p=0.7, threshold=0.6))
    swapped = [on_test(r, 0.9) if r.spec.arm.method == "threshold(0.2)" else r for r in runs]
    assert settle(study, swapped).winner.label == "neg_p"


def test_do_not_fine_tune_takes_an_interval_below_what_matters() -> None:
    """An interval that reaches beyond the margin is not resolved, with what would settle it."""
    study = study_of(full=True)
    verdict = settle(study, play(study, lambda method, rate: flat(0.5)))
    assert verdict.fine_tune is None and verdict.winner.label == "base"
    assert "Not resolved: the gain of " in verdict.headline and " lies in [" in verdict.headline
    assert "would settle" in verdict.headline
    clearer = settle(study, play(study, by_method(base=0.47, neg_p=0.53, threshold=0.5)))
    if clearer.fine_tune is None:
        assert " documents x " in clearer.headline and " seeds would settle" in clearer.headline
    wide = settle(study, play(study, lambda method, rate: flat(0.5)), margin=50.0)
    assert (
        wide.fine_tune is False
        and "Do not fine-tune: no arm gains as much as 50 points" in wide.headline
    )


@pytest.mark.parametrize(("level", "word"), [(0.0, "an easier"), (1.0, "a harder")])
def test_a_task_at_its_floor_or_ceiling_decides_nothing(
    tmp_path: Path, level: float, word: str
) -> None:
    study = study_of(objectives=("nll", "neg_p"))
    runs: list[Run] = []
    while specs := next_runs(study, runs):
        for run in (run_of(spec, flat(0.5)) for spec in specs):
            scores = (replace(s, values=tuple((level,) for _ in s.values)) for s in run.scores)
            runs.append(replace(run, scores=tuple(scores)))
    verdict = settle(study, runs)
    assert verdict.undecided and verdict.fine_tune is None
    assert (
        verdict.headline.startswith("The task cannot tell the arms apart")
        and word in verdict.headline
    )
    keep(tmp_path, runs)
    with pytest.raises(InputError, match="its task cannot tell the arms apart"):
        own_cells([tmp_path])


def test_one_seed_adds_the_seeds_part_to_a_cells_error(tmp_path: Path) -> None:
    study = study_of(objectives=("nll", "neg_p"), seeds=(0,))
    keep(tmp_path, play(study, by_method(neg_p=0.8)))
    [cell] = own_cells([tmp_path]).cells
    assert 7.0 < cell.error < 10.0


def test_lower_is_better_where_it_is() -> None:
    """Rates, verdicts and the winner follow the metric's direction; differences keep its own sign."""
    study = study_of(
        objectives=("nll", "neg_p"), evaluation={"temperature": 1.0, "temperatures": [1.0]}
    )

    def distances(run: Run) -> Run:
        scores = (
            replace(s, metric="distance", unit="edits", higher_is_better=False,
                    values=tuple((10.0 - 8.0 * x,) for (x,) in s.values))
            for s in run.scores
        )  # fmt: skip
        return replace(run, scores=tuple(scores))

    def truth(method: str, rate: float | None) -> dict[float, float]:
        return flat({"base": 0.3, "nll": 0.5}.get(method, 0.8 if rate == 1e-3 else 0.4))

    runs: list[Run] = []
    while specs := next_runs(study, runs):
        runs += [distances(run_of(s, truth(s.arm.method, s.arm.learning_rate))) for s in specs]
    verdict = settle(study, runs)
    row = row_of(verdict, "neg_p", "nll")
    assert verdict.winner == arm_of("neg_p", learning_rate=1e-3)
    assert row.verdict == "better" and row.difference.estimate < 0 < row.gain
    assert row.difference.interval[0] < row.difference.interval[1] < 0
    assert row.unit == "edits" and "edits over nll" in verdict.headline
    assert all(r.verdict != "equivalent" for r in verdict.rows)  # no margin was given for edits


def test_arms_called_alike_are_told_apart_by_their_rate() -> None:
    arms = [arm_of("nll", learning_rate=rate) for rate in (1e-3, 1e-4)]
    control = arm_of("nll", learning_rate=1e-4, control="tenth")
    cooler = replace(arms[0], decoding=0.0)
    assert list(labels([*arms, control, cooler]).values()) == [
        "nll @ 0.001", "nll @ 0.0001", "nll, lr/10", "nll at temperature 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "objective", "targets"),
    [("nll", "nll", "demonstrations"), ("cadft(1)@resampled(0.1)", "cadft(1)", "resampled(0.1)"),
     ("dpo(0.5)", "dpo(0.5)", "pairs"), ("fire(sampled)", "fire(sampled)", "rollouts"),
     ("nll@own(8)", "nll", "own(8)"), ("base", "base", "demonstrations")],
)  # fmt: skip
def test_a_method_becomes_an_arm_and_back(text: str, objective: str, targets: str) -> None:
    arm = arm_of(text, learning_rate=1e-3)
    assert (arm.objective, arm.targets, arm.method) == (objective, targets, text)


def test_tasks_of_two_units_have_no_mean() -> None:
    study = study_of(tasks=("t", "u"), seeds=(0,))

    def both(spec: RunSpec) -> Run:
        run = run_of(spec, flat(0.5))
        more = tuple(replace(s, task="u", metric="loss", unit="nats") for s in run.scores)
        return replace(run, scores=run.scores + more)

    runs = [both(spec) for spec in (study.base(), *study.grid())]
    with pytest.raises(
        InputError, match=r"would mix directions or units: t \(exact_match, share\), u"
    ):
        settle(study, runs)


def test_json_names_arms_as_objects() -> None:
    study: Study = study_of(objectives=("nll", "neg_p"))
    found = as_json(study, settle(study, play(study, by_method(neg_p=0.8))))
    found = json.loads(json.dumps(found))
    assert found["arm"] == {"objective": "neg_p", "targets": "demonstrations", "decoding": None,
                            "control": None, "learning_rate": found["arm"]["learning_rate"]}  # fmt: skip
    assert Arm(**found["rows"][0]["arm"]).label and found["winner"] == "neg_p"


def test_logs_beside_records_are_arms_of_their_own(tmp_path: Path) -> None:
    """Whatever a log is called, it takes no arm's place, and the study's rows stay as they are."""
    study = study_of(objectives=("nll", "neg_p"), evaluation={"temperature": 0.0, "temperatures": [0.0]},
                     temperature=0.0, tasks=("sums",))  # fmt: skip

    def renamed(run: Run) -> Run:
        from lm_eval.utils import hash_string

        def own(s: Score) -> Score:
            ids = tuple(hash_string(f"document {i}")[:16] for i in range(len(s.documents)))
            part = tuple(f"d{name}" for name in ids) if s.part == "development" else ids
            return replace(s, task="sums", filter="strict", documents=part)

        return replace(run, scores=tuple(map(own, run.scores)))

    runs: list[Run] = []
    truth = by_method(neg_p=0.8)
    while specs := next_runs(study, runs):
        runs += [renamed(run_of(spec, truth(spec.arm.method, None))) for spec in specs]
    records = keep(tmp_path / "records", runs)
    alone = compare([records])
    for name in ("base", "nll", "mine"):
        path = log(tmp_path / name, [1.0] * 300)
        both = compare([records, path])
        assert both.headlines == alone.headlines
        assert [
            r for r in both.rows if "logged" not in (r.arm.targets, r.baseline.targets)
        ] == list(alone.rows)
        assert any(row.arm.targets == "logged" for row in both.rows)
