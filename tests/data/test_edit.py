"""Another prompt or completion in a row: every format keeps its layout, the last target its question."""

import json
from typing import Any

import pytest

from advisor.data.edit import check_editable, question_and_answer, with_completion, with_question
from advisor.data.formats import detect
from advisor.errors import InputError

TALK = [{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}]
LAST = [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]
THANKS = {"role": "user", "content": "thanks"}
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
PARTS = ("q", "\nmore")


def said(role: str, *texts: str) -> dict[str, Any]:
    """A message whose content is a list of text parts."""
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


ROWS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"prompt": "q", "completion": " a\n"}, {"completion": " A\n"}, {"prompt": "Q"}),
    ({"question": "q", "answer": "a", "id": 3}, {"answer": "A"}, {"question": "Q"}),
    (
        {"instruction": "q", "input": "more", "output": "a"},
        {"output": "A"},
        {"instruction": "Q", "input": ""},
    ),
    (
        {"instruction": "q", "context": "more", "response": "a"},
        {"response": "A"},
        {"instruction": "Q", "context": ""},
    ),
    (
        {"messages": TALK + LAST},
        {"messages": [*TALK, LAST[0], {"role": "assistant", "content": "A"}]},
        {"messages": [*TALK, {"role": "user", "content": "Q"}, LAST[1]]},
    ),
    (
        {"conversations": SHARED, "system": "s"},
        {"conversations": [SHARED[0], {"from": "gpt", "value": "A"}]},
        {"conversations": [{"from": "human", "value": "Q"}, SHARED[1]]},
    ),
    (
        {"conversation": [{"human": "q", "assistant": "a"}]},
        {"conversation": [{"human": "q", "assistant": "A"}]},
        {"conversation": [{"human": "Q", "assistant": "a"}]},
    ),
    (
        {"prompt": TALK[:1], "completion": TALK[1:]},
        {"completion": [{"role": "assistant", "content": "A"}]},
        {"prompt": [{"role": "user", "content": "Q"}]},
    ),
    (
        {"chosen": TALK, "rejected": TALK},
        {"chosen": [TALK[0], {"role": "assistant", "content": "A"}]},
        {"chosen": [{"role": "user", "content": "Q"}, TALK[1]]},
    ),
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, {"chosen": "A"}, {"prompt": "Q"}),
    (
        {"prompt": [*TALK, LAST[0]], "completion": LAST[1:]},
        {"completion": [{"role": "assistant", "content": "A"}]},
        {"prompt": [*TALK, {"role": "user", "content": "Q"}]},
    ),
    (
        {"prompt": [*TALK, LAST[0]], "completion": "a"},
        {"completion": "A"},
        {"prompt": [*TALK, {"role": "user", "content": "Q"}]},
    ),
    (
        {"messages": [*TALK, THANKS]},
        {"messages": [TALK[0], {"role": "assistant", "content": "A"}, THANKS]},
        {"messages": [{"role": "user", "content": "Q"}, TALK[1], THANKS]},
    ),
    (
        {"prompt": TALK[:1], "completion": [TALK[1], *LAST, THANKS]},
        {"completion": [TALK[1], LAST[0], {"role": "assistant", "content": "A"}, THANKS]},
        {"completion": [TALK[1], {"role": "user", "content": "Q"}, LAST[1], THANKS]},
    ),
    (
        {"prompt": TALK[:1], "completion": [TALK[1], *LAST]},
        {"completion": [TALK[1], LAST[0], {"role": "assistant", "content": "A"}]},
        {"completion": [TALK[1], {"role": "user", "content": "Q"}, LAST[1]]},
    ),
    (
        {"prompt": [*TALK, *LAST, TALK[0]], "chosen": TALK[1:], "rejected": TALK[1:]},
        {"chosen": [{"role": "assistant", "content": "A"}]},
        {"prompt": [*TALK, *LAST, {"role": "user", "content": "Q"}]},
    ),
    (
        {"messages": [said("user", *PARTS), said("assistant", "a")]},
        {"messages": [said("user", *PARTS), said("assistant", "A")]},
        {"messages": [said("user", "Q"), said("assistant", "a")]},
    ),
    (
        {"conversation": [{"input": "q", "output": "a"}]},
        {"conversation": [{"input": "q", "output": "A"}]},
        {"conversation": [{"input": "Q", "output": "a"}]},
    ),
    (
        {"messages": json.dumps(LAST)},
        {"messages": json.dumps([LAST[0], {"role": "assistant", "content": "A"}])},
        {"messages": json.dumps([{"role": "user", "content": "Q"}, LAST[1]])},
    ),
    (
        {"conversations": [*SHARED, {"from": "human", "value": "q"}],
         "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}},
        {"chosen": {"from": "gpt", "value": "A"}},
        {"conversations": [*SHARED, {"from": "human", "value": "Q"}]},
    ),
    ({"question": ["q"], "answer": ["a"]}, {"answer": ["A"]}, {"question": ["Q"]}),
    (
        {"instruction": ["q"], "input": ["x", "y"], "output": "a"},
        {"output": "A"},
        {"instruction": ["Q"], "input": [""]},
    ),
]  # fmt: skip


def test_answers_that_cannot_be_replaced_are_refused_before_the_work() -> None:
    """Breaks where the answer is read in one column and written into another."""
    row = {"messages": [*TALK, LAST[0]], "choices": [{"message": LAST[1]}]}
    format = detect(list(row), row)
    assert question_and_answer(row, format) == (LAST[0]["content"], LAST[1]["content"])
    with pytest.raises(
        InputError, match="rows: the last answer of a row of format messages cannot be"
    ):
        check_editable("rows", format, row)


@pytest.mark.parametrize(("row", "completed", "asked"), ROWS)
def test_rows_keep_their_format(row: Any, completed: Any, asked: Any) -> None:
    format = detect(list(row), row)
    check_editable("rows", format, row)
    assert with_completion(row, format, "A") == {**row, **completed}
    assert with_question(row, format, "Q") == {**row, **asked}
    question, answer = question_and_answer(row, format)
    assert question.split("\n")[0].startswith("q") and answer.strip().startswith("a")
    assert question_and_answer(with_question(row, format, "Q"), format) == ("Q", answer)
    again = question_and_answer(with_completion(row, format, "A"), format)
    assert again == (question, answer.replace(answer.strip(), "A"))


@pytest.mark.parametrize(
    "fields", [("conversation", "response"), ("chosen", "rejected"), ("messages", "chosen")]
)
@pytest.mark.parametrize("prompt", ["q", [*TALK, {"role": "user", "content": "q"}]])
def test_named_columns_are_what_the_flags_say(fields: tuple[str, str], prompt: Any) -> None:
    row = {fields[0]: prompt, fields[1]: "a"}
    format = detect(list(row), row, *fields)
    asked = "Q" if prompt == "q" else [*TALK, {"role": "user", "content": "Q"}]
    assert with_completion(row, format, "A") == {**row, fields[1]: "A"}
    assert with_question(row, format, "Q") == {**row, fields[0]: asked}


def test_thoughts_and_calls_of_another_answer_go_with_it() -> None:
    said = {"role": "assistant", "content": "a", "reasoning_content": "so", "tool_calls": None}
    row = {"messages": [TALK[0], said]}
    found = with_completion(row, detect(["messages"], row), "A")
    assert found["messages"][1] == {"role": "assistant", "content": "A"}


def test_an_answer_marked_as_no_target_is_not_the_one_rewritten() -> None:
    row = {"messages": [*TALK, LAST[0], {**LAST[1], "weight": 0}]}
    format = detect(list(row), row)
    assert question_and_answer(row, format) == ("q1", "a1")
    found = with_completion(row, format, "A")["messages"]
    assert [m["content"] for m in found] == ["q1", "A", "q2", "a2"] and found[3]["weight"] == 0
    asked = with_question(row, format, "Q")["messages"]
    assert [m["content"] for m in asked] == ["Q", "a1", "q2", "a2"]


def test_weights_of_the_old_words_go_with_them() -> None:
    spans = [{"start": 0, "end": 1, "weight": 2}]
    row = {"prompt": "q", "completion": "abc", "weight": 3, "spans": spans}
    found = with_completion(row, detect(list(row), row), "A")
    assert found == {"prompt": "q", "completion": "A", "weight": 3, "spans": None}
    parts = [{"type": "text", "text": "a", "weight": 2}, {"type": "text", "text": "b"}]
    answer = {"role": "assistant", "content": parts, "weight": 3, "spans": spans}
    talk = {"messages": [TALK[0], answer]}
    said = with_completion(talk, detect(["messages"], talk), "A")["messages"][1]
    content = [{"type": "text", "text": "A"}]
    assert said == {"role": "assistant", "content": content, "weight": 3}
    other = {"prompt": "q", "completion": "abc", "spans": [{"start": 0, "label": "x"}]}
    assert with_completion(other, detect(list(other), other), "A")["spans"] == other["spans"]


def test_a_row_of_several_layouts_is_rewritten_in_its_own() -> None:
    row = {"messages": None, "prompt": "q", "completion": "a"}
    format = detect(list(row), row)
    assert with_completion(row, format, "A") == {**row, "completion": "A"}
    assert question_and_answer(row, format) == ("q", "a")
