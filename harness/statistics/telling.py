"""Whether a task can tell the runs of a plan apart: what the scores so far say of the runs to come.

Pure. Scores are shares in [0, 1], larger ones better, an entry a document, in the same order for all; of
several tasks times `task_weights`, for the mean over tasks decides. What is given up by ending early was
counted on the measured cells (docs/plans.md).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Literal

from harness.statistics.paired import Array, paired_difference, task_weights

Ending = Literal["ceiling", "few", "floor", "noise"]
"""Why no further run would be told from those so far."""
EDGE = 0.02
"""Within this of 0 or 1 on average, a share is at the floor or the ceiling of its task."""
ALPHA = 0.05
"""Two-sided level at which two runs are told apart."""
ENOUGH = 2
"""Fine-tunes within noise of each other and of the base after which no other is made."""


def ending(
    base: Array,
    tuned: Sequence[Array],
    *,
    sizes: Sequence[int] = (),
    generated: bool,
    learnt: bool,
) -> Ending | None:
    """Why no further run would be told from those so far; None where one may be.

    "ceiling": the base leaves no room. "few": even a run that had everything right would not be told from the
    base. "floor": base and runs have next to nothing right, that of NLL too, which learns what is new to a
    model. "noise": the base and enough runs are not told apart.

    Args:
        base: [documents] of the untouched model.
        tuned: the same of every fine-tune so far.
        sizes: documents of each task, in order; empty where there is one.
        generated: whether answers are; choices among given ones move so little that one run is enough.
        learnt: whether NLL is among the fine-tunes, or is not to come.
    """
    told = partial(_told, sizes=sizes)
    if base.mean() >= 1 - EDGE:
        return "ceiling"
    if not told(task_weights(sizes or (base.size,)), base):
        return "few"
    arms = [base, *tuned]
    if at_floor(arms):
        return "floor" if learnt and tuned else None
    if len(tuned) < (ENOUGH if generated else 1):
        return None
    return None if any(told(*pair) for pair in itertools.combinations(arms, 2)) else "noise"


def at_floor(arms: Sequence[Array]) -> bool:
    """Whether all of them have next to nothing right."""
    return all(values.mean() <= EDGE for values in arms)


def _told(one: Array, other: Array, *, sizes: Sequence[int]) -> bool:
    return paired_difference(one, other, sizes=sizes).p_value <= ALPHA
