"""`python -m harness.experiments.kills`: kill studies and trainings at named places, and count what is lost.

Goes on where its ledger ends. Forks, so that torch is imported once; the exit code is 1 where anything was
lost or repeated.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from pathlib import Path

LEDGER = Path("results/kills/ledger.jsonl")
STUDIES = 3
"""At most, that are killed at one place."""


def main() -> int:
    """Kill what is left to be killed; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.kills", description=__doc__
    )
    parser.add_argument("--tries", type=int, default=7, help="kills at each place")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing after so many")
    parser.add_argument("--place", nargs="+", metavar="WORDS", help="only places with these words")
    parser.add_argument("--ledger", type=Path, default=LEDGER)
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    until = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        return _kill(arguments, Path(folder), until)


def _kill(arguments: argparse.Namespace, folder: Path, until: float) -> int:
    """All that is missing in the ledger."""
    import lm_eval.evaluator
    import lm_eval.models.huggingface  # noqa: F401

    from harness.experiments.calibration.ledger import append_line
    from harness.experiments.kills.kill import KILLS, killed, whole
    from harness.experiments.kills.ledger import read
    from harness.experiments.kills.places import PLACES, PLAN
    from harness.experiments.kills.works import measure_once, works

    gc.freeze()  # so that a child's collector leaves alone what it shares with this process
    known, right, bad = works(folder), dict[str, dict[str, object]](), False
    measure_once(known[PLAN])
    for place in PLACES:
        if arguments.place and not any(words in place.name for words in arguments.place):
            continue
        lines = [line for line in read(arguments.ledger) if line.place == place.name]
        kills, number = sum(line.kills for line in lines), len(lines)
        while kills < arguments.tries and number < STUDIES and time.monotonic() < until:
            if place.work not in right:
                right[place.work] = whole(known[place.work], folder / place.work)
            own = folder / f"{place.work}-{number}-{time.monotonic_ns()}"
            came = killed(
                place,
                number,
                known[place.work],
                right[place.work],
                own,
                min(KILLS, arguments.tries - kills),
            )
            append_line(arguments.ledger, came.line())
            print(came.line(), flush=True)
            kills, number = kills + came.kills, number + 1
            bad |= bool(came.lost or came.repeated)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
