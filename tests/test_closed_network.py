"""No host is looked up for a local MODEL and DATASET, and nothing is reported home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = """
import os, sys
def watch(event, args):
    asked = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
    if asked or (event == "socket.connect" and isinstance(args[1], tuple)):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{event} {args[-1] if event == 'socket.connect' else args[0]}\\n")
        raise OSError("the network is closed")
sys.addaudithook(watch)
"""
"""Installed as `sitecustomize`: whatever Python code of the process, or of its children, does is seen."""
UNSET = (
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY",
    "DISABLE_TELEMETRY", "DO_NOT_TRACK", "RAY_USAGE_STATS_ENABLED", "CI",
)  # fmt: skip
"""What would keep the libraries silent by itself; TRL does not report where CI is set."""


def network_use(tmp_path: Path, *arguments: str, **environment: str) -> list[str]:
    """Run Python to its end, without leave to be offline; what it asked of the network, a line each."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "network.log"
    log.touch()
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env={**kept, "PYTHONPATH": paths, "NETWORK_LOG": str(log), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return log.read_text().splitlines()


TRAIN = (
    "train",
    "ladder:weak",
    "--objective",
    "dft",
    "--max_steps",
    "2",
    "--output_dir",
    "out",
    "--use_peft",
)
CONFIRM = (
    "confirm", "ladder:weak", "--objectives", "nll", "--learning_rates", "1e-3", "--seeds", "1",
    "--max_steps", "2", "--limit", "4", "--temperature", "0", "--tasks", "ladder_add",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", [TRAIN, CONFIRM], ids=["train", "confirm"])
def test_a_local_pair_needs_no_network(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert network_use(tmp_path, "-m", "advisor.cli", *command) == []


PING = "from huggingface_hub import utils; import {first}; utils.send_telemetry('test'); " + (
    "import time; time.sleep(0.5)"  # the report is sent by a thread of its own
)


@pytest.mark.parametrize("package", ["advisor", "harness"])
def test_a_library_that_was_imported_before_is_silenced_too(tmp_path: Path, package: str) -> None:
    assert network_use(tmp_path, "-c", PING.format(first=package)) == []


def test_the_watch_sees_a_report_and_a_choice_of_the_user_is_kept(tmp_path: Path) -> None:
    ping = PING.format(first="advisor")
    assert network_use(tmp_path, "-c", ping, HF_HUB_DISABLE_TELEMETRY="0") != []
