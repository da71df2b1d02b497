"""A study on a Ray cluster of three nodes, one of which is killed, held against the same study run here.

    python -m harness.experiments.nodes --folder FOLDER --output_path results/nodes.json

Every node is a raylet of its own with one core, all on this machine. The study is made here, then on three
fresh clusters: undisturbed, with a node killed (SIGKILL to all of its processes) when half of the records are
written, and with one of the processes that execute runs killed then. Both kills wait for a run to be
executed there. What the record of each run says is compared with that of the study made here, but for times.
Needs Linux and the extra ray.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.experiments.same_twice import without
from harness.runtime.versions import versions

RUNS = 25
"""The untouched model, and 24 that are executed on the cluster."""
STUDY = (
    "ladder:strong", "--objectives", "nll", "neg_p", "threshold", "cadft",
    "--learning_rates", "1e-3", "3e-4", "--seeds", "4", "--full", "--temperature", "0",
    "--max_steps", "8", "--limit", "12", "--json",
)  # fmt: skip
NODES = 3
HERE, ANSWER = "here", "answer.json"
"""Folder of the study made here, and its answer in it."""
EXECUTES = b"ray::execute_on_a_node"
"""The title of a process that executes a run."""
TIMES = ("seconds", "peak_memory_bytes", "at", "commit", "dirty")
"""What two records of one run may differ in: `at` is when a study was planned, the last two its checkout."""

Kill = Callable[[Any], bool]
"""Kills something of Ray's cluster that executes a run; False where nothing does just now."""


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def executing(node: Any) -> list[int]:
    """The processes of a node that execute a run just now."""
    [raylet] = node.all_processes["raylet"]
    return [pid for pid in children(raylet.process.pid) if _title(pid).startswith(EXECUTES)]


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def kill_a_node(made: Any) -> bool:
    """Kill all processes of a node that executes a run, and is not the one that the study is started on."""
    for node in made.worker_nodes:
        if executing(node):
            made.remove_node(node, allow_graceful=False)
            return True
    return False


def kill_a_process(made: Any) -> bool:
    """Kill a process that executes a run, wherever it is."""
    for node in (*made.worker_nodes, made.head_node):
        for pid in executing(node):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


CASES: dict[str, Kill | None] = {
    "nothing": None,
    "a node": kill_a_node,
    "a process": kill_a_process,
}
"""What is killed, by name."""


@contextmanager
def cluster() -> Iterator[Any]:
    """Ray's cluster of `NODES` raylets with a core each, in a folder of its own: no other Ray finds it."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        os.environ |= {
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
        }
        from ray.cluster_utils import Cluster

        made: Any = Cluster()
        try:
            for _ in range(NODES):
                made.add_node(num_cpus=1, object_store_memory=100 * 2**20)
            yield made
        finally:
            made.shutdown()


def records(folder: Path) -> dict[str, Any]:
    """Name to content of the finished runs' records."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((folder / "runs").glob("*.json"))
    }


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the records that are not in both, or say something else."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if without(one.get(name), TIMES) != without(other.get(name), TIMES)
    )


def carried_out(
    folder: Path, words: Sequence[str] = (), watch: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """What a study came to: its exit code, records and answer; `watch` is called along the way."""
    command = [sys.executable, "-m", "advisor", "confirm", *STUDY, *words]
    log, out = (folder.parent / f"{folder.name}.{end}" for end in ("log", "out"))
    with log.open("wb") as errors, out.open("wb") as answer:
        process = subprocess.Popen(
            [*command, "--results", str(folder)], stdout=answer, stderr=errors,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        while process.poll() is None:
            watch()
            time.sleep(0.1)
    return {
        "exit_code": process.returncode,
        "runs": len(records(folder)),
        "failed": len(list((folder / "failed").glob("*.json"))),
        "answer": out.read_text(encoding="utf-8"),
    }


class Killer:
    """Kills once, when half of the records are written and a run is executed there."""

    def __init__(self, folder: Path, made: Any, kill: Kill | None) -> None:
        self.folder, self.made, self.kill = folder, made, kill
        self.at: int | None = None
        """How many records there were."""

    def watch(self) -> None:
        """Kill, if it is time."""
        if self.kill is None or self.at is not None:
            return
        written = len(list((self.folder / "runs").glob("*.json")))
        if written >= RUNS // 2 and self.kill(self.made):
            self.at = written


def on_a_cluster(folder: Path, kill: Kill | None) -> dict[str, Any]:
    """The study on a fresh cluster, and how many records there were when something was killed."""
    with cluster() as made:
        killer = Killer(folder, made, kill)
        words = ["--executor", "ray", "--address", made.address]
        return {**carried_out(folder, words, killer.watch), "killed_at": killer.at}


def compared(folder: Path, name: str) -> dict[str, Any]:
    """The study on a cluster, and what its records say otherwise than those of the study made here."""
    place, own = folder / name.replace(" ", "-"), folder / HERE
    found = on_a_cluster(place, CASES[name])
    differ = differing(records(own), records(place))
    same = found.pop("answer") == (own / ANSWER).read_text(encoding="utf-8")
    return {"killed": name, **found, "differ": differ, "same_answer": same}


def made_here(folder: Path) -> dict[str, Any]:
    """The study made here, with its answer beside its records."""
    found = carried_out(folder / HERE)
    (folder / HERE / ANSWER).write_text(found.pop("answer"), encoding="utf-8")
    return found


def right(line: Mapping[str, Any]) -> bool:
    """Whether every run has its record, none says anything else, and what was to be killed was."""
    whole = line["runs"] == RUNS and not line["failed"]
    if line["killed"] is None:
        return whole
    killed = CASES[line["killed"]] is None or line["killed_at"] is not None
    return whole and killed and not line["differ"] and bool(line["same_answer"])


def main(words: Sequence[str] | None = None) -> int:
    """Make the studies that are not in the record yet, and compare them; 1 where one is not right."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.nodes", description=__doc__
    )
    parser.add_argument("--folder", type=Path, required=True, help="of the studies")
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--output_path", type=Path, required=True, help="the record")
    arguments = parser.parse_args(words)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    if arguments.output_path.exists():
        lines = json.loads(arguments.output_path.read_text(encoding="utf-8"))["cases"]
    for name in (None, *arguments.cases):
        if name in [line["killed"] for line in lines]:
            continue
        found = {"killed": None, **made_here(arguments.folder)} if name is None else None
        lines.append(found or compared(arguments.folder, name))
        sys.stdout.write(json.dumps(lines[-1]) + "\n")
        sys.stdout.flush()
        whole = {"study": list(STUDY), "nodes": NODES, "versions": versions("ray"), "cases": lines}
        text = json.dumps(whole, indent=1)
        arguments.output_path.write_text(f"{text}\n", encoding="utf-8")
    return 0 if all(map(right, lines)) else 1


if __name__ == "__main__":
    sys.exit(main())
