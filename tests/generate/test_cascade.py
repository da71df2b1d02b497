"""The cascade of targets: own right answers, right ones with the demonstration in context, demonstrations."""

from typing import Any

import pytest

from advisor.data.dataset import load_dataset
from advisor.model.load import load_model
from harness.generate import cascade as cascading
from harness.generate.cascade import cascade
from harness.generate.in_context import prompts_in_context
from harness.generate.own_answers import Question
from tests.helpers.byte_tokens import byte_tokenizer
from tests.helpers.rewriting import demonstrations, strong

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LAST = r"(\w) ?$"
ROWS = [
    {"prompt": "a ", "completion": "b c"}, {"prompt": "a b ", "completion": "c d"},
    {"prompt": "b ", "completion": "e f"}, {"prompt": "c ", "completion": "g h"},
]  # fmt: skip


def test_each_row_takes_the_first_way_that_is_right(
    model_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(str(model_folder), device="cpu")
    dataset = load_dataset(ROWS, loaded.tokenizer)
    encode: Any = loaded.tokenizer.encode
    said = [
        {
            0: ["k d <eos>", "k c <eos>", "m c <eos>"],
            1: ["k <eos>"],
            2: ["m <eos>"],
            3: ["k <eos>"],
        },
        {1: ["d <eos>"], 2: ["m <eos>", "f <eos>"], 3: ["h h h h h h h h h h h <eos>", "k <eos>"]},
    ]
    asked: list[list[Question]] = []

    def scripted(_: Any, questions: list[Question], *rest: Any) -> Any:
        asked.append(questions)
        for question in reversed(questions):  # in any order
            texts = said[len(asked) - 1][question.row]
            yield question, [encode(text, add_special_tokens=False) for text in texts]

    monkeypatch.setattr(cascading, "sampled_answers", scripted)
    new, found = cascade(loaded, dataset, pattern=LAST, per_prompt=3, temperature=0.0, seed=0)
    texts = [dataset.tokenizer.decode(example.input_ids) for example in new]
    assert texts == ["a k c <eos>", "a b d <eos>", "b f <eos>", "c h h h h h h h h h h h <eos>"]
    for example, old in zip(new, dataset, strict=True):
        start = sum(label == -100 for label in old.labels)
        assert example.labels == [-100] * start + example.input_ids[start:]
    assert found.to_dict() == {
        "own": 1, "guided": 3, "demonstration": 0, "per_prompt": 3, "temperature": 1.0,
    }  # fmt: skip
    assert [question.row for question in asked[1]] == [1, 2, 3]
    seen = [dataset.tokenizer.decode(question.prompt) for question in asked[1]]
    assert seen == ["a b c d <eos> a b", "b e f <eos> b", "c g h <eos> c"]


def test_answers_that_make_a_row_too_long_are_not_taken(
    model_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(str(model_folder), device="cpu")
    dataset = load_dataset(ROWS[:1], loaded.tokenizer, max_length=5)
    encode: Any = loaded.tokenizer.encode
    long = encode("c c c c c <eos>", add_special_tokens=False)
    monkeypatch.setattr(
        cascading, "sampled_answers", lambda _, questions, *rest: [(questions[0], [long])]
    )
    new, found = cascade(loaded, dataset, pattern=LAST, per_prompt=1, temperature=1.0, seed=0)
    assert found.demonstration == 1 and new[0].input_ids == dataset[0].input_ids


def test_a_real_model_answers_by_every_way_and_alike_with_the_same_seed() -> None:
    loaded = strong()
    rows = [{k: row[k] for k in ("prompt", "completion")} for row in demonstrations()]
    dataset = load_dataset(rows, loaded.tokenizer, max_length=128)
    settings: dict[str, Any] = {
        "pattern": r"#([^#$\n]+)\$?\s*\Z", "per_prompt": 2, "temperature": 1.0, "seed": 1,
    }  # fmt: skip
    new, found = cascade(loaded, dataset, **settings)
    again, _ = cascade(loaded, dataset, **settings)
    assert [e.input_ids for e in new] == [e.input_ids for e in again]
    assert found.own and found.demonstration < len(rows) == len(new)
    assert found.own + found.guided + found.demonstration == len(rows)
    for row, example in zip(rows, new, strict=True):
        text = loaded.tokenizer.decode(example.input_ids, skip_special_tokens=True)
        assert str(text).rstrip("$").rpartition("#")[2] == row["completion"].rpartition("#")[2]


def test_a_chat_asks_in_the_wording_given() -> None:
    tokenizer = byte_tokenizer(eos="</s>", chat_template=CHATML)
    rows = [{"messages": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]}]
    dataset = load_dataset(rows, tokenizer)
    found = prompts_in_context(dataset, [0], lambda q, a: f"{q} d {a} e", None)
    asked = "<|im_start|>user\nb d c e<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(found[0]) == asked
    assert prompts_in_context(dataset, [0], lambda q, a: f"{q} d {a} e", len(found[0])) == {}
