"""Real datasets with real tokenizers, compared with what stands in their files.

Protects what the made-up rows of the other tests cannot hold: real text, whole files of it.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError

pytestmark = pytest.mark.slow

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


SPOKEN = ("gpt", "function_call")


def spoken(turn: dict[str, str]) -> str:
    """What a turn says: a call as the plain form writes it, sorted as tojson sorts."""
    if turn["from"] != "function_call":
        return turn["value"]
    calls = [{"type": "function", "function": json.loads(turn["value"])}]
    return json.dumps(calls)


def test_real_conversations(shared: Path) -> None:
    dataset = real(
        shared, "sharegpt/glaive_toolcall_en_demo.json", eos_token="none", max_length=9999
    )
    for i in range(0, 300, 20):
        turns = [spoken(t) for t in dataset.raw(i)["conversations"] if t["from"] in SPOKEN]
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
