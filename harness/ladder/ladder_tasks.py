"""Fresh problems for the ladder's lm-eval tasks (`tasks/*.yaml`), the same on every call.

`day` is no task: it has 210 problems, too few for two parts without a common one.
"""

import json
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from datasets import Dataset

from harness.ladder import RUNGS, demonstrations_file
from harness.ladder.skills import SKILLS, render

PARTS = {"development": 100, "test": 300}
ANSWER = "#([^#$]*)"
"""Pattern of the final answer, as the tasks score it: what stands after the last #."""


def problem_sets(skill: str, **_: Any) -> dict[str, Dataset]:
    """Parts of distinct problems with `prompt`, `completion` and `answer`.

    No problem is in both parts or in the demonstrations that are installed with the package. What
    else lm-eval passes, the task file's metadata, is ignored.
    """
    rows, first = task_rows(skill), PARTS["development"]
    return {"development": Dataset.from_list(rows[:first]), "test": Dataset.from_list(rows[first:])}


@lru_cache
def task_rows(skill: str) -> list[dict[str, str]]:
    """The problems of both parts; kept, since lm-eval asks again for every score."""
    rows: list[dict[str, str]] = []
    seen, rng = set(_demonstrated()), Random(f"problems {skill}")
    while len(rows) < sum(PARTS.values()):
        problem = SKILLS[skill](rng)
        prompt = f"{problem.prompt}|"
        if prompt not in seen:
            seen.add(prompt)
            rows.append({"prompt": prompt, "completion": render(problem), "answer": problem.answer})
    return rows


def scored_prompts(skill: str) -> frozenset[str]:
    """The prompts of both parts, which no demonstration is to have."""
    return frozenset(row["prompt"] for row in task_rows(skill))


@lru_cache
def _demonstrated() -> frozenset[str]:
    package = Path(__file__).parent
    files = [demonstrations_file(package, rung) for rung in RUNGS]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return frozenset(json.loads(line)["prompt"] for line in lines)
