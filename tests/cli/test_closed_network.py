"""No host is looked up for a local MODEL and DATASET, and nothing is reported home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

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
    "DISABLE_TELEMETRY", "DO_NOT_TRACK", "RAY_USAGE_STATS_ENABLED",
    "HF_UPDATE_DOWNLOAD_COUNTS", "CI",
)  # fmt: skip
"""What would keep the libraries silent by itself; TRL does not report where CI is set."""


def network_use(tmp_path: Path, *arguments: str, **environment: str) -> list[str]:
    """Run Python to its end, without leave to be offline; what it asked of the network, a line each."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "network.log"
    log.touch()
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env={**kept, "PYTHONPATH": paths, "NETWORK_LOG": str(log), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return log.read_text().splitlines()


TRAIN = (
    "train", "ladder:weak", "rows.csv", "--objective", "dft", "--max_steps", "2", "--output_dir", "out",
    "--use_peft",
)  # fmt: skip
CONFIRM = (
    "confirm", "ladder:weak", "rows.csv", "--objectives", "nll", "--learning_rates", "1e-3", "--seeds", "1",
    "--max_steps", "2", "--limit", "4", "--temperature", "0", "--tasks", "own.yaml",
)  # fmt: skip
OWN_TASK = """
{task: own, dataset_path: json, dataset_kwargs: {data_files: {test: task.jsonl}}, test_split: test,
output_type: generate_until, doc_to_text: "{{q}}", doc_to_target: "{{a}}",
generation_kwargs: {until: ["#"], max_gen_toks: 8}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", [TRAIN, CONFIRM], ids=["train", "confirm"])
def test_a_local_pair_needs_no_network(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Protects work without a network: a process whose every look-up of a host is an error."""
    rows = [f"1+{n}=,{n + 1}#\n" for n in range(40)]
    (tmp_path / "rows.csv").write_text("prompt,completion\n" + "".join(rows))
    questions = [f'{{"q": "2+{n}=", "a": "{n + 2}"}}\n' for n in range(40)]
    (tmp_path / "task.jsonl").write_text("".join(questions))
    (tmp_path / "own.yaml").write_text(OWN_TASK)
    assert network_use(tmp_path, "-m", "advisor", *command) == []


PING = (
    "import datasets.load; from huggingface_hub import utils; import {first}; utils.send_telemetry('test'); "
    "datasets.load.increase_load_count('json'); "
    "import time; time.sleep(0.5)"  # the report is sent by a thread of its own
)


@pytest.mark.parametrize("package", ["advisor", "harness"])
def test_a_library_that_was_imported_before_is_silenced_too(tmp_path: Path, package: str) -> None:
    assert network_use(tmp_path, "-c", PING.format(first=package)) == []


def test_the_watch_sees_a_report_and_a_choice_of_the_user_is_kept(tmp_path: Path) -> None:
    ping = PING.format(first="advisor")
    for name, value in {"HF_HUB_DISABLE_TELEMETRY": "0", "HF_UPDATE_DOWNLOAD_COUNTS": "1"}.items():
        assert network_use(tmp_path, "-c", ping, **{name: value}) != []
        (tmp_path / "network.log").unlink()
