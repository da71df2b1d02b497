"""The plan of a recommendation: its runs, what it costs, what it is expected to lose."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from advisor.advice.learning_rates import learning_rate
from advisor.advice.plan import DEFAULT, documents_of, minutes_of, neighbours
from advisor.advice.recommend import recommend
from advisor.advice.replayed import Evidence, PlannedRun, Replay, ReplayedCell, read, shipped, write
from advisor.errors import InputError
from tests.helpers.priors import prior_of, with_model

SMALL = with_model(prior_of(0.8), parameters=800_000)


SMALL_ONES = Evidence(
    models="small ones", sizes=(1e5, 1e6), arms=2, cooler=0.9, alone_regret={"greedy": 9.0, "sampled": 10.0}
)  # fmt: skip


def replay_of(regrets: list[float], **changes: object) -> Replay:
    """Two plans on some cells: the first loses 10 points on each, the other what is given."""
    cells = [
        ReplayedCell(
            name="c",
            models="small ones",
            decoding=how,
            regrets={"one": 10.0, DEFAULT: regret},
            runs={"one": 1, DEFAULT: 2},
        )
        for how in ("greedy", "sampled")
        for regret in regrets
    ]
    first = PlannedRun(objective="nll", rate="high")
    found = Replay(
        records="", plans={"one": (first,), DEFAULT: (first, PlannedRun(objective="neg_p", rate="low"))},
        cells=cells, alone={how: first for how in ("greedy", "sampled")}, evidence=(SMALL_ONES,),
    )  # fmt: skip
    return replace(found, **changes)  # type: ignore[arg-type]


def test_what_a_plan_loses_is_the_mean_over_the_cells() -> None:
    """Breaks where the two ways of decoding are mixed, or five points count as more than five."""
    replay = replay_of([0.0, 5.0, 7.0, 8.0])
    expected = replay.expected(DEFAULT, "sampled", 8e5)
    assert (expected.regret, expected.chance_over_5, expected.runs) == (5.0, 0.5, 2.0)
    assert expected.cells == 4


def test_what_is_promised_is_of_the_models_nearest_in_size() -> None:
    """Breaks where a large model is promised what tiny ones lost, or is decided by a few cells of one."""
    replay = replay_of([1.0])
    large = replace(
        SMALL_ONES, models="a large one", sizes=(1e8, 1e8), alone_regret={"greedy": 3.0}
    )
    cells = [
        replace(cell, models="a large one", regrets={"one": 3.0, DEFAULT: 2.0})
        for cell in replay.cells
    ]
    both = replace(replay, evidence=(SMALL_ONES, large), cells=(*replay.cells, *cells))
    regrets = [both.expected(DEFAULT, "greedy", size).regret for size in (1e4, 9e6, 1.1e7, 7e9)]
    assert regrets == [1.0, 1.0, 2.0, 2.0]  # the border lies at 1e7, as far from 1e6 as from 1e8
    plan = recommend(prior_of(0.8), temperature=0.0, replay=both).plan
    assert (plan.models, plan.cells, plan.regret, plan.alone_regret) == ("a large one", 1, 2.0, 3.0)
    assert not plan.measured and not plan.decided


def test_decided_is_a_chance_below_a_tenth_where_models_of_the_size_were_measured() -> None:
    """Breaks where a plan counts as decided for a size that was never measured."""
    nine, ten = replay_of([0.0] * 10 + [9.0]), replay_of([0.0] * 9 + [9.0])
    assert recommend(SMALL, temperature=1.0, replay=nine).decided
    assert not recommend(SMALL, temperature=1.0, replay=ten).decided  # a tenth is not below it
    large = recommend(prior_of(0.8), temperature=1.0, replay=nine)
    assert not large.decided and not large.plan.measured
    assert "not known" in str(large)


def test_decided_takes_documents_enough_that_choose() -> None:
    """Breaks where rows without a target are counted, or a handful of documents counts as deciding."""
    nine = replay_of([0.0] * 10 + [9.0])
    small = {**SMALL.dataset, "rows": 500}
    whole = replace(SMALL, dataset=small, examples=100, dropped=0)
    assert recommend(whole, temperature=1.0, replay=nine).plan.documents == 50
    assert recommend(whole, temperature=1.0, replay=nine).decided
    fifth = replace(whole, dropped=25)
    found = recommend(fifth, temperature=1.0, replay=nine)
    assert fifth.usable_rows == 400
    assert found.plan.documents == 40
    assert found.plan.minutes < recommend(whole, temperature=1.0, replay=nine).plan.minutes
    assert not found.decided
    assert "only 40 documents choose" in str(found)


def test_the_runs_have_rates_of_the_models_size() -> None:
    plan = recommend(SMALL, temperature=0.7, replay=replay_of([1.0])).plan
    assert [(run.objective, run.learning_rate, run.decoding) for run in plan.runs] == [
        ("nll", 1e-3, 0.7),
        ("neg_p", 3e-4, 0.7),
    ]
    assert plan.alone.objective == "nll" and plan.alone_regret == 10.0
    assert plan.cheaper is not None and plan.cheaper.name == "one" and plan.dearer is None


@pytest.mark.parametrize(
    ("parameters", "trained", "high", "low"),
    [
        (152_256, "full", 3e-3, 1e-3),
        (8e5, "full", 1e-3, 3e-4),
        (5e6, "full", 5e-4, 2e-4),
        (1.35e8, "full", 1e-4, 3e-5),
        (8e9, "full", 5e-5, 2e-5),
        (7e10, "full", 1e-5, 3e-6),
        (8e9, "lora", 5e-4, 2e-4),
        (8e9, "qlora", 2e-4, 7e-5),
    ],
)
def test_the_low_rate_is_a_third_to_one_digit(
    parameters: float, trained: str, high: float, low: float
) -> None:
    """Breaks where a rate is no longer the one that the cells were trained at, or prints many digits."""
    found = [learning_rate(parameters, word, trained) for word in ("high", "low")]  # type: ignore[arg-type]
    assert found == [high, low]


def test_time_is_that_of_the_probe() -> None:
    """Breaks where rows, the passes of a step, or an answer, of each temperature, are not counted."""
    prior = prior_of(0.8, seconds=50.0, examples=500)  # 0.1 s an example
    prior = replace(
        prior, dataset={**prior.dataset, "rows": 1000}
    )  # 200 kept back, 100 of them choose
    assert documents_of(prior) == (100, 100)
    greedy, sampled = 100 + 2 * 100, 4 * 100 + 5 * 100
    assert minutes_of(prior, 2, 0.0) == pytest.approx(2 * 0.1 * (3 * 1000 + 4 * greedy) / 60)
    assert minutes_of(prior, 2, 0.7) == pytest.approx(2 * 0.1 * (3 * 1000 + 4 * sampled) / 60)
    for model, factor in (({"parameters": 135e6}, 0.8), ({"parameters": 8e5}, 4)):
        there = with_model(prior, device="cpu", **model)
        assert minutes_of(there, 2, 0.7) == pytest.approx(
            2 * 0.1 * (3 * 1000 + factor * sampled) / 60
        )


@pytest.mark.parametrize(
    ("rows", "choose", "report"), [(50, 5, 5), (100, 10, 10), (1000, 100, 100), (5000, 100, 300)]
)
def test_half_of_the_rows_that_are_kept_back_choose_while_they_are_few(
    rows: int, choose: int, report: int
) -> None:
    """Breaks where a plan promises other documents than `confirm` keeps back: `split_rows`, `own_task`."""
    prior = replace(prior_of(0.8), dataset={"name": "d", "rows": rows, "max_length": 64})
    assert documents_of(prior) == (choose, report)


def test_an_embedded_pair_is_scored_on_the_problems_of_its_task() -> None:
    """Breaks where a plan for the ladder promises rows that are kept back, which it does not do there."""
    prior = with_model(prior_of(0.8), name="ladder:mid")
    own = {"rows": 600, "max_length": 64}
    assert documents_of(replace(prior, dataset={"name": "mid.jsonl", **own})) == (100, 300)
    assert documents_of(replace(prior, dataset={"name": "d.jsonl", **own})) == (60, 60)


def test_disk_is_two_checkpoints() -> None:
    model = {**SMALL.model, "parameters": 1_000_000, "dtype": "bfloat16"}
    plan = recommend(replace(SMALL, model=model), temperature=0.0).plan
    assert plan.disk == 4_000_000


def test_neighbours_end_at_the_ends() -> None:
    assert neighbours(["a", "b", "c"], "a") == (None, "b")
    assert neighbours(["a", "b", "c"], "c") == ("b", None)


def test_the_shipped_plans_grow_and_lose_less() -> None:
    """Breaks where a dearer plan is expected to lose more than a cheaper one, or loses a run of it."""
    replay = shipped()
    names = list(replay.plans)
    assert DEFAULT in names and "one" in names
    for cheap, dear in itertools.pairwise(names):
        inside = {(run.objective, run.rate) for run in replay.plans[dear]}
        assert {(run.objective, run.rate) for run in replay.plans[cheap]} <= inside
        for how in ("greedy", "sampled"):
            less, more = (replay.expected(name, how, 8e5) for name in (dear, cheap))
            assert less.regret <= more.regret and less.runs >= more.runs


def test_a_replay_reads_as_it_was_written(tmp_path: Path) -> None:
    replay = replay_of([1.0, 2.0])
    write(replay, tmp_path / "r.json")
    again = read(tmp_path / "r.json")
    assert again.plans == replay.plans and list(again.cells) == list(replay.cells)
    (tmp_path / "r.json").write_text("[]")
    with pytest.raises(InputError, match="not a replay"):
        read(tmp_path / "r.json")


def test_the_screen_is_at_most_25_lines() -> None:
    for temperature in (0.0, 1.0):
        answer = recommend(SMALL, temperature=temperature)
        assert len(answer.facts()) + len(answer.warnings) + 3 <= 25
        assert all(name.strip() and text for name, text in answer.facts())
