"""Rows that are kept back, as tasks: what is asked, and which of their answers is the reference."""

from typing import Any

import pytest

from advisor.data.dataset import load_dataset
from harness.evaluate.lm_eval import evaluate
from harness.evaluate.split import own_task
from tests.helpers.byte_tokens import byte_tokenizer, expected
from tests.helpers.tiny import tiny_model, tiny_tokenizer

PLAIN = (
    "{% for m in messages %}{{ {'user': 'Q: ', 'assistant': 'A: '}[m.role] + m.content }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nA: ' }}{% endif %}"
)
TURNS = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "#### 4"},
    {"role": "user", "content": "3+3?"},
    {"role": "assistant", "content": "#### 6"},
]


def marked(text: str) -> dict[str, Any]:
    """A row that is tokenised already."""
    ids, labels = expected(text)
    return {"input_ids": ids, "labels": labels}


@pytest.mark.parametrize(
    ("row", "template"),
    [
        ({"messages": TURNS}, PLAIN),
        ({"messages": TURNS}, PLAIN + "{{ eos_token }}"),
        (marked("2+2?<|user|>«#### 4»\n3+3?<|user|>«#### 6</s>»"), None),
        (marked("2+2?<|user|>«#### 4<|im_end|>\n»3+3?<|user|>«#### 6<|im_end|>\n»"), None),
    ],
    ids=["no end", "one end", "tokens", "tokens with an end that is not the tokenizer's"],
)
def test_an_answer_is_held_against_its_own_turn(row: dict[str, Any], template: str | None) -> None:
    """Breaks where the reference to the first question holds the answer to the last one."""
    task = own_task(load_dataset([row] * 2, byte_tokenizer(), chat_template=template), None)
    document = task["custom_dataset"]()["test"].to_list()[0]
    assert "2+2?" in document["prompt"]
    assert document["reference"].strip() == "#### 4"
    assert task["process_results"](document, ["#### 4"]) == {"exact_match": 1.0}


def test_an_end_that_weighs_nothing_is_no_part_of_the_reference() -> None:
    spans = [{"start": 6, "end": 16, "weight": 0}]
    rows = [{"prompt": f"{i}?", "completion": "#### 4<|im_end|>", "spans": spans} for i in range(2)]
    dataset = load_dataset(rows, byte_tokenizer(), chat_template="none", eos_token="none")
    assert dataset[0].terminators == ()
    task = own_task(dataset, None)
    assert task["custom_dataset"]()["test"]["reference"] == ["#### 4"] * 2


def test_an_unknown_word_at_the_end_stays_in_the_reference() -> None:
    """Breaks where it goes with what ends an answer: some tokenizers have a special token for it."""
    rows = [{"prompt": f"a {x} ", "completion": f"{x} nowhere"} for x in "bc"]
    task = own_task(load_dataset(rows, tiny_tokenizer()), r"(.*)")
    assert task["custom_dataset"]()["test"]["reference"] == ["b <pad>", "c <pad>"]


def test_no_prompt_is_cut_for_the_sake_of_a_long_answer() -> None:
    """Breaks where the longest answer takes the room of the longest prompt."""
    asked = {"p" * n: f"#### {n}" for n in (30, 40, 49)} | {"q": "a" * 40 + "#### 1"}
    rows = [{"prompt": prompt, "completion": answer} for prompt, answer in asked.items()]
    tokenizer, model, seen = byte_tokenizer(), tiny_model(vocab_size=160), dict[str, int]()
    task = own_task(load_dataset(rows, tokenizer, max_length=64), None)
    generate = model.generate

    def spy(**given: Any) -> Any:
        pairs = zip(given["input_ids"], given["attention_mask"], strict=True)
        for ids, mask in pairs:
            room = given["max_length"] - len(ids)
            seen[tokenizer.decode(ids[mask.bool()])] = room
        return generate(**given)

    model.generate = spy
    evaluate(model, tokenizer, [task], temperature=0.0, part="all")
    assert seen == {"p" * 30: 32, "p" * 40: 23, "p" * 49: 14, "q": 40 + 6 + 1 + 15}


def test_rows_whose_prompt_leaves_no_room_for_a_choice_are_left_out() -> None:
    rows = [{"prompt": "p" * n, "completion": f"{n} words"} for n in (10, 20, 58)]
    dataset = load_dataset(rows, byte_tokenizer(), max_length=64)
    documents = own_task(dataset, None)["custom_dataset"]()["test"]
    assert documents["prompt"] == ["p" * 10, "p" * 20]
