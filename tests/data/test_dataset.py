"""Datasets: every format to golden tokens, every source, counts, and one clear line for bad input."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer

from advisor.data.dataset import load_dataset
from advisor.data.describe import describe_example
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer, expected, marked_text

ROWS = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(1000)]
TALK = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yo"},
    {"role": "user", "content": "ok"},
    {"role": "assistant", "content": "bye"},
]
SHAREGPT = [
    {"from": "human", "value": "hi"},
    {"from": "function_call", "value": "f()"},
    {"from": "observation", "value": "7"},
    {"from": "gpt", "value": "seven"},
]
# A template that looks at the first message, as many do.
STRICT = "{{ messages[0].role }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
TALKED = "User: hi\nAssistant:« yo</s>»\nUser: ok\nAssistant:« bye</s>»"

GOLDEN = [
    ("messages", {"messages": TALK}, TALKED),
    ("messages", {"messages": TALK[:2]}, "hi\n«yo</s>»"),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]},
                      {"role": "assistant", "content": [{"type": "text", "text": "yo"}]}]},
        "hi\n«yo</s>»",
    ),
    (
        "conversations",
        {"conversations": SHAREGPT},
        "User: hi\nAssistant:« f()</s>»\nTool: 7\nAssistant:« seven</s>»",
    ),
    (
        "conversations",
        {"conversations": [{"from": "system", "value": "S"}, *SHAREGPT[:1],
                           {"from": "chatgpt", "value": "yo"}]},
        "S\nhi\n«yo</s>»",
    ),
    ("conversations", {"conversations": TALK}, TALKED),
    ("conversations", {"conversations": TALK[:2], "system": "S"}, "S\nhi\n«yo</s>»"),
    ("prompt/completion", {"prompt": "ab", "completion": "cd"}, "ab«cd</s>»"),
    ("prompt/completion", {"prompt": "ab", "completion": "cd</s>"}, "ab«cd</s>»"),
    (
        "prompt/completion",
        {"prompt": TALK[:3], "completion": TALK[3:]},
        "User: hi\nAssistant: yo</s>\nUser: ok\nAssistant:« bye</s>»",
    ),
    ("preference", {"prompt": "ab", "chosen": "cd", "rejected": "ef"}, "ab«cd</s>»"),
    (
        "preference",
        {"prompt": TALK[:3], "chosen": TALK[3:], "rejected": TALK[1:2]},
        "User: hi\nAssistant: yo</s>\nUser: ok\nAssistant:« bye</s>»",
    ),
    ("preference", {"chosen": TALK, "rejected": TALK[:2]}, TALKED),
    ("prompt/response", {"prompt": "ab", "response": "cd", "sep": " "}, "ab\n«cd</s>»"),
    ("alpaca", {"instruction": "i", "input": "x", "output": "o"}, "i\nx\n«o</s>»"),
    ("alpaca", {"instruction": "i", "input": "", "output": "o"}, "i\n«o</s>»"),
    ("alpaca", {"instruction": "i", "output": "o", "system": "S"}, "S\ni\n«o</s>»"),
    (
        "alpaca",
        {"instruction": "i", "input": "x", "output": "o", "history": [["u", "v"]]},
        "User: u\nAssistant:« v</s>»\nUser: i\nx\nAssistant:« o</s>»",
    ),
    ("dolly", {"instruction": "i", "context": "c", "response": "r"}, "i\nc\n«r</s>»"),
    ("query/response", {"query": "q", "response": "r"}, "q\n«r</s>»"),
    ("question/answer", {"question": "q", "answer": "a"}, "q\n«a</s>»"),
    ("question/answer", {"question": "1+1", "answer": 2}, "1+1\n«2</s>»"),
    ("question/solution", {"question": "q", "solution": "s"}, "q\n«s</s>»"),
    ("problem/solution", {"problem": "p", "solution": "s", "answer": "a"}, "p\n«s</s>»"),
    ("problem/answer", {"problem": "p", "answer": "a"}, "p\n«a</s>»"),
    ("input/output", {"input": "x", "output": "o"}, "x\n«o</s>»"),
    ("text/code", {"text": "t", "code": "c"}, "t\n«c</s>»"),
    ("text", {"text": "whole"}, "«whole</s>»"),
    ("question/answer", {"question": "q", "answer": True}, "q\n«true</s>»"),
    (
        "alpaca",
        {"instruction": "i", "output": "o", "history": [["u", None]]},
        "User: u\nAssistant: </s>\nUser: i\nAssistant:« o</s>»",
    ),
    (
        "query/response",
        {"query": "q", "response": "r", "history": [["u", "v"]], "system": "S"},
        "S\nUser: u\nAssistant:« v</s>»\nUser: q\nAssistant:« r</s>»",
    ),
    (
        "conversation",
        {"conversation": [{"human": "hi", "assistant": "yo"}, {"human": "ok", "assistant": "bye"}]},
        TALKED,
    ),
    (
        "tokenised",
        {"input_ids": [0, 97, 98, 129, 0], "attention_mask": [0, 1, 1, 1, 0]},
        "«ab</s>»",
    ),
    (
        "tokenised",
        {"input_ids": [97, 98, 0], "attention_mask": [1, 1, 0], "completion_mask": [0, 1, 1]},
        "a«b»",
    ),
    (
        "tokenised",
        {"input_ids": [97, 98, 129], "labels": [-100, 98, 129]},
        "a«b</s>»",
    ),
    ("tokenised", {"input_ids": [97, 98, 129], "completion_mask": [0, 1, 1]}, "a«b</s>»"),
    (
        "tokenised",
        {"input_ids": [97, 98, 99], "completion_mask": [0, 1, 1], "assistant_masks": [0, 0, 1]},
        "ab«c»",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "text"), GOLDEN)
def test_golden_tokens(name: str, row: dict[str, Any], text: str) -> None:
    dataset = load_dataset([row], byte_tokenizer())
    example = dataset[0]
    assert marked_text(example.input_ids, example.labels) == text
    assert (example.input_ids, example.labels) == expected(text)
    ends = tuple(t for t, label in enumerate(example.labels) if label == 129)
    assert example.terminators == ends
    assert dataset.info.format == name
    assert set(dataset.info.columns) == set(row)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("q«a<|im_end|>»q«b<|im_end|>»", (2, 5)),
        ("q«a<|im_end|>\n»q«b\n»", (2,)),
        ("q«a<|end|><|im_end|>»", (3,)),
        ("q«a</s><|im_end|>»", (2,)),  # the tokenizer's own end goes before others
        ("q«<|user|>a»", ()),
    ],
)
def test_turns_of_token_ids_end_at_a_special_token(text: str, ends: tuple[int, ...]) -> None:
    ids, labels = expected(text)
    dataset = load_dataset([{"input_ids": ids, "labels": labels}], byte_tokenizer())
    assert dataset[0].terminators == ends


def test_beginning_of_sequence_as_the_tokenizer_has_it() -> None:
    for row in ({"question": "q", "answer": "a"}, {"prompt": "q\n", "completion": "a"}):
        example = load_dataset([row], byte_tokenizer(bos=True))[0]
        assert marked_text(example.input_ids, example.labels) == "<s>q\n«a</s>»"


def test_a_template_for_string_columns_is_noted() -> None:
    template = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    tokenizer = byte_tokenizer(chat_template=template)
    row = {"prompt": "ab", "completion": "cd"}
    templated = load_dataset([row], tokenizer)
    assert marked_text(templated[0].input_ids, templated[0].labels) == "ab<|im_end|>«cd<|im_end|>»"
    assert any("join them raw" in note for note in templated.info.notes)
    raw = load_dataset([row], tokenizer, chat_template="none")
    assert marked_text(raw[0].input_ids, raw[0].labels) == "ab«cd</s>»"
    assert (templated.info.template, raw.info.template) == ("tokenizer", "none")


def test_fields_by_name() -> None:
    row = {"title": "t", "contexts": ["c1", "c2"], "long_answer": "a"}
    named = {"prompt_field": "contexts", "completion_field": "long_answer"}
    example = load_dataset([row], byte_tokenizer(), **named)[0]
    assert marked_text(example.input_ids, example.labels) == "c1\nc2\n«a</s>»"
    whole = load_dataset([row], byte_tokenizer(), completion_field="title")[0]
    assert marked_text(whole.input_ids, whole.labels) == "«t</s>»"


def test_position_zero_is_not_scored() -> None:
    example = load_dataset([{"text": "abc"}], byte_tokenizer())[0]
    assert example.labels[0] == ord("a")
    assert example.target_tokens == len("bc") + 1


def test_truncation_and_drops_are_counted_once() -> None:
    rows = [{"prompt": "a" * n, "completion": "b" * 4} for n in (2, 5, 8, 20)]
    rows.append({"prompt": "a", "completion": "  "})
    dataset = load_dataset(rows, byte_tokenizer(), max_length=8)
    examples = [dataset[i] for i in (0, 1, 2, 3, 4, 0, 1)]
    assert [e.truncated for e in examples[:5]] == [False, True, True, True, False]
    assert [e.target_tokens for e in examples[:5]] == [5, 3, 0, 0, 0]
    assert [e.terminators for e in examples[:2]] == [(6,), ()]
    counts = dataset.counts
    assert (counts.examples, counts.truncated, counts.dropped, counts.empty) == (5, 3, 3, 1)
    assert counts.target_tokens == 8


@pytest.mark.parametrize(
    ("column", "empty"),
    [("messages", []), ("messages", None), ("text", None), ("text", float("nan"))],
)
def test_rows_of_nothing_are_counted(column: str, empty: object) -> None:
    full = {"messages": TALK, "text": "hi"}[column]
    for rows in ([{column: empty}, {column: full}], [{column: full}, {column: empty}]):
        dataset = load_dataset(rows, byte_tokenizer(chat_template=STRICT))
        assert sorted(e.target_tokens > 0 for e in dataset) == [False, True]
        assert (dataset.counts.dropped, dataset.counts.empty) == (1, 1)


def test_tokenised_rows_of_nothing_are_counted() -> None:
    nothing = [{"input_ids": i, "labels": i} for i in ([], None)]
    dataset = load_dataset(
        [*nothing, {"input_ids": [97, 98], "labels": [-100, 98]}], byte_tokenizer()
    )
    assert [e.target_tokens for e in dataset] == [0, 0, 1]
    assert dataset.counts.empty == 2


def test_columns_that_are_read_are_not_called_unused() -> None:
    row = {"query": "q", "response": "r", "history": [], "system": "S", "id": 1}
    assert load_dataset([row], byte_tokenizer()).info.notes == ("Columns not used: id.",)


def test_sequence_protocol() -> None:
    dataset = load_dataset(ROWS, byte_tokenizer())
    assert len(dataset) == 1000 and dataset.counts.examples == 0
    dataset.tokenize([5, 7, 5])
    assert dataset.counts.examples == 2
    assert dataset[-1] == dataset[999] and dataset[5:7] == [dataset[5], dataset[6]]
    assert dataset.raw(3) == ROWS[3]
    assert sum(1 for _ in dataset) == 1000 == dataset.counts.examples
    with pytest.raises(IndexError):
        dataset[1000]


def test_batched_and_single_tokenisation_agree() -> None:
    rows = [{"messages": TALK[: 2 + 2 * (i % 2)]} for i in range(6)]
    batched = load_dataset(rows, byte_tokenizer())[:]
    assert batched == [load_dataset([row], byte_tokenizer())[0] for row in rows]


@pytest.mark.parametrize(
    ("context", "wanted", "length"),
    [(None, None, 512), (64, None, 64), (9999, None, 2048), (64, 9, 9)],
)
def test_default_max_length(context: int | None, wanted: int | None, length: int) -> None:
    found = load_dataset(ROWS, byte_tokenizer(), context_length=context, max_length=wanted)
    assert found.info.max_length == length


def test_merges_over_the_boundary_are_counted(shared: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "tokenizers" / "gpt2")
    rows = [{"prompt": "hello wor", "completion": "ld"}, {"prompt": "hello", "completion": " you"}]
    dataset = load_dataset(rows, tokenizer)
    merged = tokenizer("hello world")["input_ids"]
    assert dataset[0].input_ids == [*merged, tokenizer.eos_token_id]
    assert dataset[0].labels == [-100, merged[1], tokenizer.eos_token_id]
    assert dataset[1].target_tokens == 2 and dataset.counts.merged == 1


def test_a_tokenizer_without_offsets() -> None:
    """A slow tokenizer: ByT5's ids are UTF-8 bytes plus 3, its end of sequence is 1."""
    dataset = load_dataset([{"messages": TALK}, ROWS[0] | {"messages": TALK[:2]}], ByT5Tokenizer())
    assert not ByT5Tokenizer().is_fast
    targets = [label for label in dataset[0].labels if label != -100]
    assert targets == [*(b + 3 for b in b" yo"), 1, *(b + 3 for b in b" bye"), 1]
    assert dataset[1].labels == [-100] * 3 + [ord("y") + 3, ord("o") + 3, 1]


def test_describe_example() -> None:
    dataset = load_dataset([{"messages": TALK}], byte_tokenizer())
    pieces = describe_example(dataset, 0)
    assert "".join(f"«{t}»" if flag else t for t, flag in pieces) == TALKED


BAD_ROWS = [
    ({"qestion": "q", "reply": "a"}, {}, "columns qestion, reply; name them with --prompt_field"),
    ({"Question": "q", "Answer": 5.0}, {}, "--prompt_field Question --completion_field Answer"),
    (
        {"instruction": "i", "instances": [{"input": "x", "output": "o"}]},
        {},
        "'instances' nests input, output; write one row per instance",
    ),
    (ROWS[0], {"prompt_field": "qestion", "completion_field": "answer"}, "did you mean question"),
    (ROWS[0], {"prompt_field": "question"}, "needs --completion_field"),
    (ROWS[0], {"max_length": 1}, "--max_length 1 leaves no token to predict"),
    (ROWS[0], {"max_length": 99, "context_length": 64}, "longer than the model's context of 64"),
    (ROWS[0], {"eos_token": "<end>"}, "not one token of the vocabulary"),
    ({"question": {"a": 1}, "answer": "x"}, {}, "column 'question' holds"),
    ({"messages": [{"role": "alien", "content": "x"}]}, {}, "role 'alien'"),
    ({"messages": "hi"}, {}, "must be a list of messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, {}, "only text is read"),
    ({"messages": [{"role": "user", "content": {"text": "hi"}}]}, {}, "row 0 .*content is {'text'"),
    (
        {"messages": [{"role": "user", "content": "\ud800"}, TALK[1]]},
        {},
        "row 0 .*half a character",
    ),
    ({"messages": TALK, "chat_template_kwargs": "abc"}, {}, "row 0 .*must be an object, not 'abc'"),
    ({"dialog": TALK}, {}, "'dialog' holds messages; rename that column"),
    (ROWS[0], {"prompt_field": "answer", "completion_field": "answer"}, "both name 'answer'"),
    (ROWS[0], {"context_length": 1}, "the model's context of 1 leaves no token"),
    ({f"c{i}": "" for i in range(50)}, {}, "c19 and 30 more"),
    ({"messages": TALK, "tools": "[{"}, {}, "tools column is not JSON"),
    ({"instruction": "i", "output": "o", "history": [["u"]]}, {}, "pairs"),
    ({"input_ids": [1, -2], "labels": [1, -100]}, {}, r"input_ids\[1\] is -2, less than 0"),
    ({"input_ids": [1.5, 2.0], "labels": [1, 2]}, {}, r"input_ids\[0\] is 1.5, not an integer"),
    ({"input_ids": [1, 2], "labels": [1]}, {}, "labels has 1 entries, input_ids has 2"),
    ({"input_ids": [1, 2], "completion_mask": [1]}, {}, "completion_mask has 1 entries"),
    ({"input_ids": [1, 2, 3], "labels": [2, 3, -100]}, {}, "not shifted by one"),
]


@pytest.mark.parametrize(("row", "settings", "reason"), BAD_ROWS)
def test_bad_rows(row: dict[str, Any], settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        load_dataset([row], byte_tokenizer(), **settings)[0]
    assert "\n" not in str(caught.value)


def test_a_later_bad_row_is_named() -> None:
    rows = [{"messages": TALK}] * 3 + [{"messages": [{"role": "alien", "content": "x"}]}]
    dataset = load_dataset(rows, byte_tokenizer())
    with pytest.raises(InputError, match="in memory, row 3 "):
        dataset.tokenize(range(4))
    mixed = load_dataset([{"prompt": p, "completion": p} for p in ("a", TALK)], byte_tokenizer())
    with pytest.raises(InputError, match=r"row 1 .*keep to one kind"):
        mixed.tokenize([1])
    nested = [{"dialog": [{"x": 1}]}] * 2
    with pytest.raises(InputError, match="name them with --prompt_field"):
        load_dataset(nested, byte_tokenizer())


def test_no_end_of_sequence_token() -> None:
    tokenizer = byte_tokenizer(eos=None)
    for row in (ROWS[0], {"text": "t"}, {"prompt": "p", "completion": "c"}):
        with pytest.raises(InputError, match="--eos_token TEXT"):
            load_dataset([row], tokenizer)
    given = load_dataset(ROWS[:1], tokenizer, eos_token="<|im_end|>")[0]
    assert marked_text(given.input_ids, given.labels) == "q0\n«a0<|im_end|>»"
    assert given.terminators == (len("q0\na0"),)
    without = load_dataset(ROWS[:1], tokenizer, eos_token="none")[0]
    assert (marked_text(without.input_ids, without.labels), without.terminators) == ("q0\n«a0»", ())
    template = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    assert load_dataset(ROWS[:1], tokenizer, chat_template=template)[0].terminators


def test_answers_that_lose_their_end_are_said() -> None:
    template = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    talks = [("q", "a"), ("q", "a" * 30), ("q" * 30, "a"), ("q", "a", "z" * 30)]
    roles = ("user", "assistant", "user")
    rows = [
        {"messages": [{"role": r, "content": c} for r, c in zip(roles, talk, strict=False)]}
        for talk in talks
    ]
    dataset = load_dataset(rows, byte_tokenizer(chat_template=template), max_length=20)
    dataset.tokenize(range(4))
    assert (dataset.counts.truncated, dataset.counts.shortened) == (3, 1)
    *dropped, said = dataset.losses()
    assert said == (
        "in memory: 1 of the 4 rows read is cut at 20 tokens (--max_length, else the model's context) and "
        "loses the end of an answer."
    )
    assert tuple(dropped) == dataset.dropped() and "1 of the 4 rows read are dropped" in dropped[0]


def test_require_targets_says_why() -> None:
    empty = load_dataset([{"question": "q", "answer": " "}] * 3, byte_tokenizer())
    empty.require_targets()
    empty.tokenize(range(3))
    with pytest.raises(InputError, match=r"none of the 3 rows.*3 with an empty completion"):
        empty.require_targets()
    cut = load_dataset([{"question": "q" * 20, "answer": "a"}], byte_tokenizer(), max_length=9)
    cut.tokenize([0])
    with pytest.raises(InputError, match="1 cut at 9 tokens"):
        cut.require_targets()
    some = load_dataset([{"question": "q", "answer": a} for a in ("", "a")], byte_tokenizer())
    some.tokenize(range(2))
    some.require_targets()
