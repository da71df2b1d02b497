"""How a study asks its tasks and which of their scores it takes: from options, into records, out of records.

Tasks are asked as the model is trained: where the demonstrations are rendered with a chat template, prompts
of `--tasks` are chats of that template. Held-out rows are rendered already, and the ladder has no template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError
from harness.evaluate.score_choice import Asked

if TYPE_CHECKING:
    from advisor.data.dataset import DatasetInfo
    from harness.evaluate.scoring_options import ScoringOptions
    from harness.records.runs import Run

OF_THE_SCORE = ("metric", "filter", "higher_is_better")
OF_THE_PROMPT = ("num_fewshot", "apply_chat_template", "fewshot_as_multiturn")
CHAT = ("tokenizer", "file", "string")
"""Where the chat template of a dataset comes from, if it has one."""


def settings_of(options: ScoringOptions, info: DatasetInfo, tokenizer: Any) -> dict[str, Any]:
    """What options and training say of scoring, for `RunSpec.evaluation`; nothing where nothing is said.

    Raises:
        InputError: a flag of `--tasks` without them, or a chat template where there is none.
    """
    given = {
        name: value
        for name in (*OF_THE_SCORE, *OF_THE_PROMPT)
        if (value := getattr(options, name)) is not None
    }
    if not options.tasks:
        _refuse_without_tasks(given)
        return given
    trained = info.template in CHAT
    chat = given.pop("apply_chat_template", trained)
    multiturn = given.pop("fewshot_as_multiturn", chat)
    if multiturn and not chat:
        raise InputError("--fewshot_as_multiturn: needs --apply_chat_template, as in lm-eval")
    if not chat:
        return given
    if not trained and not tokenizer.chat_template:
        raise InputError(
            "--apply_chat_template: neither the demonstrations nor the tokenizer have a chat template: give "
            "one with --chat_template FILE"
        )
    source = {"chat_template": info.template_hash} if trained else {}
    turns = {} if multiturn else {"fewshot_as_multiturn": False}
    return {**given, "apply_chat_template": True, **source, **turns}


def _refuse_without_tasks(given: Mapping[str, Any]) -> None:
    if refused := [name for name in OF_THE_PROMPT if name in given]:
        raise InputError(
            f"--{refused[0]}: is for --tasks; rows that are kept back are asked as they are trained on"
        )


def arguments_of(evaluation: Mapping[str, Any], info: DatasetInfo) -> dict[str, Any]:
    """What a record's settings mean for `evaluate`.

    Args:
        evaluation: of a `RunSpec`.
        info: of the demonstrations, whose chat template it may name.
    """
    chat: bool | str = evaluation.get("apply_chat_template", False)
    if chat and "chat_template" in evaluation:
        chat = info.template_text
    return {
        "num_fewshot": evaluation.get("num_fewshot"),
        "apply_chat_template": chat,
        "fewshot_as_multiturn": evaluation.get("fewshot_as_multiturn"),
        "asked": Asked(**{name: evaluation.get(name) for name in OF_THE_SCORE}),
    }


def conditions_of(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """How a recorded run was evaluated, as `Measured.conditions`; without a word a prompt is no chat."""
    return {
        "num_fewshot": evaluation.get("num_fewshot"),
        "chat_template": bool(evaluation.get("apply_chat_template", False)),
    }


def described(evaluation: Mapping[str, Any], base: Run) -> str:
    """One line on how tasks are asked and scored."""
    shots = evaluation.get("num_fewshot")
    examples = "the task's own number of examples" if shots is None else f"{shots} examples"
    prompt = "as plain text"
    if evaluation.get("apply_chat_template"):
        whose = (
            "that the model is trained with" if "chat_template" in evaluation else "of the model"
        )
        prompt = f"with the chat template {whose}"
        if evaluation.get("fewshot_as_multiturn") is False:
            prompt += ", examples within one turn"
    names = {
        score.task: f"{score.name} ({'higher' if score.higher_is_better else 'lower'} is better"
        + (")" if score.unit == "share" else f", {score.unit})")
        for score in base.scores
    }
    scored = ", ".join(f"{task} by {name}" for task, name in names.items())
    return f"asked {prompt}, {examples}; scored: {scored}"
