"""What decides a model's answers beside its weights has a mark that changes with it and with nothing else."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import GenerationConfig

from advisor.model.answering import generation_mark, tokenizer_mark
from advisor.model.load import load_tokenizer
from harness.ladder import resolve
from tests.helpers.byte_tokens import byte_tokenizer


def test_a_tokenizer_has_the_same_mark_whatever_it_was_called_with(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(resolve("weak")[0]))
    mark = tokenizer_mark(tokenizer)
    tokenizer(["1+2", "1"], padding=True, truncation=True, max_length=2)
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_mark(tokenizer) == tokenizer_mark(load_tokenizer(str(tmp_path))) == mark
    assert tokenizer_mark(byte_tokenizer()) != mark


def test_two_tokens_exchanged_make_another_tokenizer(tmp_path: Path) -> None:
    source = resolve("weak")[0]
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    words = content["model"]["vocab"]
    words["1"], words["2"] = words["2"], words["1"]
    file.write_text(json.dumps(content))
    changed = tokenizer_mark(load_tokenizer(str(tmp_path)))
    assert changed != tokenizer_mark(load_tokenizer(str(source)))


@pytest.mark.parametrize(
    ("said", "nothing"),
    [
        ({}, True),
        ({"do_sample": True, "temperature": 0.7, "pad_token_id": 0, "max_length": 40}, True),
        ({"top_k": 1}, False),
        ({"do_sample": True, "top_p": 0.5}, False),
        ({"repetition_penalty": 1.3}, False),
        ({"eos_token_id": 3}, False),
    ],
)
def test_what_a_generation_config_does_to_answers_is_in_its_mark(
    said: dict[str, float], nothing: bool
) -> None:
    assert (generation_mark(GenerationConfig(**said)) is None) == nothing
    assert generation_mark(None) is None
