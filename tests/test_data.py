"""Datasets: every format to golden tokens, every source, counts, and one clear line for bad input."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from byte_tokens import byte_tokenizer, expected, marked_text
from transformers import AutoTokenizer, ByT5Tokenizer

from advisor.data import SFTDataset, describe_example, load_dataset
from advisor.errors import InputError

ROWS = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(1000)]
LINES = [json.dumps(row) for row in ROWS]
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


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def source_file(folder: Path, kind: str) -> Path:
    table = datasets.Dataset.from_list(ROWS[:5])
    path = folder / f"data.{kind}"
    if kind == "json":
        path.write_text(json.dumps(ROWS[:5]))
    elif kind == "jsonl":
        write(path, ROWS[:5])
    elif kind == "parquet":
        table.to_parquet(path)
    elif kind in ("csv", "tsv"):
        table.to_csv(path, sep="," if kind == "csv" else "\t")
    else:
        table.save_to_disk(folder / "saved")
        path = folder / "saved" if kind == "folder" else next((folder / "saved").glob("*.arrow"))
    return path


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "tsv", "parquet", "arrow", "folder"])
def test_sources_agree_with_rows_in_memory(tmp_path: Path, kind: str) -> None:
    dataset = load_dataset(str(source_file(tmp_path, kind)), byte_tokenizer())
    assert dataset[:] == load_dataset(ROWS[:5], byte_tokenizer())[:]
    assert dataset.info.split is None and dataset.info.rows == 5


def test_splits(tmp_path: Path) -> None:
    write(tmp_path / "d" / "train.jsonl", ROWS[:3])
    write(tmp_path / "d" / "test.jsonl", ROWS[3:5])
    (tmp_path / "d" / "README.md").write_text("not data")
    tokenizer = byte_tokenizer()
    assert len(load_dataset(str(tmp_path / "d"), tokenizer, split="test")) == 2
    for split, reason in ((None, "splits test, train.*--split"), ("tets", "did you mean test")):
        with pytest.raises(InputError, match=reason):
            load_dataset(str(tmp_path / "d"), tokenizer, split=split)
    both = datasets.DatasetDict(
        a=datasets.Dataset.from_list(ROWS[:2]), b=datasets.Dataset.from_list(ROWS)
    )
    assert len(load_dataset(both, tokenizer, split="a")) == 2
    with pytest.raises(InputError, match="splits a, b"):
        load_dataset(both, tokenizer)


def test_byte_order_mark_na_and_one_row(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_bytes("\ufeffquestion,answer\nwhich,NA\n".encode())
    dataset = load_dataset(str(path), byte_tokenizer())
    assert marked_text(dataset[0].input_ids, dataset[0].labels) == "which\n«NA</s>»"


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    prints = [
        load_dataset(str(write(tmp_path / name, rows)), byte_tokenizer()).info.fingerprint
        for name, rows in (("a.jsonl", ROWS[:2]), ("b.jsonl", ROWS[:2]), ("c.jsonl", ROWS[:3]))
    ]
    assert prints[0] == prints[1] != prints[2]
    in_memory = [load_dataset(r, byte_tokenizer()).info.fingerprint for r in (ROWS[:2], ROWS[:3])]
    assert in_memory[0] != in_memory[1]


BROKEN = [*LINES[:811], '{"question": "x", "answer": ', *LINES[812:]]
BAD_FILES = [
    ("b.jsonl", "\n".join(BROKEN).encode(), "broken JSON on line 812 of .*b.jsonl"),
    ("b.json", b"[\n" + ",\n".join(BROKEN).encode() + b"]", "broken JSON on line 813"),
    ("cut.jsonl", "\n".join(LINES)[:-5].encode(), "broken JSON on line 1000"),
    ("e.jsonl", b"", "is empty"),
    ("blank.csv", b"\n \n", "is empty"),
    ("none.json", b"[]", "has no rows"),
    ("head.csv", b"question,answer\n", "has no rows"),
    ("l.jsonl", b'{"a": 1}\n{"a": "caf\xe9"}', "byte 0xe9 on line 2, column 11.*iconv -f latin1"),
    ("l.csv", b"question,answer\ncaf\xe9,b\n", "not UTF-8.*line 2"),
    ("u.csv", "question,answer\na,b\n".encode("utf-16"), "iconv -f utf-16"),
    ("x.pkl", b"\x80\x04.", "unknown file type .pkl"),
    ("x.parquet", b"hello", "cannot be read as parquet"),
    ("n.json", b'{"version": 1, "data": [{"question": "q", "answer": "a"}]}', "jq .data FILE"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD_FILES)
def test_bad_files(tmp_path: Path, capfd: Any, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        load_dataset(str(tmp_path / name), byte_tokenizer())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_bad_places(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", ROWS[:2])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").write_text("x")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.csv").write_text("question,answer\na,b\n")
    write(tmp_path / "mixed" / "b.jsonl", ROWS[:2])
    for name, reason in (
        ("trian.jsonl", r"did you mean .*train\.jsonl\?"),
        ("empty", "no data file"),
        ("mixed", "mixes .csv, .jsonl"),
        ("none/x.json", "nor a folder"),
    ):
        with pytest.raises(InputError, match=reason):
            load_dataset(str(tmp_path / name), byte_tokenizer())
    with pytest.raises(InputError, match=r"cannot be read from the hub.*Offline"):
        load_dataset("no-such-owner/no-such-set", byte_tokenizer())
    with pytest.raises(InputError, match="one file without splits"):
        load_dataset(str(tmp_path / "train.jsonl"), byte_tokenizer(), split="test")


BAD_ROWS = [
    ({"qestion": "q", "reply": "a"}, {}, "columns qestion, reply; name them with --prompt_field"),
    ({"Question": "q", "Answer": 5.0}, {}, "--prompt_field Question --completion_field Answer"),
    ({"prompt": "p", "chosen": "c", "rejected": "r"}, {}, "--completion_field chosen"),
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
    ({"messages": TALK, "tools": "[{"}, {}, "tools column is not JSON"),
    ({"instruction": "i", "output": "o", "history": [["u"]]}, {}, "pairs"),
    ({"input_ids": [1, -2], "labels": [1, -100]}, {}, "input_ids must be a list of integers of 0"),
    ({"input_ids": [1.5, 2.0], "labels": [1, 2]}, {}, "list of integers"),
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
    with pytest.raises(InputError, match="row 3 "):
        dataset.tokenize(range(4))


def test_bad_rows_in_memory() -> None:
    for rows, reason in (
        ([], "empty list"),
        ([1, 2], "list of dicts"),
        ([{"text": "a"}, {"text": {"b": 1}}], "no table"),
    ):
        with pytest.raises(InputError, match=reason):
            load_dataset(rows, byte_tokenizer())


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


def test_require_targets_says_why() -> None:
    empty = load_dataset([{"question": "q", "answer": " "}] * 3, byte_tokenizer())
    empty.require_targets()
    empty.tokenize(range(3))
    with pytest.raises(InputError, match=r"none of the 3 rows.*3 have an empty completion"):
        empty.require_targets()
    cut = load_dataset([{"question": "q" * 20, "answer": "a"}], byte_tokenizer(), max_length=9)
    cut.tokenize([0])
    with pytest.raises(InputError, match="1 are cut by --max_length 9"):
        cut.require_targets()
    some = load_dataset([{"question": "q", "answer": a} for a in ("", "a")], byte_tokenizer())
    some.tokenize(range(2))
    some.require_targets()


REAL = {
    "gsm8k/train.jsonl": ("question/answer", "question", "answer"),
    "dolly-5k/dolly_5k.jsonl": ("dolly", "instruction", "response"),
    "mbpp/mbpp.jsonl": ("text/code", "text", "code"),
    "tata-african/tata_yo_ha_ig_sw.jsonl": ("input/output", "input", "output"),
    "tinystories/tinystories_sft.jsonl": ("prompt/response", "prompt", "response"),
}


def real(
    shared: Path, name: str, model: str = "models/rwkv4-byte-661k", **settings: Any
) -> SFTDataset:
    tokenizer = AutoTokenizer.from_pretrained(shared / model)
    return load_dataset(str(shared / "data" / name), tokenizer, **settings)


@pytest.mark.parametrize("name", REAL)
def test_real_pairs_as_bytes(shared: Path, name: str) -> None:
    """The byte model's ids are UTF-8 bytes, so the expected sequence can be written down."""
    dataset = real(shared, name, eos_token="none")
    form, prompt, completion = REAL[name]
    assert dataset.info.format == form and dataset.info.max_length == 1024
    lines = (shared / "data" / name).read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert len(dataset) == len(rows)
    truncated = 0
    for i in range(0, len(rows), len(rows) // 40):
        extra = "\n" + rows[i]["context"] if rows[i].get("context") else ""
        head = f"{rows[i][prompt]}{extra}\n".encode()
        tail = rows[i][completion].encode()
        assert dataset[i].input_ids == list(head + tail)[:1024]
        assert dataset[i].labels == ([-100] * len(head) + list(tail))[:1024]
        truncated += len(head + tail) > 1024
    assert dataset.counts.truncated == truncated


@pytest.mark.parametrize("model", ["models/tinystories-260k", "tokenizers/gpt2"])
@pytest.mark.parametrize("name", REAL)
def test_real_pairs_end_in_the_answer(shared: Path, name: str, model: str) -> None:
    dataset = real(shared, name, model, max_length=8192)
    tokenizer = AutoTokenizer.from_pretrained(shared / model)
    _, prompt, completion = REAL[name]
    begin = [tokenizer.bos_token_id] if "tinystories" in model else []
    for i in range(0, len(dataset), len(dataset) // 20):
        row, example = dataset.raw(i), dataset[i]
        assert example.input_ids[: len(begin)] == begin
        targets = [label for label in example.labels if label != -100]
        assert targets[-1] == tokenizer.eos_token_id
        assert example.terminators == (len(example.labels) - 1,)
        if not row.get("context"):
            whole = tokenizer(f"{row[prompt]}\n{row[completion]}")["input_ids"]
            assert example.input_ids == [*whole, tokenizer.eos_token_id]
        assert tokenizer.decode(targets[:-1]).strip() == row[completion].strip()


def test_real_conversations(shared: Path) -> None:
    dataset = real(
        shared, "sharegpt/glaive_toolcall_en_demo.json", eos_token="none", max_length=9999
    )
    spoken = ("gpt", "function_call")
    for i in range(0, 300, 20):
        turns = [t["value"] for t in dataset.raw(i)["conversations"] if t["from"] in spoken]
        targets = bytes(label for label in dataset[i].labels if label != -100).decode()
        space = " " if len(turns) > 1 else ""
        assert targets == "".join(space + turn for turn in turns)
    messages = real(
        shared, "s1k-messages/s1k_gptoss20b_low.json", eos_token="none", max_length=99999
    )
    row, example = messages.raw(0)["messages"], messages[0]
    assert bytes(x for x in example.labels if x != -100).decode() == row[-1]["content"]


def test_real_sets_that_need_a_word(shared: Path) -> None:
    with pytest.raises(InputError, match="--prompt_field question --completion_field long_answer"):
        real(shared, "pubmedqa/pqal.jsonl", eos_token="none")
    for name in ("seed_tasks", "user_oriented_instructions"):
        with pytest.raises(InputError, match="one row per instance"):
            real(shared, f"self-instruct/{name}.jsonl", eos_token="none")
    with pytest.raises(InputError, match="splits test, train"):
        real(shared, "gsm8k", eos_token="none")
    with pytest.raises(InputError, match="no end-of-sequence token"):
        real(shared, "gsm8k/test.jsonl")
    fields = {"prompt_field": "contexts", "completion_field": "long_answer"}
    dataset = real(shared, "pubmedqa/pqal.jsonl", eos_token="none", max_length=9999, **fields)
    row = dataset.raw(0)
    whole = "\n".join(row["contexts"]) + "\n" + row["long_answer"]
    assert bytes(dataset[0].input_ids).decode() == whole
