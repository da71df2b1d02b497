"""What size does: gains over NLL at the rate that its development problems prefer, by demonstrations."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.experiments.calibration.grid import Cell
from harness.experiments.race.curves import RACERS
from harness.experiments.race.larger import demonstrations
from harness.experiments.race.sizes import PLAIN, WholeRuns, gains_of, records_of_sizes
from tests.helpers.paths import ROOT

CELL = Cell(size="m64", seed=0, step=2000, skill="rev", noise="mix", rate=0.4, rows=480)
OTHER, MISSING = (RACERS.index(racer) for racer in (("neg_p", "low"), ("p_pow(0.5)", "high")))


def runs_of(developed: dict[int, float], test: dict[int, float], **changes: Any) -> WholeRuns:
    """Scores of some arms; the others have half right, and one was not run."""
    arms = range(len(RACERS))
    return WholeRuns(
        cell=replace(CELL, **changes),
        developed=np.array([developed.get(arm, 50.0) for arm in arms]),
        test=np.array([np.nan if arm == MISSING else test.get(arm, 50.0) for arm in arms]),
    )


def test_gains_are_over_the_rate_of_nll_that_development_prefers() -> None:
    better, preferred = PLAIN[:2]
    found = gains_of([runs_of({preferred: 70.0}, {preferred: 60.0, better: 90.0, OTHER: 75.0})])
    [gains] = found.values()
    assert gains[OTHER] == pytest.approx(15)
    assert gains[better] == pytest.approx(30)  # the test problems choose nothing
    assert gains[preferred] == 0
    assert np.isnan(gains[MISSING])


def test_cells_of_the_same_demonstrations_are_averaged_and_others_kept_apart() -> None:
    cells = [
        runs_of({}, {OTHER: 60.0}),
        runs_of({}, {OTHER: 80.0}, step=4000, seed=1),
        runs_of({}, {OTHER: 10.0}, skill="add"),
        runs_of({PLAIN[0]: np.nan}, {OTHER: 0.0}),  # without NLL at the high rate
    ]
    found = gains_of(cells)
    assert found[demonstrations(CELL)][OTHER] == pytest.approx(20)
    assert found[demonstrations(replace(CELL, skill="add"))][OTHER] == pytest.approx(-40)
    assert len(found) == 2


def test_what_size_does_is_of_the_committed_records() -> None:
    """Breaks where ledgers were added and `python -m harness.experiments.race sizes` was not run."""
    found = json.loads((ROOT / "results" / "sizes" / "sizes.json").read_text())
    assert found["records"] == records_of_sizes(ROOT / "results")
    for how in ("sampled", "greedy"):
        assert found[how]["demonstrations"] > 0
        assert [one["size"] for one in found[how]["left_out"]] == ["m64", "m128", "m256"]
