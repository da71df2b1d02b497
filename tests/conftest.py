"""Shared fixtures: the real data beside the checkout, tiny models built on the spot."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.paths import SHARED
from tests.helpers.tiny import tiny_model, tiny_tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if not Path("/proc/driver/nvidia").exists():  # read when Triton is imported, which torch may do
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_finish() -> None:
    """Spare the collector what was imported: a training asks for a full collection, most of its time here.

    What a test makes is collected as ever.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data; tests that need it skip where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data at {SHARED} (set ADVISOR_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model with its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny-base"
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def gpu_device() -> str:
    """The device of tests marked `gpu`: with ADVISOR_REHEARSE=1 the CPU, where they are tried out."""
    import torch

    if os.environ.get("ADVISOR_REHEARSE"):
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device here (ADVISOR_REHEARSE=1 runs on the CPU)")
    return "cuda"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file into the test's folder and returns its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file
