"""The study of what comes after a fine-tune: its plan, its ledger and its tables; no model is trained."""

from pathlib import Path

import numpy as np
import pytest

from advisor.errors import InputError
from harness.experiments.afterwards.figure import afterwards_figure
from harness.experiments.afterwards.outcomes import LEDGER, Outcome, append, read
from harness.experiments.afterwards.plan import (
    CONTINUED,
    STEPS,
    TAIL,
    make_plan,
    read_plan,
    write_plan,
)
from harness.experiments.afterwards.run import carry_out
from harness.experiments.afterwards.tables import afterwards_tables, narrowed
from harness.experiments.calibration.grid import read_grid
from harness.ladder.skills import SKILLS
from harness.statistics.pass_at_k import SAMPLES, coverage
from tests.helpers.paths import ROOT

GRID = read_grid(ROOT / "results" / "calibration" / "grid.csv")
PLAN = ROOT / "results" / "afterwards" / "plan.csv"


def outcome(
    objective: str, before: list[int], after: tuple[int, ...] = (), seed: int = 0
) -> Outcome:
    return Outcome(
        cell="c", objective=objective, learning_rate=None if objective == "base" else 1e-3, seed=seed,
        steps=40 if after else 0, before=tuple(before), after=after,
    )  # fmt: skip


def test_the_plan_is_the_committed_one_and_comes_back(tmp_path: Path) -> None:
    planned = make_plan(GRID)
    write_plan(planned, tmp_path / "plan.csv")
    assert read_plan(tmp_path / "plan.csv") == planned == read_plan(PLAN)
    continued = [start for start in planned if start.steps]
    assert len(continued) == 5 * 3 * len(CONTINUED) and {s.steps for s in continued} == {STEPS}
    assert len({start.cell for start in planned if not start.steps}) >= 12
    assert all(cell.skill in SKILLS for cell in CONTINUED)


def test_every_recorded_outcome_is_of_the_plan() -> None:
    planned = set(read_plan(PLAN))
    outcomes = read(PLAN.parent)
    assert {one.start for one in outcomes} <= planned
    assert len({one.start for one in outcomes}) == len(outcomes)
    for one in outcomes:
        counts = (*one.before, *one.after)
        assert all(0 <= count <= SAMPLES for count in counts)
        assert len(one.rewards) == one.steps and bool(one.after) == bool(one.steps)


def test_a_torn_line_is_dropped_and_the_next_begins_anew(tmp_path: Path) -> None:
    first, second = outcome("base", [1, 2]), outcome("nll", [3, 4], (5, 6))
    append(tmp_path / LEDGER, first)
    with (tmp_path / LEDGER).open("a") as file:
        file.write('{"cell":"c","obj')
    append(tmp_path / LEDGER, second)
    assert read(tmp_path) == [first, second]
    assert read(tmp_path / "nothing") == []


def test_tables_hold_paired_changes_and_leave_out_what_is_missing() -> None:
    runs = [
        outcome("base", [0, 8, 16], (8, 16, 32)), outcome("nll", [4, 8, 16], (4, 8, 16)),
        outcome("nll", [4, 8, 16], (4, 8, 16), seed=1),
    ]  # fmt: skip
    found = afterwards_tables(runs)
    base, nll = found["afterwards"][1]
    assert base[:5] == ("`c`", "`base`", "1", "25.0", "58.3")  # 24 and 56 of 96
    assert nll[2:5] == ("2", "29.2", "29.2") and nll[5].startswith("+0.0 [")
    [against] = found["afterwards-against"][1]
    assert against[1] == "`base`" and against[2].startswith("-4.2 [")
    assert found["coverage"][1] == []  # TailSFT is missing
    assert len(afterwards_figure(runs).axes) == 2


def test_a_ratio_of_few_problems_counts_as_none() -> None:
    few = [outcome("base", [1] * 9), outcome("nll", [0] * 9), outcome(TAIL, [1] * 9)]
    [row] = narrowed(few)
    assert row.coverage.items == 9 and row.ratio is None
    many = [outcome("base", [1] * 12), outcome("nll", [0] * 9 + [2] * 3), outcome(TAIL, [1] * 12)]
    [row] = narrowed(many)
    values = [one.values("before") for one in many[:2]]
    assert row.ratio == coverage(*values).ratio and row.ratio is not None and row.ratio > 1
    verdict = {cells[0]: cells[1:] for cells in afterwards_tables(many)["coverage-verdict"][1]}
    assert verdict["above 1"][:2] == ("1", "1")


def test_counts_are_answers() -> None:
    values = outcome("base", [0, 3, SAMPLES]).values("before")
    assert np.array_equal(values.sum(axis=1), [0, 3, SAMPLES]) and values.shape == (3, SAMPLES)


def test_without_models_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model in"):
        carry_out(make_plan(GRID), [*CONTINUED, *GRID], models=tmp_path, results=tmp_path)
