"""What the default plan gives up where it ends because the task cannot tell its runs apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from advisor.advice.plan import DEFAULT
from advisor.advice.replayed import Decoding
from harness.experiments.calibration.gains import POINTS
from harness.experiments.replay.cells import Replayed, RunKey
from harness.experiments.replay.ship import PLANS
from harness.records.arm import NLL
from harness.statistics.telling import Ending, at_floor, ending

WORDS: dict[Ending, str] = {
    "ceiling": "the untouched model leaves no room",
    "few": "no run could be told from it",
    "floor": "next to nothing is right, nor after NLL",
    "noise": "two runs within noise",
}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The default plan on a cell on which it ends early."""

    why: Ending
    runs: int
    """Fine-tunes that were made."""
    spared: int
    """Fine-tunes that the whole plan makes beyond them."""
    lost: float
    """Test points of what the whole plan keeps less those of the best that was made, or of the base."""


def ended(cell: Replayed) -> Ended | None:
    """How the default plan ends on a cell; None where it makes all of its runs."""
    plan = PLANS[DEFAULT]
    base = cell.right_of_base.astype(float)
    made: list[RunKey] = []
    while (why := _why(cell, made)) is None:
        due = [run for run in (*plan.runs, *plan.more) if run not in made]
        if made and at_floor([base, *_right(cell, made)]):
            due = [run for run in due if run[0] == NLL]
        elif len(made) >= len(plan.runs) and cell.development[cell.kept(made)] >= plan.below:
            due = []
        if not due:
            return None
        made.append(due[0])
    kept, runs = plan.kept(cell)
    own = cell.test[cell.kept(made)] if made else POINTS * float(cell.test_of_base)
    return Ended(why=why, runs=len(made), spared=runs - len(made), lost=cell.test[kept] - own)


def _why(cell: Replayed, made: Sequence[RunKey]) -> Ending | None:
    learnt = any(run[0] == NLL for run in made)
    base = cell.right_of_base.astype(float)
    return ending(base, _right(cell, made), generated=True, learnt=learnt)


def _right(cell: Replayed, made: Sequence[RunKey]) -> list[NDArray[np.float64]]:
    return [cell.right[run].astype(float) for run in made]


def ended_table(
    cells: Mapping[Decoding, Sequence[Replayed]],
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """A row a reason to end early, over both ways of decoding."""
    found = [one for some in cells.values() for cell in some if (one := ended(cell)) is not None]
    head = ("ended because", "of cells", "runs made", "runs spared", "points lost", "worst")
    rows = []
    for why, words in WORDS.items():
        of_this = [one for one in found if one.why == why and one.spared]
        if of_this:
            rows.append(
                (
                    words,
                    f"{len(of_this)} of {sum(map(len, cells.values()))}",
                    f"{fmean(one.runs for one in of_this):.1f}",
                    f"{fmean(one.spared for one in of_this):.1f}",
                    f"{fmean(one.lost for one in of_this):.1f}",
                    f"{max(one.lost for one in of_this):.1f}",
                )
            )
    return head, rows
