"""Does what is missing of the plans, then second seeds where arms are close; started again it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from advisor.errors import InputError
from harness.experiments.calibration.ledger import read
from harness.experiments.calibration.run import Progress, Wanted, do_missing
from harness.experiments.real.cells import RealCell, bench_of
from harness.experiments.real.real_plan import CELLS, NOTES, second_seeds
from harness.experiments.staged.plan import read_plan


class TimeIsUp(Exception):
    """No further run is to begin."""


def carry_out(
    results: Path,
    *,
    model: Path,
    device: str,
    texts: Sequence[dict[str, str]],
    shard: tuple[int, int] = (1, 1),
    minutes: float | None = None,
    on_run: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Do this process's share of the runs, in order; shares are whole cells.

    Args:
        results: folder of plan and ledger.
        model: folder of the model.
        device: as of `load_model`.
        texts: passages of general text; none: its NLL is not taken.
        shard: (i, n): this process is the i-th of n, from 1.
        minutes: no run begins after so many; None: all are made.
        on_run: told after every run.

    Raises:
        InputError: no plan, no model, or a ledger of another model, other problems or other text.
    """
    if not (model / "config.json").exists():
        raise InputError(
            f"{model}: no model: fetch it with `make real`, or name its folder: --model"
        )
    planned, higher, longer = (
        read_plan(results / name, CELLS, NOTES) for name in ("plan.csv", "higher.csv", "longer.csv")
    )
    cells = list(dict.fromkeys(cell for cell, _ in planned))
    mine = set(cells[shard[0] - 1 :: shard[1]])
    ours = [(cell, run) for cell, run in planned if cell in mine]
    name = "ledger" if shard[1] == 1 else f"ledger-{shard[0]}-of-{shard[1]}"
    until = None if minutes is None else time.monotonic() + 60 * minutes

    def told(progress: Progress) -> None:
        on_run(progress)
        if until is not None and time.monotonic() > until:
            raise TimeIsUp

    stages: Sequence[Callable[[], list[tuple[RealCell, Wanted]]]] = (
        lambda: ours,
        lambda: [(cell, run) for cell, run in (*higher, *longer) if cell in mine],
        lambda: second_seeds(ours, read(results)[1]),  # hang on what the first have scored
    )
    try:
        for due in stages:
            do_missing(
                due(),
                lambda cell: bench_of(cell, model, device, texts),
                ledger=results / f"{name}.jsonl",
                on_run=told,
            )
    except TimeIsUp:
        return
