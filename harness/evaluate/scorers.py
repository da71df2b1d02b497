"""Which evaluation harness scores a task: the one whose word stands before its colon, else lm-eval.

Another one is a module with the functions `evaluate`, `task_names` and `questions` of
`harness.evaluate.lm_eval`: the same arguments, tasks with their word before the colon, and scores of every
document.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.evaluate import lm_eval
from harness.records.runs import Score

SCORERS: dict[str, Any] = {"": lm_eval}
"""Word before a task's colon to the module that scores it; "": all others."""


def evaluate(model: Any, tokenizer: Any, tasks: Sequence[Any], **settings: Any) -> list[Score]:
    """The scores of all tasks, in their order; see `lm_eval.evaluate` for settings and errors."""
    return [
        score
        for word, some in groupby(tasks, key=_word)
        for score in SCORERS[word].evaluate(model, tokenizer, list(some), **settings)
    ]


def task_names(spec: Any, include_path: str | Path | None = None, **settings: Any) -> list[str]:
    """The names under which tasks are scored; see `lm_eval.task_names`."""
    names: list[str] = SCORERS[_word(spec)].task_names(spec, include_path, **settings)
    return names


def questions(
    spec: Any, include_path: str | Path | None = None, **settings: Any
) -> dict[str, list[str]]:
    """Task name to what its documents ask; see `lm_eval.questions`."""
    found: dict[str, list[str]] = SCORERS[_word(spec)].questions(spec, include_path, **settings)
    return found


def task_files(spec: str, include_path: str | Path | None = None) -> list[Path]:
    """The user's files that a task is made of; see `lm_eval.task_files`."""
    return [] if _word(spec) else lm_eval.task_files(spec, include_path)


def _word(spec: Any) -> str:
    word, colon, _ = str(spec).partition(":")
    return word if colon and word in SCORERS and isinstance(spec, str) else ""
