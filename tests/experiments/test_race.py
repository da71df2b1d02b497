"""The study of racing: its cells and runs are the committed ones."""

from pathlib import Path

from harness.experiments.calibration.grid import SOME, read_grid, write_grid
from harness.experiments.race.curve_plan import ARMS, HARD, MORE, more_cells
from harness.experiments.staged.plan import read_plan, write_plan
from harness.records.arm import BASE
from tests.helpers.paths import ROOT

RESULTS = ROOT / "results" / "race"
GRIDS = (ROOT / "results" / "calibration" / name for name in ("fresh.csv", "grid.csv"))


def test_the_plan_is_the_committed_one(tmp_path: Path) -> None:
    grid = [cell for path in GRIDS for cell in read_grid(path)]
    more = more_cells(grid)
    write_grid(more, tmp_path / "more.csv")
    assert (tmp_path / "more.csv").read_bytes() == (RESULTS / "more.csv").read_bytes()
    assert len(more) == MORE
    assert {(cell.noise, cell.rate) for cell in more} == set(HARD)
    planned = read_plan(RESULTS / "plan.csv", [*grid, *more])
    write_plan(planned, tmp_path / "plan.csv")
    assert (tmp_path / "plan.csv").read_bytes() == (RESULTS / "plan.csv").read_bytes()
    cells = list(dict.fromkeys(cell for cell, _ in planned))
    assert set(cells) == {*grid, *more}
    assert {cell.rows for cell in more} == {SOME}
    for cell in cells:
        runs = [run for of, run in planned if of == cell]
        assert runs[0].objective == BASE
        assert [run.objective for run in runs[1:-1]] == [name for name, _ in ARMS]
