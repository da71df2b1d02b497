"""What is read of a model before it is loaded: its fingerprint, what its name says."""

import hashlib

import pytest

from advisor.errors import InputError
from advisor.model import checkpoint


def test_large_weights_are_fingerprinted_by_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "WHOLE_HASH", 10)
    monkeypatch.setattr(checkpoint, "SAMPLE", 4)
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"head-middle-tail")
    expected = hashlib.sha256(b"16" + b"head" + b"tail" + b"{}").hexdigest()[:16]
    found, notes = checkpoint.fingerprint(tmp_path)
    assert found == expected
    assert "both ends" in notes[0]


def test_a_folder_of_partial_checkpoints_names_them(tmp_path):
    for step in (20, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    with pytest.raises(InputError, match="it holds checkpoint-20, checkpoint-100, of a training"):
        checkpoint.check_config("m", tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "instruct"),
        ("google/gemma-3-1b-it", "instruct"),
        ("google/gemma-3-1b-pt", "base"),
        ("Qwen/Qwen3-4B-Thinking-2507", "instruct"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "instruct"),
        ("Qwen/Qwen3-8B-Base", "base"),
        ("distilbert/distilgpt2", "base"),
        ("Qwen/Qwen2.5-Math-7B", "base"),
        ("someone/white-kitten-7b", "unknown"),
    ],
)
def test_kind_of_hub_names(name, expected):
    assert checkpoint.kind(name, None)[0] == expected
