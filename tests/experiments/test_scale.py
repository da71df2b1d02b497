"""What a command takes is what the system says of its process alone."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from advisor.data.sources import load_rows
from harness.experiments.scale import write_file
from tests.helpers.paths import ROOT

MEMORY = "held = bytearray({} * 2**20)\nfor i in range(0, len(held), 4096): held[i] = 1"
ALONE = """
import json, sys
from pathlib import Path
from harness.experiments.scale import run_measured
command = [sys.executable, "-c", sys.argv[1]]
print(json.dumps(run_measured(command, most_gb=1, errors=Path(sys.argv[2]))))
"""


def test_the_peak_is_the_childs_and_lack_of_memory_is_told(tmp_path: Path) -> None:
    def run(mib: int) -> dict[str, float]:
        # From a small process: what a process held when it forked counts as its child's.
        words = [sys.executable, "-c", ALONE, MEMORY.format(mib), str(tmp_path / "errors")]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
        found: dict[str, float] = json.loads(done.stdout)
        return found

    large, beyond = run(800), run(1100)
    assert 800 < large["peak_mib"] < 850 and large["exit_code"] == 0
    assert 0 < large["cpu_seconds"] <= 2 * large["seconds"]
    assert beyond["exit_code"] == 1 and "MemoryError" in (tmp_path / "errors").read_text()


def test_both_kinds_hold_the_same_rows(tmp_path: Path) -> None:
    paths = [tmp_path / f"rows.{kind}" for kind in ("jsonl", "parquet")]
    for path in paths:
        write_file(path, 2000)
    lines, parquet = (load_rows(path, None, None).rows for path in paths)
    assert list(lines) == list(parquet) and len(lines) == 2000
    assert pq.read_metadata(paths[1]).num_row_groups == 1
