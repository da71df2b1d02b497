"""Demonstrations of any skills, for studies beyond the three rungs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from harness.ladder import Rung
from harness.ladder.build import draw_demonstrations
from harness.ladder.ladder_tasks import scored_prompts
from harness.ladder.skills import SKILLS

SCORED = tuple(name for name in SKILLS if name != "day")
"""Skills with a task."""


def draw(
    skills: Sequence[str], *, rows: int, seed: int, noise: str = "none", rate: float = 0.0
) -> list[dict[str, str]]:
    """So many demonstrations of each skill in turn: `prompt`, `completion` and `skill`.

    None is a problem of the skill's task. `noise` and `rate` are as of `Rung`.
    """
    found = []
    for skill in skills:
        rung = Rung(step=0, skill=skill, noise=noise, rate=rate, rows=rows)
        drawn = draw_demonstrations(rung, seed, avoid=scored_prompts(skill))
        found.append([{**row, "skill": skill} for row in drawn])
    return list(itertools.chain(*zip(*found, strict=True)))
