"""ASHA as syne-tune has it, on a made-up cell; skipped where syne-tune is not installed."""

import numpy as np
import pytest

from harness.experiments.calibration.grid import Cell
from harness.experiments.race.curves import RACERS, STAGES, CurveCell
from harness.experiments.race.race_policies import LOOK, STEPS


def test_asha_stops_the_worse_half_and_keeps_the_best_that_it_finished() -> None:
    pytest.importorskip("syne_tune", reason="of the extra `bench`")
    from harness.experiments.race.rival import asha

    right = np.linspace(0.1, 0.9, len(RACERS))
    cell = CurveCell(
        cell=Cell(size="m64", seed=0, step=2000, skill="rev", noise="mix", rate=0.4, rows=480),
        fresh=False,
        known=np.ones(3),
        development={
            (arm, stage): (np.arange(100) < 100 * share).astype(float)
            for arm, share in enumerate(right)
            for stage in range(len(STAGES))
        },
        test=100 * right,
    )
    found = [asha(cell, seed) for seed in range(5)]
    assert {one.kept for one in found} == {len(RACERS) - 1}
    whole = STEPS + LOOK * len(STAGES)
    assert all(whole < one.cost < whole * len(RACERS) for one in found)
    assert len({round(one.cost, 6) for one in found}) > 1  # the order of the arms decides
