"""Shared fixtures: the real data beside the checkout, tiny models built on the spot."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

SHARED = Path(os.environ.get("ADVISOR_SHARED", Path(__file__).resolve().parents[2] / "shared"))
WORDS = ["<pad>", "<bos>", "<eos>", *"abcdefghijklm"]
"""Vocabulary of the tiny models: sixteen words, one letter each."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data; tests that need it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data at {SHARED} (set ADVISOR_SHARED)")
    return SHARED


def tiny_tokenizer(**special: str) -> Any:
    """A word-level tokenizer over WORDS; by default with <pad>, <bos> and <eos>."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = special or {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def tiny_model(**changes: Any) -> Any:
    """A random two-layer Llama over WORDS, in eval mode."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    settings = {
        "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "intermediate_size": 16, "initializer_range": 1.0,
        "max_position_embeddings": 64,
    }  # fmt: skip
    return AutoModelForCausalLM.from_config(LlamaConfig(**{**settings, **changes})).eval()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model with its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-base"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file into the test's folder and returns its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def kill_once(process: "subprocess.Popen[Any]", there: Callable[[], object]) -> None:
    """SIGKILL a process as soon as something is there; it must not have ended before."""
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
