"""`python -m harness.experiments.staged STEP`: objectives that change as they train.

The steps `plan`, `run` and `trace` are of the calibration's cells, `real_plan` and `real` of a real model,
which `make real` fetches.
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiments.steps import run_step

if TYPE_CHECKING:
    from harness.experiments.calibration.run import Progress

RESULTS = Path("results/staged")
CELLS = Path("results/calibration")
MODELS = Path("outputs/calibration")
REAL = Path("outputs/smollm2")
CORES = 2
"""Of all processes that share the runs of a real model."""
logger = logging.getLogger("harness.experiments.staged")


def main() -> None:
    """Parses the command line and runs one step of the study."""
    run_step(
        _parser(),
        {
            "plan": _plan,
            "run": _run,
            "trace": _trace,
            "real_plan": _real_plan,
            "real": _real,
        },
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.staged", description=__doc__
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="of plan and ledger")
    parser.add_argument("--models", type=Path, default=MODELS, help="of `calibration models`")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("plan", help="write the lists of runs; commit them before the first run")
    run = steps.add_parser("run", help="do what is missing")
    run.add_argument("--shard", default="1/1", help="I/N: this process is the I-th of N")
    run.add_argument("--plan", default="plan.csv", help="file in --results")
    steps.add_parser("trace", help="p of form, skill and noise along some runs")
    steps.add_parser("real_plan", help="write real-plan.csv; commit it before the first run")
    real = steps.add_parser("real", help="do what is missing of a real model's runs")
    real.add_argument("--shard", default="1/1", help="I/N: this process is the I-th of N")
    real.add_argument("--plan", default="real-plan.csv", help="file in --results")
    real.add_argument("--model", type=Path, default=REAL, help="what `make real` wrote")
    return parser


def _plan(arguments: argparse.Namespace) -> None:
    from harness.experiments.calibration.grid import read_grid
    from harness.experiments.calibration.ledger import read
    from harness.experiments.staged.plan import first_plan, rivals, second_plan, write_plan

    measured, _ = read(CELLS)
    grid = [cell for cell in read_grid(CELLS / "grid.csv") if cell.name in measured]
    cells = [*read_grid(CELLS / "fresh.csv"), *grid]
    plans = {"plan": first_plan, "second": second_plan, "rivals": rivals}
    for name, make in plans.items():
        write_plan(make(cells), arguments.results / f"{name}.csv")


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from harness.experiments.calibration.__main__ import shard, tell
    from harness.experiments.calibration.grid import read_grid
    from harness.experiments.calibration.run import carry_out
    from harness.experiments.staged.plan import read_plan
    from harness.runtime.quiet import quiet

    torch.set_num_threads(1)  # two threads are slower than one below 2M parameters
    cells = [*read_grid(CELLS / "fresh.csv"), *read_grid(CELLS / "grid.csv")]
    with quiet():
        carry_out(
            read_plan(arguments.results / arguments.plan, cells),
            models=arguments.models,
            results=arguments.results,
            shard=shard(arguments.shard),
            deep=False,
            on_run=tell,
        )


def _trace(arguments: argparse.Namespace) -> None:
    import torch

    from harness.experiments.calibration.grid import read_grid
    from harness.experiments.staged.plan import traced
    from harness.experiments.staged.trace import read, trace, write
    from harness.runtime.quiet import quiet

    torch.set_num_threads(1)
    path = (
        arguments.results / "traces" / "traces.jsonl"
    )  # `ledger.read` takes all beside it for its own
    done = {(one.cell, one.objective) for one in read(path)}
    log = logging.getLogger("harness.experiments.staged")
    for cell, run in traced(read_grid(CELLS / "grid.csv")):
        if (cell.name, run.arm) not in done:
            with quiet():
                found = trace(cell, arguments.models, run)
            write([found], path)
            log.info("%s %s: %s", cell.name, run.arm, found.points[-1])


def _real_plan(arguments: argparse.Namespace) -> None:
    from harness.experiments.staged.plan import write_plan
    from harness.experiments.staged.real import real_runs

    write_plan(real_runs(), arguments.results / "real-plan.csv")


def _real(arguments: argparse.Namespace) -> None:
    import torch

    from harness.experiments.calibration.__main__ import shard
    from harness.experiments.calibration.run import do_missing
    from harness.experiments.staged.made_rows import CELLS
    from harness.experiments.staged.plan import read_plan
    from harness.experiments.staged.real import RealBench
    from harness.runtime.quiet import quiet

    first, number = shard(arguments.shard)
    torch.set_num_threads(max(1, CORES // number))
    part = "" if number == 1 else f"-{first}-of-{number}"
    planned = read_plan(arguments.results / arguments.plan, CELLS)
    with quiet():
        do_missing(
            planned[first - 1 :: number],
            lambda cell: RealBench(cell, arguments.model, deep=False),
            ledger=arguments.results / "real" / f"ledger{part}.jsonl",
            on_run=_tell,
        )


def _tell(progress: "Progress") -> None:
    """Log a run's scores, and what is left."""
    from harness.experiments.calibration.ledger import unpack

    run = progress.run
    scores = (f"{at} {100 * unpack(found).mean():.1f}" for at, found in run.answers.items())
    logger.info(
        "%s %s lr %s seed %d: %s (%.0f s); %d left, %.0f min",
        run.cell, run.objective, run.learning_rate, run.seed, ", ".join(scores), run.seconds,
        progress.left, progress.seconds_left / 60,
    )  # fmt: skip


if __name__ == "__main__":
    main()
