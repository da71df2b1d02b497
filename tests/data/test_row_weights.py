"""Weights that data give their targets, by rows, turns and stretches, in every layout; and their refusals."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import Dataset

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.data.describe import describe_example
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer

ASKED = {"role": "user", "content": "q"}
LOCATED = "{% for m in messages %}{{ m.role[0] + ':' + m.content + eos_token }}{% endfor %}"
MARKED = (
    "{% for m in messages %}{{ m.role[0] }}:{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
)


def answer(text: Any, **marks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **marks}


def span(start: int, end: int, weight: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "weight": weight}


def read(*rows: dict[str, Any], **settings: Any) -> SFTDataset:
    dataset = load_dataset(list(rows), byte_tokenizer(), **settings)
    dataset.tokenize(range(len(dataset)))
    return dataset


def weighed(*rows: dict[str, Any], **settings: Any) -> list[list[tuple[str, float]]]:
    """Of every row the texts of its targets, each with its weight."""
    dataset = read(*rows, **settings)
    pieces = [describe_example(dataset, i) for i in range(len(dataset))]
    return [[(text, weight) for text, weight in row if weight] for row in pieces]


LAYOUTS = [
    {"prompt": "q", "completion": "abc"},
    {"messages": [ASKED, answer("abc")]},
    {"text": "abc"},
    {"question": "q", "answer": "abc"},
    {"instruction": "q", "output": "abc"},
]


@pytest.mark.parametrize("row", [*LAYOUTS, {"input_ids": [97, 97, 98, 99]}])
@pytest.mark.parametrize("value", [2, 2.0, "2", " 2.0 "])
def test_a_row_is_weighed_in_every_layout(row: dict[str, Any], value: Any) -> None:
    """Wish: per-sample weights in SFT (huggingface/trl 5761)."""
    heavy, plain, none = weighed(
        {**row, "weight": value}, {**row, "weight": None}, {**row, "weight": 0}
    )
    assert {weight for _, weight in heavy} == {2.0} and none == []
    assert [text for text, _ in heavy] == [text for text, _ in plain]
    assert {weight for _, weight in plain} == {1.0}


def test_a_weight_of_zero_leaves_the_row_out_and_says_so() -> None:
    dataset = read({**LAYOUTS[0], "weight": "0.0"}, {**LAYOUTS[0], "weight": 1})
    assert dataset.counts.reasons == {"marked weight 0": 1}
    assert dataset.weights is None and dataset[1].weights is None


def test_a_column_of_another_name_is_named(tmp_path: Path) -> None:
    """Wish: weights from a quality score column (modelscope/ms-swift 4139)."""
    rows = [{**LAYOUTS[0], "quality": quality} for quality in (0.25, 4, 0)]
    assert "Columns not used: quality." in read(*rows).info.notes
    dataset = read(*rows, weight_field="quality")
    assert dataset.info.weight_field == "quality" and dataset.counts.reasons == {
        "marked quality 0": 1
    }
    assert dataset.weights == "0.25 to 4 in 2 of 3 rows"
    assert not any("Columns not used" in note for note in dataset.info.notes)
    path = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    for source in (path, pd.DataFrame(rows), Dataset.from_list(rows)):
        found = load_dataset(source, byte_tokenizer(), weight_field="quality")
        assert [e.weights and e.weights[-1] for e in found] == [0.25, 4.0, None]
    with pytest.raises(InputError, match=r"no column 'qualty' \(--weight_field\); did you mean"):
        read(*rows, weight_field="qualty")


def test_a_column_that_is_no_weight_is_left_alone() -> None:
    row = {"question": "q", "answer": "a", "weight": "70 kg"}
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\): weight is '70 kg', no weight"):
        read(row)
    with pytest.raises(InputError, match="--weight_field none reads no column"):
        read(row)
    assert weighed(row, weight_field="none") == [[("a</s>", 1.0)]]
    target = {"animal": "cat", "weight": "4"}
    assert weighed(target, prompt_field="animal", completion_field="weight")[0] == [("4</s>", 1.0)]


@pytest.mark.parametrize("template", [None, LOCATED, MARKED])
@pytest.mark.parametrize("name", ["weight", "loss_scale"])
def test_turns_are_weighed_with_what_ends_them(template: str | None, name: str) -> None:
    """Wish: a weight per message (axolotl-ai-cloud/axolotl 1702); `loss_scale` is ms-swift's."""
    turns = [ASKED, answer("a", **{name: 0.5}), ASKED, answer("b"), ASKED, answer("c", **{name: 0})]
    [found] = weighed({"messages": turns, "weight": 4}, chat_template=template)
    assert [(text.strip(), weight) for text, weight in found] == [("a</s>", 2.0), ("b</s>", 4.0)]


def test_weights_of_turns_in_other_spellings() -> None:
    shared = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "weight": 3}]
    assert weighed({"conversations": shared, "system": "S"}) == [[("a</s>", 3.0)]]
    halves = {"prompt": [ASKED], "completion": [answer("a", weight=3)]}
    assert weighed(halves) == [[("a</s>", 3.0)]]
    assert weighed({"messages": [{**ASKED, "weight": 1}, answer("a", weight=3)]})[0][0][1] == 3


@pytest.mark.parametrize("row", LAYOUTS)
def test_stretches_are_weighed_in_every_layout(row: dict[str, Any]) -> None:
    spans = [span(2, 3, 4), span(0, 1, 0.5)]
    found = {**row, "spans": spans}
    if "messages" in row:
        found = {"messages": [ASKED, answer("abc", spans=spans)]}
    expected = [("a", 0.5), ("b", 1.0), ("c", 4.0), ("</s>", 1.0)]
    if "text" in row:
        expected = expected[1:]  # nothing precedes the first token
    assert weighed(found) == [expected]
    if "messages" not in row:
        assert weighed({**row, "spans": json.dumps(spans)}) == [expected]  # as a CSV holds it
        columns = {key: [one[key] for one in spans] for key in spans[0]}
        assert weighed({**row, "spans": columns}) == [expected]  # as Arrow may hold it
    doubled = [(text, 2 * weight) for text, weight in expected]
    assert weighed({**found, "weight": 2}) == [doubled]


THOUGHT = "<think>no</think>yes"


@pytest.mark.parametrize("template", [None, LOCATED, MARKED])
def test_a_thought_is_masked_or_weighed_less(template: str | None) -> None:
    """Wish: a chain of thought out of the loss (NVIDIA-NeMo/Automodel 3738, unslothai/unsloth 6695)."""
    masked = {"messages": [ASKED, answer(THOUGHT, spans=[span(0, 17, 0)])]}
    assert weighed(masked, chat_template=template) == [[("yes</s>", 1.0)]]
    parts = [
        {"type": "text", "text": THOUGHT[:17], "weight": 0.1},
        {"type": "text", "text": THOUGHT[17:]},
    ]
    less = {"messages": [ASKED, answer(parts)]}
    assert weighed(less, chat_template=template) == [[(THOUGHT[:17], 0.1), ("yes</s>", 1.0)]]


def test_parts_with_weights_and_spans_go_together() -> None:
    """Breaks where spans are no list: in a traceback, or in a refusal of their JSON text."""
    parts = [{"type": "text", "text": "ab", "weight": 2}, {"type": "text", "text": "cd"}]
    spans = [span(3, 4, 5)]
    columns = {key: [one[key] for one in spans] for key in spans[0]}
    for given in (spans, json.dumps(spans), columns):
        row = {"messages": [ASKED, answer(parts, spans=given)]}
        assert weighed(row) == [[("ab", 2.0), ("c", 1.0), ("d", 5.0), ("</s>", 1.0)]]
    for given in (5, "all", True):
        with pytest.raises(InputError, match=r"row 0 .*message with spans .*, not a list; write"):
            read({"messages": [ASKED, answer(parts, spans=given)]})


def test_the_tokens_of_a_final_answer_are_weighed_more() -> None:
    """Wish: the final answer's tokens weighed more (modelscope/ms-swift 5516)."""
    text = "2 + 2 = 4, so #### 4"
    row = {"prompt": "q", "completion": text, "spans": [span(text.index("####"), len(text), 5)]}
    assert weighed(row) == [[("2 + 2 = 4, so ", 1.0), ("#### 4", 5.0), ("</s>", 1.0)]]


def test_a_row_whose_every_target_weighs_zero_has_none() -> None:
    row = {"text": "abc", "spans": [span(0, 3, 0)]}
    dataset = load_dataset([row], byte_tokenizer(), eos_token="none")
    assert dataset[0].target_tokens == 0 and dataset[0].answers == dataset[0].input_ids
    assert dataset.weights == "0 to 0 in 1 of 1 rows"
    assert dataset.counts.reasons == {"with a weight of 0 on every target": 1}
    assert dataset.counts.weightless == 3


def test_spans_that_are_no_weights_are_left_alone() -> None:
    row = {"prompt": "q", "completion": "abc", "spans": [{"start": 0, "end": 2, "label": "NAME"}]}
    dataset = read(row)
    assert dataset.weights is None and "Columns not used: spans." in dataset.info.notes


BAD = [
    -1,
    -1e-3,
    math.nan,
    math.inf,
    -math.inf,
    "half",
    "nan",
    "inf",
    1e10,
    1e-12,
    [1],
    {"w": 1},
    10**400,
]


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_weight_is_refused_in_one_line(value: Any) -> None:
    good = {"prompt": "q", "completion": "abc"}
    for row in (
        {**good, "weight": value},
        {**good, "spans": [span(0, 1, value)]},
        {"messages": [ASKED, answer("abc", weight=value)]},
        {"messages": [ASKED, answer("abc", spans=[span(0, 1, value)])]},
    ):
        with pytest.raises(
            InputError, match=r"row 1 \(counted from 0\): .*weight.* write 0"
        ) as caught:
            read(
                {**good, "messages": None}
                if "messages" not in row
                else {**row, "messages": [ASKED, answer("a")]},
                row,
            )
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([span(0, 4, 1)], r"spans\[0\] goes from 0 to 4: .* end <= 3"),
        ([span(-1, 2, 1)], r"spans\[0\] goes from -1 to 2"),
        ([span(2, 2, 1)], r"spans\[0\] goes from 2 to 2"),
        ([{"start": 0.0, "end": 1, "weight": 1}], r"spans\[0\] goes from 0.0 to 1"),
        ([{"start": "0", "weight": 1}], r"spans\[0\] goes from '0' to None"),
        ([span(0, 2, 1), span(1, 3, 2)], "spans overlap: 0 to 2 and 1 to 3"),
        ([span(0, 2, 1), {"start": 2, "end": 3}], r"spans\[1\] lacks a weight"),
    ],
)
def test_stretches_that_cannot_be_meant_are_refused(spans: Any, reason: str) -> None:
    with pytest.raises(InputError, match=rf"row 0 \(counted from 0\): {reason}"):
        read({"prompt": "q", "completion": "abc", "spans": spans})
    with pytest.raises(InputError, match=rf"row 0 \(counted from 0\): turn 1, {reason}"):
        read({"messages": [ASKED, answer("abc", spans=spans)]})


def test_weights_where_nothing_is_trained_are_refused() -> None:
    for turn, name in (
        ({**ASKED, "weight": 2}, "weight"),
        ({**ASKED, "spans": [span(0, 1, 2)]}, "spans"),
    ):
        with pytest.raises(InputError, match=f"turn 0, of role user, has {name}"):
            read({"messages": [turn, answer("a")]})
    for row in ({"messages": [ASKED, answer("abc")]}, {"input_ids": [5, 6]}):
        with pytest.raises(
            InputError, match="spans is a column of rows whose completion is a text"
        ):
            read({**row, "spans": [span(0, 1, 2)]})
    both = {"messages": [ASKED, answer("a", weight=2, loss_scale=3)]}
    with pytest.raises(InputError, match="turn 1 has weight and loss_scale, which differ"):
        read(both)


def test_a_missing_weight_of_a_frame_is_no_weight_of_one() -> None:
    frame = pd.DataFrame([{**LAYOUTS[0], "weight": weight} for weight in (2.0, None)])
    with pytest.raises(InputError, match=r"row 1 \(counted from 0\): weight is NaN.*fillna\(1\)"):
        load_dataset(frame, byte_tokenizer())
    assert load_dataset(frame.fillna(1), byte_tokenizer())[1].weights is None


def test_the_fingerprint_covers_weights(tmp_path: Path) -> None:
    prints = set()
    for number, weight in enumerate((1, 2)):
        rows = [{**LAYOUTS[0], "weight": weight}]
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps(rows[0]))
        for source in (rows, path, Dataset.from_list(rows), pd.DataFrame(rows)):
            prints.add(load_dataset(source, byte_tokenizer()).info.fingerprint)
    assert len(prints) == 6  # a list and a frame of the same rows are the same rows


def test_a_note_says_that_there_are_weights_and_what_they_do() -> None:
    dataset = read({**LAYOUTS[0], "weight": 0.5}, LAYOUTS[0])
    assert dataset.counts.weighted == 1 and dataset.weights == "0.5 to 1 in 1 of 2 rows"
    assert "The data weigh their targets, 0.5 to 1 in 1 of 2 rows" in dataset.row_notes[-1]
    assert not read(LAYOUTS[0]).row_notes
