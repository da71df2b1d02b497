"""How long a study needs its teachers in memory."""

from __future__ import annotations

from collections.abc import Mapping

from harness.records.arm import arm_of, needs_teacher
from harness.records.runs import Run
from harness.study.study import Study, chosen_arms


def teachers_due(study: Study, done: Mapping[str, Run]) -> bool:
    """Whether a run of a study may still ask for its teachers: of the grid, or of rates chosen from it."""
    left = [spec for spec in study.grid() if spec.id not in done]
    if left or study.steps:
        again = study.objectives if len(study.seeds) > 1 else ()
        return any(map(needs_teacher, (*(spec.arm for spec in left), *map(arm_of, again))))
    taught = filter(needs_teacher, chosen_arms(study, list(done.values())))
    return any(study.spec(arm, seed).id not in done for arm in taught for seed in study.seeds)
