"""What a study runs next, and what its runs say: pure functions on made-up records."""

import io
import itertools
from dataclasses import replace

import pytest
from rich.console import Console

from advisor.errors import InputError
from harness.cli import verdict_table as command
from harness.records.arm import Arm, arm_of
from harness.records.runs import Run
from harness.study.study import arm_scores, chosen_arms, next_runs
from harness.study.verdict import settle
from tests.helpers.studies import (
    DOCUMENTS,
    flat,
    play,
    prior_leaning_wins,
    row_of,
    run_of,
    study_of,
)


def test_every_arm_gets_the_same_grid_and_keeps_its_best_rate() -> None:
    study = study_of()
    runs = play(study, prior_leaning_wins)
    tried = {
        (run.spec.arm.method, run.spec.arm.learning_rate) for run in runs if run.spec.seed == 0
    }
    assert set(itertools.product(study.objectives, study.learning_rates)) <= tried
    rates = {arm.label: arm.learning_rate for arm in chosen_arms(study, runs)}
    assert rates["neg_p"] == 1e-3 and rates["nll"] == 1e-4
    assert rates["nll, lr/10"] == pytest.approx(1e-5) and rates["base"] is None


def test_a_teacher_is_part_of_the_runs_that_have_one_and_of_no_other() -> None:
    """So that a teacher added later repeats no run."""
    teachers = {"route": None, "models": {"big": {"name": "big", "fingerprint": "b"}}}
    arms = [arm_of(name, learning_rate=1e-3) for name in ("nll", "fire(percentile=0)")]
    before, after = study_of(), study_of(teachers=teachers)
    plain, taught = (after.spec(arm, 0) for arm in arms)
    assert plain == before.spec(arms[0], 0) and plain.id == before.spec(arms[0], 0).id
    assert taught.teachers == teachers and taught.id != before.spec(arms[1], 0).id
    assert after.spec(Arm(objective="base"), 0) == before.spec(Arm(objective="base"), 0)


def test_a_rate_that_the_development_documents_do_not_settle_is_said() -> None:
    def truth(objective: str, rate: float | None) -> dict[float, float]:
        if objective == "neg_p":
            return flat(0.6)  # alike at both rates
        return flat(0.3 if objective == "base" or rate == 1e-4 else 0.8)

    study = study_of(objectives=("nll", "neg_p"))
    verdict = settle(study, play(study, truth))
    [(open_arm, rates)] = verdict.open_rates.items()
    assert open_arm.method == "neg_p" and set(rates) == {1e-3, 1e-4}
    arms = {arm.label: arm for arm in chosen_arms(study, play(study, truth))}
    assert rates[0] == arms["neg_p"].learning_rate
    assert "neg_p" in verdict.remark and "nll" not in verdict.remark
    one = study_of(objectives=("nll", "neg_p"), learning_rates=(1e-3,))
    assert settle(one, play(one, truth)).remark == ""


def test_racing_spares_runs_of_arms_that_are_clearly_behind() -> None:
    raced, whole = (
        play(study_of(), prior_leaning_wins),
        play(study_of(full=True), prior_leaning_wins),
    )
    assert len(raced) < len(whole)
    seeds = [run.spec.seed for run in raced if run.spec.arm.method == "threshold(0.2)"]
    assert max(seeds) == 0
    assert {run.spec.seed for run in raced if run.spec.arm.method == "nll"} == {0, 1, 2}


def test_a_killed_study_goes_on_where_it_stopped() -> None:
    study = study_of()
    runs = play(study, prior_leaning_wins)
    for cut in range(len(runs)):
        left = {spec.id for spec in next_runs(study, runs[:cut])}
        assert left and not left & {run.spec.id for run in runs[:cut]}
        assert left <= {run.spec.id for run in runs}


def test_the_better_arm_wins_with_its_gain() -> None:
    verdict = settle(study_of(), play(study_of(), prior_leaning_wins))
    row = row_of(verdict, "neg_p", "nll")
    assert verdict.winner.label == "neg_p" and row.verdict == "better"
    assert row.difference.estimate == pytest.approx(row.score - row.baseline_score)
    assert 15 < row.difference.estimate < 35
    assert not verdict.sharpening and "Use neg_p" in verdict.headline


def test_a_gain_that_a_lower_temperature_closes_is_called_sharpening() -> None:
    def truth(objective: str, rate: float | None) -> dict[float, float]:
        if objective == "nll":
            return {0.0: 0.97, 0.5: 0.78, 1.0: 0.5}
        return flat(0.3) if objective == "base" else flat(0.78 if objective == "neg_p" else 0.5)

    verdict = settle(study_of(), play(study_of(), truth))
    assert verdict.winner.label == "neg_p" and verdict.sharpening
    assert "sharpening" in verdict.headline and "nll at temperature 0" in verdict.headline


def test_what_is_not_resolved_is_not_called_sharpening() -> None:
    greedy = itertools.cycle([0.6, 0.99, 0.75])  # of NLL's runs, one after the other

    def truth(objective: str, rate: float | None) -> dict[float, float]:
        if objective == "nll":
            return {0.0: next(greedy), 0.5: 0.5, 1.0: 0.5}
        return flat(0.3) if objective == "base" else flat(0.78 if objective == "neg_p" else 0.5)

    verdict = settle(study_of(), play(study_of(), truth))
    assert row_of(verdict, "neg_p", "nll at temperature 0").verdict == "not resolved"
    assert verdict.winner.label == "neg_p" and not verdict.sharpening
    assert verdict.headline.endswith("over nll at temperature 0, is not shown.")


def test_do_not_fine_tune() -> None:
    harmful = settle(
        study_of(), play(study_of(), lambda o, rate: flat(0.6 if o == "base" else 0.3))
    )
    assert harmful.winner.label == "base" and harmful.fine_tune is False
    assert harmful.headline.startswith("Every arm scores below the untouched model (the best, ")
    assert "Do not fine-tune: no arm gains as much as 1 point" in harmful.headline


def test_nll_where_nothing_is_better() -> None:
    verdict = settle(
        study_of(), play(study_of(), lambda o, rate: flat(0.3 if o == "base" else 0.6))
    )
    assert verdict.winner.label == "nll" and "no other objective" in verdict.headline
    worse = settle(
        study_of(), play(study_of(), lambda o, rate: flat({"base": 0.2, "nll": 0.8}.get(o, 0.4)))
    )
    assert (
        worse.winner.label == "nll" and "the others are worse, or were far behind" in worse.headline
    )


def unlucky(run: Run) -> Run:
    """The same run with every test score at nought."""
    scores = tuple(
        replace(s, values=tuple((0.0,) for _ in s.values)) if s.part == "test" else s
        for s in run.scores
    )
    return replace(run, scores=scores)


def test_an_arm_that_beats_the_base_is_used_though_it_is_not_shown_to_beat_nll() -> None:
    study = study_of(full=True)
    truth = {"base": 0.3, "nll": 0.5, "neg_p": 0.5}
    runs = play(study, lambda o, rate: flat(truth.get(o, 0.3)))
    # One seed of NLL came to nothing, at every rate: against it nothing is resolved.
    runs = [unlucky(r) if (r.spec.arm.method, r.spec.seed) == ("nll", 1) else r for r in runs]
    verdict = settle(study, runs)
    assert row_of(verdict, "nll", "base").verdict == "not resolved"
    assert row_of(verdict, "neg_p", "base").verdict == "better"
    assert verdict.winner.label == "neg_p"
    assert "Use neg_p" in verdict.headline and "better than nll is not shown" in verdict.headline


def test_an_arm_that_the_budget_cut_short_was_not_dropped() -> None:
    study = study_of(objectives=("nll", "neg_p"))
    runs = play(study, prior_leaning_wins)
    cut = [r for r in runs if not (r.spec.arm.method == "neg_p" and r.spec.seed > 1)]
    row = row_of(settle(study, cut), "neg_p", "base")
    assert row.difference.seeds == 2 and not row.dropped and row.adjusted_p < 0.05
    raced = settle(study_of(), play(study_of(), prior_leaning_wins))
    assert {row.arm.label for row in raced.rows if row.dropped} == {"threshold(0.2)"}


def test_runs_on_other_documents_are_not_compared() -> None:
    runs = play(study_of(), prior_leaning_wins)
    renamed = tuple(
        replace(s, documents=tuple(f"other{d}" for d in s.documents)) for s in runs[-1].scores
    )
    with pytest.raises(InputError, match="different documents of t: give another --results"):
        settle(study_of(), [*runs[:-1], replace(runs[-1], scores=renamed)])


def test_arms_of_long_names_can_be_told_apart_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arms = ("cadft(1)@resampled(0.1)", "cadft(1)@resampled(0.2)")
    study = study_of(objectives=("nll", *arms))
    runs = play(study, lambda arm, _: flat(0.3 if arm == "base" else 0.6))
    console = Console(width=80, file=io.StringIO())
    monkeypatch.setattr(command, "out", console)
    command.show(settle(study, runs))
    shown = "".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "…" not in shown and "0.1)" in shown and "0.2)" in shown


def test_a_label_breaks_at_its_spaces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where intervals are wide they fold before it does."""
    study = study_of(objectives=("nll", "nll>neg_p(at=0.5)", "nll>cadft(1, at=0.5)"), seeds=(0, 1))
    console = Console(width=100, file=io.StringIO())
    monkeypatch.setattr(command, "out", console)
    command.show(settle(study, play(study, lambda arm, _: flat(0.3 if arm == "base" else 0.6))))
    verdicts = console.file.getvalue().partition("score at temperature")[0]  # type: ignore[attr-defined]
    assert "nll>neg_p(at=0.5)" in verdicts and "nll>cadft(1," in verdicts


def test_tasks_count_alike_whatever_their_size() -> None:
    study = study_of(tasks=("t", "u"), seeds=(0,))
    spec = study.spec(Arm(objective="base"), 0)
    run = run_of(spec, flat(0.5))
    small = tuple(
        replace(s, task="u", documents=s.documents[:30], values=tuple((1.0,) for _ in range(30)))
        for s in run.scores
    )
    large = tuple(replace(s, values=tuple((0.0,) for _ in s.values)) for s in run.scores)
    run = replace(run, scores=large + small)
    scores = arm_scores(study, Arm(objective="base"), {spec.id: run}, [0])
    assert scores.shape == (1, DOCUMENTS + 30)
    assert scores.mean() == pytest.approx(0.5)


def test_a_spec_is_named_by_everything_in_it() -> None:
    study = study_of()
    first = next_runs(study, [])
    other = next_runs(study_of(training={"num_train_epochs": "2"}), [])
    assert first[0].id == other[0].id  # the base is not trained
    assert not {spec.id for spec in first[1:]} & {spec.id for spec in other[1:]}


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        (
            {"neg_p": 0.8},
            "advisor train m d.jsonl --objective neg_p --learning_rate 0.001 --max_steps 5",
        ),
        ({"base": 0.9}, None),
    ],
)
def test_the_command_that_trains_the_winner_is_said(
    accuracy: dict[str, float], said: str | None
) -> None:
    """Breaks where a study names a winner of which it keeps no checkpoint, and not how to make one."""
    study = study_of(
        objectives=("nll", "neg_p"), learning_rates=(1e-3,), seeds=(0,), training={"max_steps": "5"}
    )
    known = {"base": 0.3, "nll": 0.5, "neg_p": 0.4, **accuracy}
    runs = play(study, lambda method, rate: flat(known[method]))
    found = command.training_of(study, settle(study, runs), "m d.jsonl")
    assert found == (said and f"{said} --output_dir tuned")


def test_a_setting_of_several_values_is_several_words() -> None:
    """Breaks where a list stands in the command as Python writes it, which names one module for PEFT."""
    study = study_of(
        objectives=("nll",), learning_rates=(1e-3,), seeds=(0,),
        training={"lora_target_modules": ["q_proj", "v_proj"]},
    )  # fmt: skip
    runs = play(study, lambda method, rate: flat({"base": 0.3, "nll": 0.5}[method]))
    found = command.training_of(study, settle(study, runs), "m d")
    assert found is not None and found.endswith(
        "--lora_target_modules q_proj v_proj --output_dir tuned"
    )
