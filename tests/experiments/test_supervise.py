"""A run in parts: whatever one of them does, the others' results are there, and its own so far."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from advisor.errors import InputError
from harness.experiments.gpu.supervise import Settings, supervise, table_of
from tests.helpers.paths import ROOT

HERE = "tests.helpers.gpu_parts:PARTS"


def test_no_part_loses_anothers_result(tmp_path: Path) -> None:
    output, lines = tmp_path / "new" / "gpu.json", list[str]()
    record = supervise(Settings(minutes=10, table=HERE), output, say=lines.append)
    assert json.loads(output.read_text()) == record
    parts = record["parts"]
    states = {name: part["state"] for name, part in parts.items()}
    assert states == {
        "first": "done", "fails": "failed", "second": "done", "hangs": "stopped", "dies": "died",
        "skips": "skipped", "last": "done",
    }  # fmt: skip
    assert parts["fails"]["found"] == {"early": 2} and parts["hangs"]["found"] == {"early": 3}
    assert parts["dies"]["found"] == {"early": 4}
    assert parts["fails"]["reason"] == "ValueError: broken in two lines"
    assert parts["skips"]["reason"] == "not here"
    assert [parts[name]["found"]["before"] for name in ("first", "second", "last")] == [1, 1, 1]
    processes = {parts[name]["found"]["process"] for name in ("first", "second", "last")}
    assert len(processes) == 3  # after what may have broken the device a new one
    assert len(lines) == 8


def test_without_time_nothing_is_begun(tmp_path: Path) -> None:
    settings = Settings(minutes=0, table=HERE, only=("first", "last"))
    record = supervise(settings, tmp_path / "gpu.json", say=lambda line: None)
    assert {part["state"] for part in record["parts"].values()} == {"skipped"}


def test_a_record_is_not_written_over(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    output.write_text("{}")
    with pytest.raises(InputError, match="is there already"):
        supervise(Settings(table=HERE), output, say=lambda line: None)
    with pytest.raises(InputError, match="--parts nothing: use first, fails"):
        supervise(Settings(table=HERE, only=("nothing",)), tmp_path / "o", say=lambda line: None)
    assert output.read_text() == "{}"


def test_the_order_is_that_of_need() -> None:
    names = " ".join(part.name for part in table_of(Settings()).parts)
    assert names == "machine rates exact speed profile kernel rivals tests step cells"


def test_a_rehearsal_of_the_head_needs_pytorch_alone(tmp_path: Path) -> None:
    """On a GPU machine without TRL, datasets and transformers the first parts still tell what they can."""
    output = tmp_path / "gpu.json"
    code = (
        "import sys, json; from pathlib import Path\n"
        "for name in ('transformers', 'trl', 'datasets', 'peft', 'accelerate', 'lm_eval'):\n"
        "    sys.modules[name] = None\n"
        "from harness.experiments.gpu.bench_of import Bench\n"
        "from harness.experiments.gpu.parts import PARTS\n"
        "from harness.experiments.gpu.supervise import Settings\n"
        "bench, found = Bench(Settings(device='cpu', small=True)), {}\n"
        "for part in PARTS.parts[:4]:\n"
        "    found[part.name] = part.run(bench, lambda more: None)\n"
        f"Path({str(output)!r}).write_text(json.dumps(found))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    found = json.loads(output.read_text())
    assert "versions" in found["machine"]
    assert found["rates"]["floor_flops_a_second"] > 0
    assert found["exact"] == {"kernel": False} and "peak_extra" in found["speed"]
