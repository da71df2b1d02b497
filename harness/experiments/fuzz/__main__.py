"""`python -m harness.experiments.fuzz --target NAME --inputs N --seed S`: crashes of a reader, by their kind.

A line of JSON for each target, which --ledger FILE adds to a file; what stands there is not done again. With
--keep the first files of each kind of crash are written into a folder. The exit code is 1 where there was a
crash.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.experiments.fuzz.fuzz import Found, fuzz
from harness.experiments.fuzz.targets import TARGETS


def main() -> int:
    """Fuzz the targets; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness.experiments.fuzz", description=__doc__)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--inputs", type=int, default=1000, help="broken files for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, help="folder for the first files of each kind of crash"
    )
    parser.add_argument("--ledger", type=Path, help="file of JSON lines")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    crashed = False
    done = {(line["target"], line["seed"]) for line in read_ledger(arguments.ledger)}
    for target in arguments.target:
        if (target, arguments.seed) in done:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = fuzz(target, arguments.inputs, arguments.seed, Path(folder))
        told = {"target": target, "seed": arguments.seed, "inputs": found.inputs, "read": found.read,
                "refused": found.refused, "crashes": dict(found.crashes.most_common()),
                "seconds": round(time.monotonic() - start)}  # fmt: skip
        print(json.dumps(told), flush=True)
        if arguments.ledger:
            with arguments.ledger.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
        if arguments.keep:
            _keep(found, arguments.keep / target)
        crashed |= bool(found.crashes)
    return int(crashed)


def read_ledger(path: Path | None) -> list[dict[str, Any]]:
    """The lines of a ledger; none where there is no file."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _keep(found: Found, folder: Path) -> None:
    """The first files of each kind of crash, in numbered folders with the kind beside them."""
    for number, (kind, files) in enumerate(found.examples.items()):
        own = folder / f"{number:03}"
        for name, content in files.items():
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_bytes(content)
        (own / "kind.txt").write_text(kind + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
