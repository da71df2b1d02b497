"""What continuing the runs of a study comes to, on made-up records with known pass rates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.records.runs import Look, Results, Run, RunSpec, Score
from harness.reinforce.grpo_settings import Then
from harness.reinforce.verifier import Verifier
from harness.statistics.pass_at_k import SAMPLES, coverage, pass_at_k
from harness.study.afterwards import Afterwards, afterwards_of, continuation, starts_of, unfit
from harness.study.study import Study
from tests.helpers.studies import flat, plan_of, play, prior_leaning_wins, run_of, study_of

THEN = Then(verifier=Verifier(), settings={"max_steps": 40, "learning_rate": 3e-4})
DOCUMENTS = tuple(f"d{number}" for number in range(40))


def scores(rate: float, seed: int) -> tuple[Score, ...]:
    """SAMPLES answers to every document, each right with this probability."""
    drawn = np.random.default_rng(seed).random((len(DOCUMENTS), SAMPLES)) < rate
    values = tuple(tuple(map(float, row)) for row in drawn)
    return (
        Score(task="t", metric="exact_match", temperature=1.0, part="test", documents=DOCUMENTS,
              values=values),
    )  # fmt: skip


def continued(start: RunSpec, before: float, after: float) -> Run:
    run = run_of(start, flat(0.5))
    return replace(
        run, spec=continuation(start, THEN), scores=scores(after, 2),
        curve=(Look(share=0.0, scores=scores(before, 1)),),
    )  # fmt: skip


@pytest.fixture
def study() -> Study:
    return study_of()


@pytest.fixture
def runs(study: Study) -> list[Run]:
    return play(study, prior_leaning_wins)


def afterwards(study: Study, runs: list[Run], **rates: tuple[float, float]) -> Afterwards | None:
    starts = [spec for spec in starts_of(study, runs) if spec.arm.method in rates]
    return afterwards_of(study, runs, [continued(s, *rates[s.arm.method]) for s in starts])


def test_every_arm_at_its_chosen_rate_is_a_start_and_the_control_is_none(
    study: Study, runs: list[Run]
) -> None:
    found = [
        (spec.arm.method, spec.arm.learning_rate, spec.seed) for spec in starts_of(study, runs)
    ]
    assert found[0] == ("base", None, 0)
    assert {one[:2] for one in found[1:]} == {
        ("nll", 1e-4), ("neg_p", 1e-3), ("threshold(0.2)", 1e-4)
    }  # fmt: skip
    assert {one[2] for one in found if one[0] == "neg_p"} == {0, 1, 2}
    assert len(found) == len(set(found))


def test_of_a_plan_every_finished_run_is_a_start() -> None:
    plan = plan_of()
    runs = play(plan, lambda method, rate: flat(0.3 if method == "base" else 0.6))
    assert {spec.arm.method for spec in starts_of(plan, runs)} == {
        "base", "p_pow(0.5)", "cadft(1)", "nll"
    }  # fmt: skip


def test_pass_at_1_and_16_are_those_of_the_records_with_paired_intervals(
    study: Study, runs: list[Run]
) -> None:
    found = afterwards(study, runs, base=(0.1, 0.1), nll=(0.1, 0.4))
    assert found is not None
    base, nll = found.rows
    assert (base.arm.method, nll.arm.method, nll.seeds) == ("base", "nll", (0, 1, 2))
    before, after = (np.array(scores(rate, seed)[0].values) for rate, seed in ((0.1, 1), (0.4, 2)))
    assert nll.before[1] == pytest.approx(100 * before.mean())
    assert nll.after[16] == pytest.approx(100 * pass_at_k(after, 16).mean())
    gain = nll.change[1]
    assert gain.estimate == pytest.approx(nll.after[1] - nll.before[1])
    assert gain.interval[0] > 0 and base.change[1].interval[0] < 0 < base.change[1].interval[1]
    assert found.left == len(starts_of(study, runs)) - 4
    assert found.lines[0].startswith(f"{found.left} start(s)")


def test_coverage_is_that_of_the_untouched_model_and_nll_before_grpo(
    study: Study, runs: list[Run]
) -> None:
    found = afterwards(study, runs, base=(0.04, 0.5), nll=(0.01, 0.5))
    assert found is not None and found.coverage is not None
    base = np.array(scores(0.04, 1)[0].values)
    nll = np.array(scores(0.01, 1)[0].values)
    assert found.coverage == coverage(base, nll)
    assert found.coverage.ratio is None or found.coverage.ratio > 1
    assert afterwards(study, runs, nll=(0.1, 0.2)).coverage is None  # type: ignore[union-attr]


def test_the_order_of_the_records_does_not_matter(study: Study, runs: list[Run]) -> None:
    """Breaks where `advisor report`, which reads them by their ids, shows the coverage of another seed."""
    rates = {0: 0.04, 1: 0.02, 2: 0.01}
    starts = [spec for spec in starts_of(study, runs) if spec.arm.method in ("base", "nll")]
    found = [continued(spec, rates[spec.seed], 0.5) for spec in starts]
    one, other = afterwards_of(study, runs, found), afterwards_of(study, runs, found[::-1])
    assert one is not None and other == one and one.rows[1].seeds == (0, 1, 2)


def test_nothing_is_said_of_what_was_not_continued(study: Study, runs: list[Run]) -> None:
    assert afterwards(study, runs) is None
    other = study_of(dataset_fingerprint="another")
    assert afterwards_of(other, play(other, prior_leaning_wins), [
        continued(spec, 0.1, 0.2) for spec in starts_of(study, runs)
    ]) is None  # fmt: skip


def test_a_failed_continuation_is_named_and_is_no_row(study: Study, runs: list[Run]) -> None:
    start = starts_of(study, runs)[1]
    failed = replace(continued(start, 0.1, 0.2), scores=(), error="TrainingDiverged: the loss")
    found = afterwards_of(study, runs, [failed])
    assert found is not None and not found.rows
    assert found.failed == ("GRPO from nll, seed 0, failed: TrainingDiverged: the loss",)


def test_one_budget_counts_that_most_starts_have_had(study: Study, runs: list[Run]) -> None:
    starts = starts_of(study, runs)
    longer = replace(THEN, settings={**THEN.settings, "max_steps": 80})
    short = [continued(start, 0.1, 0.2) for start in starts[:2]]
    far = [
        replace(run, spec=continuation(start, longer))
        for run, start in zip(short, starts, strict=False)
    ]
    for records, steps in (([*short, far[0]], 40), ([*far, short[0]], 80), ([*short, *far], 80)):
        found = afterwards_of(study, runs, records)
        assert found is not None and found.steps == steps and len(found.rows) == 2


def test_the_specification_names_its_start_and_tells_budgets_apart(runs: list[Run]) -> None:
    start = runs[1].spec
    longer = replace(THEN, settings={**THEN.settings, "max_steps": 80})
    one, more = (continuation(start, then) for then in (THEN, longer))
    assert one.evaluation["start"] == start.id and one.evaluation["then"] == "grpo"
    assert len({start.id, one.id, more.id}) == 3
    assert one.training == {"max_steps": "40", "learning_rate": "0.0003"}
    cold = replace(start, evaluation={**start.evaluation, "temperature": 0.0})
    assert continuation(cold, THEN).evaluation["temperatures"] == [1.0]


def test_a_record_comes_back_from_the_disk(tmp_path: Any, runs: list[Run]) -> None:
    results, run = Results(tmp_path), continued(runs[1].spec, 0.1, 0.4)
    assert results.find_afterwards(run.spec) is None
    results.write_afterwards(run)
    found = results.find_afterwards(run.spec)
    assert found is not None and results.afterwards() == [found]
    assert found.curve[0].scores == run.curve[0].scores and found.scores == run.scores
    assert found.spec == run.spec and not results.runs()


def test_what_cannot_be_passed_or_failed_is_refused() -> None:
    run = run_of(study_of().base(), flat(0.5))
    assert unfit(run) is None
    choice = replace(run, scores=tuple(replace(s, temperature=None) for s in run.scores))
    assert unfit(choice) == "t chooses among answers and generates none"
    guarded = replace(
        run, scores=(*run.scores, replace(run.scores[0], part="guard", temperature=None))
    )
    assert unfit(guarded) is None  # what is guarded is not continued on
    bleu = replace(run, scores=tuple(replace(s, unit="bleu") for s in run.scores))
    assert unfit(bleu) == "exact_match of t is no share of right answers"
