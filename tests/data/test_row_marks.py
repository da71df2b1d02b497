"""What a row says of its training: turns, whole rows, alternatives, layouts; meant, or one clear line."""

from typing import Any

import pytest
from datasets import Dataset

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer, marked_text

ASKED = {"role": "user", "content": "q"}
AGAIN = {"role": "user", "content": "r"}
PLAIN = "User: q\nAssistant: a</s>\nUser: r\nAssistant:« b</s>»"
MARKED = (
    "{% for m in messages %}{{ m.role[0] }}:{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
LOCATED = "{% for m in messages %}{{ m.role[0] + ':' + m.content + eos_token }}{% endfor %}"


def answer(text: str, **marks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **marks}


def talk(mark: str, no: Any, yes: Any) -> dict[str, Any]:
    """Two answers, the first of them marked as no target."""
    return {"messages": [ASKED, answer("a", **{mark: no}), AGAIN, answer("b", **{mark: yes})]}


def shown(row: dict[str, Any], **settings: Any) -> str:
    example = load_dataset([row], byte_tokenizer(), **settings)[0]
    return marked_text(example.input_ids, example.labels)


@pytest.mark.parametrize("mark", ["weight", "train", "training", "loss", "label"])
@pytest.mark.parametrize(("no", "yes"), [(0, 1), (False, True), (0.0, None), ("0", "1")])
def test_a_turn_marked_as_no_target_stays_context(mark: str, no: Any, yes: Any) -> None:
    """The cases turn-weight, turn-train and turn-loss: the wrong answer was trained."""
    dataset = load_dataset([talk(mark, no, yes)] * 3, byte_tokenizer())
    assert [marked_text(e.input_ids, e.labels) for e in dataset] == [PLAIN] * 3
    assert [e.target_tokens for e in dataset] == [3] * 3  # " b</s>"
    assert dataset.counts.untrained_turns == 3
    assert "3 turns of the assistant are marked as no target" in dataset.losses()[0]


@pytest.mark.parametrize(
    ("template", "text"),
    [(MARKED, "u:qa:a</s>u:ra:«b</s>»"), (LOCATED, "u:q</s>a:a</s>u:r</s>a:«b</s>»")],
)
def test_marks_hold_with_every_kind_of_template(template: str, text: str) -> None:
    assert shown(talk("weight", 0, 1), chat_template=template) == text


def test_marks_of_other_spellings() -> None:
    sharegpt = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "train": False},
                {"from": "human", "value": "r"}, {"from": "gpt", "value": "b"}]  # fmt: skip
    assert shown({"conversations": sharegpt, "system": ""}) == PLAIN
    swift = [{"human": "q", "assistant": "a", "loss": False}, {"human": "r", "assistant": "b"}]
    assert shown({"conversation": swift}) == PLAIN
    # A system column put in front moves the turns by one.
    assert shown({"conversations": sharegpt, "system": "S"}) == "S\n" + PLAIN
    completed = {"prompt": [ASKED], "completion": [answer("a", weight=0), AGAIN, answer("b")]}
    assert shown(completed) == PLAIN


def test_rows_of_which_every_turn_is_marked_are_refused() -> None:
    """The case all-weights-zero: fifteen targets were trained."""
    rows = [{"messages": [ASKED, answer("a", weight=0)]}] * 3
    dataset = load_dataset(rows, byte_tokenizer())
    assert sum(e.target_tokens for e in dataset) == 0
    with pytest.raises(InputError, match="3 with every turn of the assistant marked as no target"):
        dataset.require_targets()


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([ASKED, answer("a", weight="half")], "turn 1 has weight 'half', no weight: write 0"),
        ([ASKED, answer("a", weight=-1)], "turn 1 has weight -1"),
        ([ASKED, answer("a", train="maybe")], "turn 1 has train 'maybe'"),
        ([ASKED, answer("a", weight=1, train=False)], "weight 1 and train False, which disagree"),
        ([ASKED, answer("a", train_detail=[{"train": False}])], "parts of itself"),
        ([{**ASKED, "train": True}, answer("a")], "turn 0, of role user, has train True"),
    ],
)
def test_marks_that_cannot_be_meant(turns: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(InputError, match=rf"row 0 .*{reason}"):
        shown({"messages": turns})
    assert shown({"messages": [{**ASKED, "weight": 1}, answer("a", weight=1)]}) == "q\n«a</s>»"


@pytest.mark.parametrize(
    ("name", "no", "yes"), [("label", False, True), ("kto_tag", "False", "True"), ("weight", 0, 1)]
)
@pytest.mark.parametrize(
    "row", [{"prompt": "q", "completion": "a"}, {"messages": [ASKED, answer("a")]}]
)
def test_rows_that_are_no_demonstration(row: dict[str, Any], name: str, no: Any, yes: Any) -> None:
    """KTO's false answers were trained like the true ones."""
    rows = [{**row, name: no}, {**row, name: yes}, {**row, name: None}]
    dataset = load_dataset(rows, byte_tokenizer())
    assert [e.target_tokens > 0 for e in dataset] == [False, True, True]
    reason = f"marked {name} {str(no).lower()}"
    assert dataset.counts.reasons == {reason: 1}
    assert dataset.losses() == (f"in memory: 1 of the 3 rows read are dropped: 1 {reason}.",)
    with pytest.raises(InputError, match="none of its rows is a demonstration"):
        load_dataset(rows[:1], byte_tokenizer())


def test_labels_that_may_be_classes() -> None:
    row = {"question": "q", "answer": "a", "label": 0}
    with pytest.raises(InputError, match="label is 0: write true or false"):
        shown(row)
    named = load_dataset(
        [row], byte_tokenizer(), prompt_field="question", completion_field="answer"
    )
    assert named[0].target_tokens and "Columns not used: label." in named.info.notes
    assert shown({**row, "label": "entailment"}) == shown({**row, "label": 3}) == "q\n«a</s>»"
    assert shown({"text": "a film", "label": 0}) == "«a film</s>»"
    with pytest.raises(InputError, match=r"weight is -0.5, outside the range"):
        shown({**row, "label": None, "weight": -0.5})
    assert shown({**row, "label": True, "loss": 1.25, "train": "train"}) == "q\n«a</s>»"


@pytest.mark.parametrize("value", [["a"], ["a", "a"], {"text": ["a"], "answer_start": [3]}, "a"])
def test_one_answer_in_a_list(value: Any) -> None:
    assert shown({"question": "q", "answer": value}) == "q\n«a</s>»"
    assert shown({"prompt": "q", "completion": value}) == "q«a</s>»"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            {"prompt": "q", "completion": ["a", "b"]},
            "'completion' holds 2 answers.*one row for each",
        ),
        ({"question": "q", "answer": {"text": ["a", "b"]}}, "'answer' holds 2 answers"),
        ({"instruction": "q", "output": ["a", "b"]}, "'output' holds 2 answers"),
        ({"question": "q", "choices": ["x", "y"], "answer": 1}, "names one of the choices"),
        ({"question": "q", "options": {"A": "x"}, "answer": "(A)"}, "names one of the options"),
        (
            {"messages": [ASKED], "choices": [{"message": answer("a")}, {"message": answer("b")}]},
            "choices holds 2 answers",
        ),
    ],
)
def test_several_answers_are_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=f"row 0 .*{reason}"):
        shown(row)


def test_the_one_choice_of_a_response_is_the_answer() -> None:
    row = {"messages": [ASKED], "choices": [{"index": 0, "message": answer("a")}]}
    assert shown(row) == "q\n«a</s>»"
    text = {"question": "q", "choices": ["x", "yes"], "answer": "yes"}
    assert shown(text) == "q\n«yes</s>»"


def test_two_spellings_with_nulls() -> None:
    """Half of the rows were dropped as empty: `content: null` hid `value`."""
    human = {"role": None, "content": None, "from": "human", "value": "q"}
    gpt = {**human, "from": "gpt", "value": "a"}
    filled = [{**ASKED, "from": None, "value": None}, {**answer("a"), "from": None, "value": None}]
    rows = [{"conversations": [human, gpt]}, {"conversations": filled}] * 3
    dataset = load_dataset(rows, byte_tokenizer())
    assert [marked_text(e.input_ids, e.labels) for e in dataset] == ["q\n«a</s>»"] * 6
    assert dataset.counts.dropped == 0 and dataset.losses() == ()


def test_rows_of_two_layouts_are_read_each_by_its_own() -> None:
    rows = [
        {"messages": [ASKED, answer("a")]},
        {"prompt": "q", "completion": "a"},
        {"question": "q", "answer": "a"},
    ]
    for order in (rows, rows[::-1]):
        dataset = load_dataset(order, byte_tokenizer())
        assert [marked_text(e.input_ids, e.labels) for e in dataset] == ["q\n«a</s>»"] * 3
        note = "1 as messages, 1 as prompt/completion, 1 as question/answer."
        assert note in [n.split(": ")[-1] for n in dataset.info.notes] or order != rows
    columns = dict.fromkeys(key for row in rows for key in row)
    table = Dataset.from_list([{**columns, **row} for row in rows])
    arrow = load_dataset(table, byte_tokenizer())
    assert [marked_text(e.input_ids, e.labels) for e in arrow] == ["q\n«a</s>»"] * 3
    alike = load_dataset([{"problem": "q", "solution": "s", "answer": "a"}], byte_tokenizer())
    assert not any("layouts" in note for note in alike.info.notes)


def test_bad_rows_are_dropped_and_counted_by_reason() -> None:
    """Rows that raise would end the command with exit code 2; the first row may be one of them."""
    bad = [{"messages": [{"role": role, "content": "x"}]} for role in ("alien", "ghost")]
    good = {"messages": [ASKED, answer("a")]}
    half = {"messages": [ASKED, answer("\ud800")]}
    rows = [bad[0], good, bad[1], half, {"messages": [ASKED]}]
    with pytest.raises(InputError, match=r"row 0 .*role 'alien'"):
        load_dataset(rows, byte_tokenizer())
    dataset = load_dataset(rows, byte_tokenizer(), drop_bad_rows=True)
    assert [e.target_tokens > 0 for e in dataset] == [False, True, False, False, False]
    assert sorted(dataset.counts.reasons.values()) == [1, 1, 2]
    (said,) = dataset.losses()
    assert said.startswith("in memory: 4 of the 5 rows read are dropped: 2 refused: ")
    assert "role 'alien'" in said and "(row 0 is the first)" in said and "half a character" in said
    with pytest.raises(InputError, match=r"no row can be read: .*alien"):
        load_dataset(bad, byte_tokenizer(), drop_bad_rows=True)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": 5, "content": "x"}]}, r"messages\[0\].role is 5, not text"),
        ({"messages": [[ASKED]]}, r"messages\[0\] is \[\{.*, not an object"),
        ({"messages": [ASKED, {"role": ["a"]}]}, r"messages\[1\].role is \['a'\], not text"),
        ({"conversations": {"from": "human"}}, "conversations must be a list of messages"),
        ({"instruction": "q", "output": "a", "history": "u"}, "pairs: history is 'u', not a list"),
        ({"instruction": "q", "output": "a", "history": [["u", "v", "w"]]}, "has 3 entries, not 2"),
        ({"input_ids": [5, 2**63], "labels": [5, 2**63]}, r"input_ids\[1\] is 9223372036854775808"),
        ({"input_ids": [5, "6"]}, r"input_ids\[1\] is '6', not an integer"),
        ({"input_ids": [[5]]}, r"input_ids\[0\] is \[5\], not an integer"),
        ({"input_ids": 5}, "input_ids is 5, not a list"),
        ({"input_ids": [5, 99999]}, "holds 99999 .*another tokenizer"),
        ({"input_ids": [5], "labels": [-101]}, r"labels\[0\] is -101, less than -100"),
    ],
)
def test_wrong_types_name_row_and_column(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=rf"row 0 \(counted from 0\): .*{reason}") as caught:
        shown(row)
    assert "\n" not in str(caught.value)


def test_tables_hold_lists_as_json_text() -> None:
    """A CSV has no other way to hold messages."""
    assert shown({"messages": '[{"role": "user", "content": "q"}, '
                              '{"role": "assistant", "content": "a"}]'}) == "q\n«a</s>»"  # fmt: skip
    row = {"instruction": "r", "output": "b", "history": '[["q", "a"]]'}
    assert shown(row) == "User: q\nAssistant:« a</s>»\nUser: r\nAssistant:« b</s>»"
    assert shown({**row, "history": [ASKED, answer("a")]}) == shown(row)
    with pytest.raises(InputError, match="messages holds text that is no JSON"):
        shown({"messages": "[{'role': 'user'}]"})


@pytest.mark.parametrize(
    "row", [{"text": "a film"}, {"input_ids": [5, 6]}, {"question": "q", "answer": "a"}]
)
@pytest.mark.parametrize(
    ("name", "no", "yes"),
    [("weight", 0, 1), ("train", False, True), ("train", 0, 1), ("loss", 0, 1)],
)
def test_marks_of_rows_hold_in_every_format(
    row: dict[str, Any], name: str, no: Any, yes: Any
) -> None:
    """Texts and tokenised rows of weight 0 were trained, and rows of train 0 and loss 0."""
    dataset = load_dataset([{**row, name: yes}, {**row, name: no}], byte_tokenizer())
    assert [e.target_tokens > 0 for e in dataset] == [True, False]
    assert dataset.counts.reasons == {f"marked {name} {str(no).lower()}": 1}
    assert not any("Columns not used" in note for note in dataset.notes)
