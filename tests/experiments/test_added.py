"""Newer objectives on the smallest cells: the committed plan, and comparisons of hand-made answers."""

from pathlib import Path

import pytest

from advisor.objectives.table import get_objective
from harness.experiments.added.added_plan import ARMS, added_cells, added_plan
from harness.experiments.added.added_tables import PAIRS, added_table, gains, whole_cells
from harness.experiments.added.many_answers import ANSWERS, MANY, many_answers
from harness.experiments.calibration.grid import RATES, read_grid
from harness.experiments.calibration.ledger import RunLine, append, pack
from harness.experiments.staged.plan import write_plan
from harness.records.arm import BASE
from tests.helpers.paths import ROOT

RESULTS = ROOT / "results"
FROZEN = ("neg_p(prior=frozen)", 0)
RULE = ("neg_p", 0)


def line(cell: str, arm: tuple[str, int], right: int) -> RunLine:
    """A run that answers the first of two problems always and the second so many times of `ANSWERS`."""
    many = [True] * ANSWERS + [number < right for number in range(ANSWERS)]
    rate = RATES["m64"][arm[1]]
    answers = {MANY: pack(many), "test@0": pack([True, right > 1])}
    return RunLine(cell=cell, objective=arm[0], learning_rate=rate, seed=0, answers=answers)


def test_the_plan_is_the_committed_one(tmp_path: Path) -> None:
    folder = RESULTS / "calibration"
    cells = added_cells(
        [cell for name in ("fresh", "grid") for cell in read_grid(folder / f"{name}.csv")]
    )
    planned = added_plan(cells)
    write_plan(planned, tmp_path / "plan.csv")
    assert (tmp_path / "plan.csv").read_bytes() == (RESULTS / "added" / "plan.csv").read_bytes()
    for _, run in planned:
        assert run.objective == BASE or get_objective(run.objective).name


def test_differences_of_cells_that_have_all_arms(tmp_path: Path) -> None:
    path = tmp_path / "added" / "ledger.jsonl"
    for cell, above in (("m64-a", 4), ("m64-b", 0)):
        for arm in ARMS:
            append(path, line(cell, arm, above if arm == FROZEN else 1))
    append(path, line("m64-c", FROZEN, 16))  # a cell that is not done
    scored = whole_cells(tmp_path)
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
