"""`python -m harness.experiments.added STEP`: newer objectives on the calibration's smallest cells."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiments.steps import plan_and_run, run_step

if TYPE_CHECKING:
    from harness.experiments.calibration.grid import Cell

RESULTS = Path("results/added")
CELLS = Path("results/calibration")
WEIGHTS, TARGETS = "plan.csv", "targets.csv"
"""The plans: objectives on the demonstrations, and arms with targets of their own."""


def main() -> None:
    """Parses the command line and runs one step of the study."""
    run_step(
        plan_and_run("harness.experiments.added", __doc__, RESULTS), {"plan": _plan, "run": _run}
    )


def _plan(arguments: argparse.Namespace) -> None:
    from harness.experiments.added.added_plan import added_cells, added_plan, targets_plan
    from harness.experiments.staged.plan import write_plan

    cells = added_cells(_cells())
    write_plan(added_plan(cells), arguments.results / WEIGHTS)
    write_plan(targets_plan(cells), arguments.results / TARGETS)


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from harness.experiments.added.own_targets import OwnTargetsBench
    from harness.experiments.calibration.__main__ import tell
    from harness.experiments.calibration.models import checkpoint
    from harness.experiments.calibration.run import do_missing
    from harness.experiments.staged.plan import read_plan
    from harness.runtime.quiet import quiet

    torch.set_num_threads(1)  # two threads are slower than one below 2M parameters
    cells = _cells()
    runs = [
        run for name in (WEIGHTS, TARGETS) for run in read_plan(arguments.results / name, cells)
    ]
    places = {cell: place for place, cell in enumerate(dict.fromkeys(cell for cell, _ in runs))}
    with quiet():
        do_missing(
            sorted(runs, key=lambda run: places[run[0]]),  # all of a cell together
            lambda cell: OwnTargetsBench(cell, checkpoint(arguments.models, cell), deep=False),
            ledger=arguments.results / "ledger.jsonl",
            on_run=tell,
        )


def _cells() -> "list[Cell]":
    """Of the calibration, fresh ones first."""
    from harness.experiments.calibration.grid import read_grid

    return [cell for name in ("fresh", "grid") for cell in read_grid(CELLS / f"{name}.csv")]


if __name__ == "__main__":
    main()
