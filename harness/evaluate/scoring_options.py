"""Which scores count and how tasks are asked, as the user says it. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from advisor.options import Options, option


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """Which of a task's scores, which way it points, and which difference does not matter."""

    metric: str | None = option(
        None, help="score of lm-eval tasks, as their results name it (default: the task's first)"
    )
    filter: str | None = option(
        None, metavar="NAME",
        help="of answers, as lm-eval's results name it, for example flexible-extract or none "
        "(default: the task's first)",
    )  # fmt: skip
    higher_is_better: bool | None = option(
        None, help="true or false, of a metric whose direction neither the task nor lm-eval tells"
    )
    margin: float | None = option(
        None, low=0.0,
        help="difference that does not matter, in the unit of the scores (default: 1 point; none for scores "
        "that are no shares)",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(ScoreOptions):
    """How a study asks its tasks, and which of their scores it takes."""

    tasks: tuple[str, ...] | None = option(
        None,
        short="-t",
        group="referee",
        help="lm-eval tasks or YAML files (default: held-out rows)",
    )
    scorer: str | Callable[..., Any] | None = option(  # noqa: RUF009  # a field, as the others
        None, group="referee", metavar="SCORER",
        help="scores answers to held-out rows where no exact match exists. Give module:function of the "
        "current folder: it takes the lists answers, references and prompts, and returns a number from 0 to "
        "1 for each answer. Or give a command: it reads JSON lines with prompt, answer and reference, and "
        "writes a number a line",
    )  # fmt: skip
    guard: tuple[str, ...] | None = option(
        None, metavar="TASK",
        help="lm-eval tasks that are not trained for. Every run is scored on them too, which shows what it "
        "forgets against the untouched model. They choose nothing",
    )  # fmt: skip
    include_path: str | None = option(None, help="folder with lm-eval tasks of your own")
    answer_regex: str | None = option(
        None, help="finds the final answer in a held-out row, in one group"
    )
    temperature: float | None = option(
        None, low=0.0, high=10.0,
        help="at which temperature you will use the model; 0 is greedy. The scores at it decide (default: "
        "the model's generation config)",
    )  # fmt: skip
    repeats: int = option(2, low=1, help="answers to a document where sampled (default: {default})")
    limit: int | None = option(None, short="-L", low=2, help="documents of each task")
    num_fewshot: int | None = option(
        None, low=0, help="examples in a prompt of --tasks (default: the task's)"
    )
    apply_chat_template: bool | None = option(
        None, bare=True,
        help="ask --tasks as chats (default: with the chat template that the model is trained with, if any)",
    )  # fmt: skip
    fewshot_as_multiturn: bool | None = option(
        None, bare=True,
        help="examples as turns of the chat (default: where the chat template is applied)",
    )  # fmt: skip
