"""The replay of plans on measured cells: which run is kept, what that loses, and what is shipped of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from advisor.advice.replayed import shipped
from harness.experiments.calibration.findings import described
from harness.experiments.calibration.grid import Cell
from harness.experiments.real.found import found_cells
from harness.experiments.replay.cells import Replayed, RunKey, Scores, calibrated, later
from harness.experiments.replay.policies import Plan, chosen_elsewhere, lost, race
from harness.experiments.replay.ship import COMMON, OLD, PLANS, alone_of, replay
from tests.helpers.paths import ROOT

NLL_HIGH: RunKey = ("nll", "high")
NLL_LOW: RunKey = ("nll", "low")
P_LOW: RunKey = ("neg_p", "low")
RESULTS = ROOT / "results"


def cell_of(
    development: dict[RunKey, float], test: dict[RunKey, float], **changes: Any
) -> Replayed:
    place = {
        "size": "m128",
        "seed": 0,
        "step": 1000,
        "skill": "add",
        "noise": "mix",
        "rate": 0.2,
        "rows": 96,
    }
    place |= {key: changes.pop(key) for key in ("seed", "skill") if key in changes}
    return Replayed(
        cell=Cell(**place),  # type: ignore[arg-type]
        fresh=False, parameters=8e5, features={"mean_p": 0.0}, accuracy=0.5,
        development=development, test=test, **changes,
    )  # fmt: skip


def test_a_plan_keeps_what_development_problems_prefer_and_loses_on_test_problems() -> None:
    """Breaks where test problems choose, or the best objective is not taken at the rate it would keep."""
    development = {NLL_HIGH: 60.0, NLL_LOW: 50.0, P_LOW: 70.0}
    test = {NLL_HIGH: 80.0, NLL_LOW: 99.0, P_LOW: 65.0}
    found = lost([cell_of(development, test)], Plan(runs=(NLL_HIGH, P_LOW)).kept)
    assert found.regrets == (15.0,) and found.runs == 2  # -p kept; NLL would keep its high rate: 80


def test_a_conditional_run_is_made_and_counted_where_it_is_needed() -> None:
    plan = Plan(runs=(NLL_HIGH,), more=(P_LOW,), below=95.0)
    development = {NLL_HIGH: 94.9, P_LOW: 96.0}
    needed = cell_of(development, {NLL_HIGH: 1.0, P_LOW: 2.0})
    spared = cell_of({**development, NLL_HIGH: 95.0}, {NLL_HIGH: 1.0, P_LOW: 2.0})
    assert plan.kept(needed) == (P_LOW, 2) and plan.kept(spared) == (NLL_HIGH, 1)
    assert lost([needed, spared], plan.kept).runs == 1.5


def test_each_further_run_is_made_only_while_all_before_it_are_low() -> None:
    """Breaks where a plan makes its fourth run though the third was good enough, which `confirm` does not."""
    plan = Plan(runs=(NLL_HIGH,), more=(NLL_LOW, P_LOW), below=95.0)
    scores = {NLL_HIGH: 50.0, NLL_LOW: 96.0, P_LOW: 99.0}
    assert plan.kept(cell_of(scores, scores)) == (NLL_LOW, 2)
    assert plan.kept(cell_of({**scores, NLL_LOW: 94.0}, scores)) == (P_LOW, 3)


def test_the_run_for_where_nothing_is_scored_loses_least_over_both_kinds_of_models() -> None:
    """Breaks where 100 small cells outvote a few of a real model, or a run is named that one kind lacks."""
    anneal: RunKey = ("p_anneal(0, 1, 0, 1)", "high")
    small = [Scores(development={}, test={NLL_HIGH: 90.0, anneal: 88.0, NLL_LOW: 91.0})] * 9
    real = [Scores(development={}, test={NLL_HIGH: 40.0, anneal: 60.0})]
    assert alone_of(small, real) == anneal and alone_of(small, real[:0]) == NLL_LOW


def test_shares_and_quantiles_of_the_regret() -> None:
    """Breaks where exactly five points count as more than five."""
    cells = [
        cell_of({NLL_HIGH: 1.0, P_LOW: 0.0}, {NLL_HIGH: 50.0, P_LOW: 50.0 + loss})
        for loss in (0.0, 5.0, 6.0, 20.0)
    ]
    found = lost(cells, Plan(runs=(NLL_HIGH,)).kept)
    assert (found.mean, found.over, found.worst) == (7.75, 0.5, 20.0)
    assert found.nine_tenths == pytest.approx(np.quantile([0, 5, 6, 20], 0.9))


def test_a_race_follows_its_leader_and_stays_with_nll_without_one() -> None:
    runs = {NLL_HIGH: 10.0, P_LOW: 20.0}
    assert race(cell_of(runs, runs, race={"nll": 5.0, "neg_p": 6.0}))[0] == P_LOW
    assert race(cell_of(runs, runs))[0] == NLL_HIGH
    assert race(cell_of(runs, runs, race={"nll": 5.0, "neg_p": 5.0}))[0] == NLL_HIGH


def test_a_plan_chosen_elsewhere_has_not_seen_the_skill_or_the_text() -> None:
    """Breaks where a cell helps to choose the run that it is judged on."""
    nll, lean = {NLL_HIGH: 90.0, P_LOW: 10.0}, {NLL_HIGH: 10.0, P_LOW: 90.0}
    cells = [cell_of(nll, nll, skill="a", seed=0), cell_of(lean, lean, skill="b", seed=1)]
    [found] = chosen_elsewhere([cells], 1, (NLL_HIGH, P_LOW))
    assert found.regrets == (80.0, 80.0)  # each is judged by what the other prefers
    same_text = [cell_of(nll, nll, skill="a", seed=0), cell_of(lean, lean, skill="b", seed=0)]
    [none] = chosen_elsewhere([[*same_text, *cells]], 1, (NLL_HIGH, P_LOW))
    assert len(none.regrets) >= 2


def test_cells_are_described_by_what_they_are() -> None:
    """Breaks where a reader is shown an identifier."""
    cell = cell_of({}, {}).cell
    assert described(cell) == "a known skill with 20% noisy demonstrations"
    assert "new" in described(replace(cell, skill="nov"))


@pytest.mark.slow
def test_what_is_shipped_is_the_replay_of_the_records() -> None:
    """Protects the promise of every plan: breaks where records or plans changed and nobody replayed them."""
    found, now = shipped(), replay(RESULTS)
    assert found.records == now.records, "run python -m harness.experiments.replay"
    assert found.plans == now.plans and list(found.cells) == list(now.cells)
    assert (found.alone, found.evidence) == (now.alone, now.evidence)


@pytest.mark.slow
def test_the_records_of_the_calibration_say_what_was_published_of_them() -> None:
    """Protects the figures of docs/plans.md: two runs, as an earlier analysis found them."""
    for heat, mean in ((1.0, 1.81), (0.0, 1.50)):
        cells = [cell for cell in calibrated(RESULTS, OLD, heat) if not cell.fresh]
        two = lost(cells, Plan(runs=(NLL_HIGH, ("cadft(1)", "low"))).kept)
        assert len(cells) == 132 and two.mean == pytest.approx(mean, abs=0.01)
    assert set(PLANS) == set(shipped().plans)
    real = sum(one.whole for one in found_cells(RESULTS))
    assert (len(later(RESULTS, COMMON, 1.0)) + real) * 2 == len(shipped().cells)
