"""Shared fixtures: the real data beside the checkout, tiny models built on the spot."""

import os
import signal
import subprocess
import sys
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


def on_two_ranks(script: str, *arguments: str) -> None:
    """Run a script of this folder on two CPU ranks, to its end."""
    here = Path(__file__).parent
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parent)])
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(here / script), *arguments],
        env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def leave_without_threads(trainer: Any) -> None:
    """Leave the ranks; a process that ends with threads of gloo alive is sometimes aborted."""
    from harness.process_group import leave_process_group

    if sys.platform == "linux":  # elsewhere nothing tells the names of threads
        assert _alive("gloo"), "no thread of gloo, whatever its name is now: this cannot be checked"
    leave_process_group(trainer)
    deadline = time.monotonic() + 20
    while _alive("gloo"):  # a thread that was joined is listed a moment longer
        assert time.monotonic() < deadline, "threads of gloo outlive the process group"
        time.sleep(0.005)


def _alive(name: str) -> bool:
    """Whether a thread of this process has `name` in its own."""
    for path in Path("/proc/self/task").glob("*/comm"):
        try:
            if name in path.read_text():
                return True
        except OSError:  # it has ended meanwhile
            continue
    return False
