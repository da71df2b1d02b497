"""Newer objectives on the smallest cells: the committed plan, and comparisons of hand-made answers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.experiments.added.added_plan import (
    ARMS,
    LOW,
    RATE,
    TARGETS,
    added_cells,
    added_plan,
    targets_plan,
)
from harness.experiments.added.added_tables import (
    PAIRS,
    TARGET_PAIRS,
    UNTRAINED,
    added_table,
    gains,
    targets_table,
    whole_cells,
)
from harness.experiments.added.many_answers import ANSWERS, MANY, many_answers
from harness.experiments.calibration.grid import Cell, read_grid
from harness.experiments.calibration.ledger import RunLine, append, pack
from harness.experiments.calibration.run import Wanted
from harness.experiments.staged.plan import write_plan
from harness.records.arm import BASE
from harness.study.methods import read_method
from tests.helpers.paths import ROOT

Plan = Callable[[Sequence[Cell]], list[tuple[Cell, Wanted]]]
RESULTS = ROOT / "results"
FROZEN = ("neg_p(prior=frozen)", LOW)
RULE = ("neg_p", LOW)


def line(cell: str, arm: tuple[str, str], right: int) -> RunLine:
    """A run that answers the first of two problems always and the second so many times of `ANSWERS`."""
    many = [True] * ANSWERS + [number < right for number in range(ANSWERS)]
    rate = RATE.get(arm[1])
    answers = {MANY: pack(many), "test@0": pack([True, right > 1])}
    return RunLine(cell=cell, objective=arm[0], learning_rate=rate, seed=0, answers=answers)


@pytest.mark.parametrize(
    ("plan", "name"), [(added_plan, "plan.csv"), (targets_plan, "targets.csv")]
)
def test_the_plan_is_the_committed_one(plan: Plan, name: str, tmp_path: Path) -> None:
    folder = RESULTS / "calibration"
    cells = added_cells(
        [cell for name in ("fresh", "grid") for cell in read_grid(folder / f"{name}.csv")]
    )
    planned = plan(cells)
    write_plan(planned, tmp_path / name)
    assert (tmp_path / name).read_bytes() == (RESULTS / "added" / name).read_bytes()
    for _, run in planned:
        assert run.objective == BASE or read_method(run.objective).source


def test_differences_of_cells_that_have_all_arms(tmp_path: Path) -> None:
    path = tmp_path / "added" / "ledger.jsonl"
    for cell, above in (("m64-a", 4), ("m64-b", 0)):
        for arm in ARMS:
            append(path, line(cell, arm, above if arm == FROZEN else 1))
    append(path, line("m64-c", FROZEN, 16))  # a cell that is not done
    scored = whole_cells(tmp_path, ARMS)
    assert len(scored) == 2
    assert many_answers(scored[0][FROZEN]).sum(1).tolist() == [16, 4]
    pair = (FROZEN, RULE)
    assert pair in PAIRS
    assert gains(scored, pair, "pass@1").tolist() == pytest.approx([100 * 3 / 32, -100 / 32])
    assert gains(scored, pair, "pass@16").tolist() == [0, -50]
    assert gains(scored, pair, "greedy").tolist() == [50, 0]
    head, rows = added_table(tmp_path)
    [row] = [row for row in rows if row[:2] == ("`neg_p(prior=frozen)`", "`neg_p`")]
    # two cells: half the interval is t(.975, 1) = 12.706 times half their distance
    assert dict(zip(head, row, strict=True))["greedy"] == "+25.0 (-292.7 to +342.7)"


def test_arms_with_targets_of_their_own_are_compared_on_cells_that_have_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "added" / "ledger.jsonl"
    for cell in ("m64-a", "m64-b"):
        for arm in (UNTRAINED, *ARMS, *TARGETS):
            append(path, line(cell, arm, 3 if arm in TARGETS else 1))
    for arm in ARMS:
        append(path, line("m64-c", arm, 16))  # without the second plan
    head, rows = targets_table(tmp_path)
    assert len(rows) == len(TARGET_PAIRS) and {row[3] for row in rows} == {"2"}
    [row] = [row for row in rows if row[:3] == ("`simpo`", "`base`", "low")]
    assert dict(zip(head, row, strict=True))["greedy"] == "+50.0 (+50.0 to +50.0)"
