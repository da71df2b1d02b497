"""The default plan on measured cells where it ends early: why, when, and what that gives up."""

from typing import Any

import numpy as np
import pytest

from harness.experiments.calibration.grid import Cell
from harness.experiments.replay.cells import Replayed, RunKey, staged
from harness.experiments.replay.ended_early import ended
from harness.experiments.replay.ship import CADFT, HEATS, NEWER, SMOOTH
from harness.records.arm import NLL
from harness.statistics.paired import paired_difference
from harness.statistics.telling import at_floor
from tests.helpers.paths import ROOT

FIRST, SECOND, THIRD = (SMOOTH, "high"), (CADFT, "low"), (NLL, "high")


def cell_of(base: int, **right: int) -> Replayed:
    """A cell of 100 development and 300 test problems, of which so many in a hundred are right."""
    numbers: dict[RunKey, int] = dict(
        zip((FIRST, SECOND, THIRD), (right["first"], right["second"], right["third"]), strict=True)
    )

    def values(hundredths: int, seed: int) -> Any:
        one = np.arange(100) < hundredths
        return np.tile(np.random.default_rng(seed).permutation(one), 4)

    return Replayed(
        cell=Cell(
            size="m128", seed=0, step=1, skill="add", noise="mix", rate=0.2, rows=96
        ),
        fresh=False, parameters=8e5, features={}, accuracy=base / 100,
        development={run: float(number) for run, number in numbers.items()},
        test={run: float(number) for run, number in numbers.items()},
        right={run: values(number, i) for i, (run, number) in enumerate(numbers.items(), 1)},
        right_of_base=values(base, 0), test_of_base=base / 100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (cell_of(99, first=90, second=90, third=90), ("ceiling", 0, 3, -9.0)),
        (cell_of(0, first=0, second=50, third=1), ("floor", 2, 1, 49.0)),
        (cell_of(40, first=42, second=41, third=80), ("noise", 2, 1, 38.0)),
        (cell_of(0, first=0, second=0, third=80), None),
        (cell_of(40, first=42, second=60, third=80), None),
        (cell_of(40, first=96, second=60, third=80), None),
    ],
)
def test_where_a_plan_ends_and_what_the_rest_would_have_given(
    cell: Replayed, expected: tuple[str, int, int, float] | None
) -> None:
    found = ended(cell)
    told = None if found is None else (found.why, found.runs, found.spared, found.lost)
    assert told == expected


@pytest.mark.slow
def test_the_words_of_the_page_hold_on_the_records() -> None:
    """Protects docs/plans.md: what NLL and CADFT come to at the floor, what one run within noise gives up."""
    at_the_floor, after_one = [], []
    for heat in HEATS.values():
        for cell in staged(ROOT / "results", NEWER, heat):
            base, first = cell.right_of_base.astype(float), cell.right[FIRST].astype(float)
            if at_floor([base, first]):
                at_the_floor.append(cell)
            elif paired_difference(base, first).p_value > 0.05 and base.mean() < 0.98:
                best = cell.kept((FIRST, SECOND, THIRD))
                after_one.append(cell.test[best] - cell.test[FIRST])
    assert round(max(cell.test[THIRD] for cell in at_the_floor)) == 8
    assert sum(cell.test[THIRD] > 4 for cell in at_the_floor) == 1
    assert round(max(cell.test[SECOND] for cell in at_the_floor)) <= 2
    assert round(max(after_one)) == 11
