"""Seconds and peak memory of `advisor recommend` against the number of rows of a file.

    python -m harness.experiments.scale MODEL --rows 10000 1000000 --kinds jsonl parquet \
        --output_path results/bench/NAME.json

Rows of about 150 bytes are written into a temporary folder, one file at a time, and `advisor recommend` is
run on each in a process of its own, of which the system says the peak of the resident memory and the time of
the processor. Parquet is written in row groups of 2**20 rows, pyarrow's own choice and the hardest to read in
pieces.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.runtime.versions import versions

GROUP = 2**20
"""Rows of a row group."""
WORDS = (
    "the",
    "a",
    "cat",
    "dog",
    "bird",
    "sees",
    "finds",
    "likes",
    "red",
    "small",
    "old",
    "house",
    "tree",
    "and",
)
KINDS = ("jsonl", "parquet")


def made_rows(number: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Rows of a prompt and a completion, made-up words."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(1009)]
    for i in range(number):
        yield {"prompt": f"{i}: {texts[i % 997]}", "completion": texts[i % 1009]}


def write_file(path: Path, number: int) -> None:
    """A file of so many rows; the ending says of which kind."""
    rows = made_rows(number)
    if path.suffix == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            encode = json.JSONEncoder().encode
            file.writelines(encode(row) + "\n" for row in rows)
        return
    with pq.ParquetWriter(
        path, pa.schema(dict.fromkeys(("prompt", "completion"), pa.string()))
    ) as file:
        for first in range(0, number, GROUP):
            part = [next(rows) for _ in range(min(GROUP, number - first))]
            file.write_table(pa.Table.from_pylist(part), row_group_size=GROUP)


def run_measured(command: list[str], *, most_gb: float, errors: Path) -> dict[str, Any]:
    """Exit code, seconds on the clock and of the processor, and peak of resident memory in MiB of a command.

    The peak is at least this process's own memory, of which the child begins as a copy.

    Args:
        command: its output is thrown away.
        most_gb: of memory of its own, after which it fails.
        errors: file for what it writes to stderr.
    """
    most = int(most_gb * 2**30)
    start = time.monotonic()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        with errors.open("wb") as file, Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(file.fileno(), 2)
            os.execvp(command[0], command)
    _, status, used = os.wait4(child, 0)
    return {
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
        "exit_code": os.waitstatus_to_exitcode(status),
    }


def measured(model: str, kind: str, number: int, folder: Path, most_gb: float) -> dict[str, Any]:
    """What reading one file took; its `error` is the last line of stderr where the command failed."""
    path, errors = folder / f"rows.{kind}", folder / "errors"
    # In another process: what a child reports as its peak includes its parent's memory when it was begun.
    writer = multiprocessing.get_context("spawn").Process(target=write_file, args=(path, number))
    writer.start()
    writer.join()
    command = [sys.executable, "-m", "advisor", "recommend", model, str(path), "--temperature", "1"]
    found = {"kind": kind, "rows": number, "bytes": path.stat().st_size}
    found |= run_measured(command, most_gb=most_gb, errors=errors)
    lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return {**found, "error": lines[-1][:200]} if found["exit_code"] and lines else found


def main(words: Sequence[str] | None = None) -> None:
    """Measure every kind and number of rows, smallest first; a JSON line each, and all of them in a file."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.scale", description=__doc__
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6, 10**7])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument(
        "--most_gb", type=float, default=12, help="memory at which a command is ended"
    )
    parser.add_argument("--output_path", type=Path)
    arguments = parser.parse_args(words)
    cases = []
    for kind in arguments.kinds:
        for number in arguments.rows:
            with tempfile.TemporaryDirectory() as folder:
                cases.append(
                    measured(arguments.model, kind, number, Path(folder), arguments.most_gb)
                )
            sys.stdout.write(json.dumps(cases[-1]) + "\n")
            sys.stdout.flush()
    if arguments.output_path:
        found = {
            "model": Path(arguments.model).name,
            "versions": versions("pyarrow"),
            "cases": cases,
        }
        arguments.output_path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
