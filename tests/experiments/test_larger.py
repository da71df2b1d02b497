"""Cells of a third size: the committed plan, and that both other sizes have the same demonstrations."""

from pathlib import Path

from harness.experiments.calibration.grid import read_grid, write_grid
from harness.experiments.race.curves import FILES
from harness.experiments.race.larger import CELLS, demonstrations, larger_cells, larger_plan
from harness.experiments.staged.plan import write_plan
from tests.helpers.paths import ROOT

RESULTS = ROOT / "results"


def test_the_plan_of_the_third_size_is_the_committed_one(tmp_path: Path) -> None:
    known = [cell for name in FILES for cell in read_grid(RESULTS / name)]
    cells = larger_cells(known)
    write_grid(cells, tmp_path / "cells.csv")
    write_plan(larger_plan(cells), tmp_path / "plan.csv")
    for name in ("cells.csv", "plan.csv"):
        assert (tmp_path / name).read_bytes() == (RESULTS / "sizes" / name).read_bytes()
    assert len(cells) == CELLS
    for size in ("m64", "m128"):
        others = {demonstrations(cell) for cell in known if cell.size == size}
        assert {demonstrations(cell) for cell in cells} <= others
