"""Cells to text, and the one answer of a row that may hold several.

A list of several answers is refused: joined they are an answer that nobody gave, and the first is a guess.
"""

from collections.abc import Mapping
from typing import Any

from advisor.errors import InputError
from advisor.values import given, is_messages, scalar, shown

OPTIONS_COLUMNS = ("choices", "options")
"""Columns with what a multiple-choice question lets one choose from."""


def as_text(row: Mapping[str, Any], column: str) -> str:
    """Text of a cell: strings and numbers as they are, lists of strings joined by newlines."""
    value = row.get(column)
    text = scalar(value)
    if text is not None:
        return text
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return "\n".join(value)
    raise InputError(
        f"column {column!r} holds {shown(value)}, not text; write it as text, or name another "
        "column with --prompt_field and --completion_field"
    )


def answer_text(row: Mapping[str, Any], column: str) -> str:
    """Text of a cell that is a target; a list of answers (SQuAD's too) must agree on one.

    Raises:
        InputError: Several answers, or no text.
    """
    value = row.get(column)
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        return as_text(row, column)
    answers = list(dict.fromkeys(value))
    if len(answers) > 1:
        raise InputError(
            f"column {column!r} holds {len(answers)} answers: {shown(value)}; write one row for each, "
            f"e.g. jq -c '. as $r | .{column}[] | $r + {{{column}: .}}' FILE > rows.jsonl, or join "
            "them if they are the lines of one answer"
        )
    return answers[0] if answers else ""


def check_choice(row: Mapping[str, Any], column: str) -> None:
    """Refuse an answer that is the number or the letter of a choice which the prompt does not show."""
    listed = next((c for c in OPTIONS_COLUMNS if given(row.get(c)) and c != column), None)
    answer = row.get(column)
    if listed is None or isinstance(answer, bool | float):
        return
    word = str(answer).strip(" ().")
    if word.isdigit() or (len(word) == 1 and word.isalpha()):
        raise InputError(
            f"column {column!r} is {shown(answer)}, which only names one of the {listed}, and the "
            f"prompt does not show them; write the {listed} into the prompt, or the text of the right "
            f"one into {column!r}"
        )


def chosen_message(row: Mapping[str, Any]) -> list[Any] | None:
    """The answer in OpenAI's `choices` column, None where there is none.

    Raises:
        InputError: Several choices, which are alternatives.
    """
    choices: Any = row.get("choices")
    if not is_messages(choices):
        return None
    messages = [choice.get("message") for choice in choices]
    if not any(messages):
        return None
    if len(messages) > 1:
        raise InputError(
            f"choices holds {len(messages)} answers to the same messages; write one row for each, "
            "e.g. jq -c '. as $r | .choices[] | {messages: ($r.messages + [.message])}' FILE > rows.jsonl"
        )
    return messages
