"""Base or instruct: by words, families, the card, and where the model stops."""

import contextlib
import json
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants, hf_api

from advisor.model.kind import Chat, chat_of, kind
from advisor.model.load import load_model
from tests.helpers.tiny import tiny_model, tiny_tokenizer

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
LLAMA_2 = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
MARKS = ("<|endoftext|>", "<|im_end|>", "<|im_start|>")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meta-llama/Llama-3.1-8B", "base"),
        ("meta-llama/Meta-Llama-3-70B", "base"),
        ("meta-llama/Llama-2-7b-hf", "base"),
        ("meta-llama/Llama-2-7b-chat-hf", "instruct"),
        ("Qwen/Qwen2.5-7B", "base"),
        ("Qwen/Qwen2.5-Math-1.5B", "base"),
        ("Qwen/Qwen2.5-7B-Instruct", "instruct"),
        ("Qwen/Qwen3-8B", "instruct"),  # Qwen3 calls its base models so
        ("Qwen/Qwen3-8B-Base", "base"),
        ("Qwen/QwQ-32B", "instruct"),
        ("Qwen/QwQ-32B-Preview", "instruct"),
        ("Qwen/Qwen3-30B-A3B", "instruct"),
        ("mistralai/Mistral-7B-v0.1", "base"),
        ("mistralai/Mistral-7B-Instruct-v0.1", "instruct"),
        ("allenai/OLMo-2-1124-7B", "base"),
        ("allenai/OLMo-2-1124-7B-SFT", "instruct"),
        ("google/gemma-2-9b", "base"),
        ("google/gemma-2-9b-it", "instruct"),
        ("HuggingFaceTB/SmolLM2-135M", "base"),
        ("EleutherAI/pythia-1.4b-deduped", "base"),
        ("someone/llama-3.1-8b-poems", "unknown"),
        ("someone/my-Qwen2.5-7B", "unknown"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert kind(name, None)[0] == expected


def folder_of(tmp_path: Path, card: str = "", **config: Any) -> Path:
    folder = tmp_path / "run-7"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if card:
        (folder / "README.md").write_text(f"---\n{card}\n---\n# A model\n")
    return folder


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("tags: [chat]", "instruct"),
        ("tags:\n- trl\n- sft\nbase_model: Qwen/Qwen2.5-7B", "instruct"),
        ("base_model: meta-llama/Llama-3.1-8B\nbase_model_relation: quantized", "base"),
        ("base_model: [Qwen/Qwen2.5-7B-Instruct]", "instruct"),
        ("base_model: Qwen/Qwen2.5-7B", "unknown"),  # trained further, on what is not said
        ("license: mit", "unknown"),
        ("tags: [chat", "unknown"),  # broken YAML decides nothing
    ],
)
def test_cards(tmp_path: Path, card: str, expected: str) -> None:
    folder = folder_of(tmp_path, card)
    assert kind(str(folder), folder)[0] == expected


@pytest.mark.parametrize(
    ("template", "stops", "expected"),
    [
        (CHATML, ("<|im_end|>",), "instruct"),
        (CHATML, ("<|endoftext|>", "<|im_end|>"), "instruct"),
        (CHATML, ("<|endoftext|>",), "base"),  # as Qwen2.5's base models are published
        (LLAMA_2, ("</s>",), "instruct"),
        ("{{ messages }}", ("<|endoftext|>",), "unknown"),
        ("", ("<|endoftext|>",), "unknown"),  # old instruct models have no template either
    ],
)
def test_where_the_model_stops(
    tmp_path: Path, template: str, stops: tuple[str, ...], expected: str
) -> None:
    folder = folder_of(tmp_path)
    chat = Chat(template=template, stops=stops, tokens=MARKS)
    assert kind(str(folder), folder, chat)[0] == expected


def test_the_recorded_name_counts_unless_the_folder_was_trained_here(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, _name_or_path="/models/Llama-3.1-8B")
    assert kind(str(folder), folder)[0] == "base"
    (folder / "trainer_state.json").write_text("{}")
    assert kind(str(folder), folder)[0] == "unknown"


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a card that is not in the cache; a download would be tried again, with pauses."""
    asked = list[int]()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    asked.append(1)
                    connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        api: Any = hf_api.api
        monkeypatch.setattr(api, "endpoint", address)
        assert kind("someone/not-in-the-cache", None)[0] == "unknown"
        server.shutdown(socket.SHUT_RDWR)
    assert len(asked) == 1


def test_stops_are_those_of_the_tokenizer_and_of_the_generation_config() -> None:
    tokenizer = tiny_tokenizer(pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = {"default": "{{ messages }}", "tool_use": "<eos>"}
    chat = chat_of(tokenizer, SimpleNamespace(eos_token_id=[2, 3]))
    assert chat.stops == ("<eos>", "a") and chat.template == "{{ messages }}"
    assert chat_of(tokenizer, None).stops == ("<eos>",)


def test_a_loaded_model_has_its_kind(tmp_path: Path) -> None:
    folder = tmp_path / "run-8"
    tiny_model().save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<eos>{% endfor %}"
    tokenizer.save_pretrained(folder)
    loaded = load_model(folder)
    assert loaded.kind == "instruct"
    assert any("chat template ends a turn" in note for note in loaded.notes)
