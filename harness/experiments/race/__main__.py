"""`python -m harness.experiments.race STEP`: runs with curves, on the calibration's models."""

import argparse
from pathlib import Path
from typing import Any

from harness.experiments.steps import run_step

RESULTS = Path("results/race")
CELLS = Path("results/calibration")
STAGED = Path("results/staged")
SIZES = Path("results/sizes")
MODELS = Path("outputs/calibration")


def main() -> None:
    """Parses the command line and runs one step of the study."""
    run_step(
        _parser(),
        {
            "plan": _plan,
            "run": _run,
            "fit": _fit,
            "sizes": _sizes,
            "rivals": _rivals,
            "documents": _documents,
        },
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.experiments.race", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="of plan and ledger")
    parser.add_argument("--models", type=Path, default=MODELS, help="of `calibration models`")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("plan", help="write cells and runs; commit them before the first run")
    run = steps.add_parser("run", help="do what is missing")
    run.add_argument("--shard", default="1/1", help="I/N: this process is the I-th of N")
    run.add_argument("--sizes", action="store_true", help="the cells of a third size instead")
    steps.add_parser(
        "fit", help="what is believed before a race, and what races come to on the cells"
    )
    steps.add_parser("sizes", help="what size does, from the cells of three sizes")
    steps.add_parser("documents", help="what more development documents would save")
    steps.add_parser(
        "rivals", help="what ASHA of syne-tune comes to on the cells; of the extra `bench`"
    )
    return parser


def _plan(arguments: argparse.Namespace) -> None:
    from harness.experiments.calibration.grid import read_grid, write_grid
    from harness.experiments.calibration.ledger import read
    from harness.experiments.race.curve_plan import curve_plan, more_cells
    from harness.experiments.race.larger import larger_cells, larger_plan
    from harness.experiments.staged.plan import write_plan

    grid = [*read_grid(CELLS / "fresh.csv"), *read_grid(CELLS / "grid.csv")]
    more = more_cells(grid)
    write_grid(more, arguments.results / "more.csv")
    staged, _ = read(STAGED)
    write_plan(curve_plan(grid, more, staged.keys()), arguments.results / "plan.csv")
    larger = larger_cells([*grid, *more])
    write_grid(larger, SIZES / "cells.csv")
    write_plan(larger_plan(larger), SIZES / "plan.csv")


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from harness.experiments.calibration.__main__ import shard, tell
    from harness.experiments.calibration.grid import read_grid
    from harness.experiments.calibration.run import carry_out
    from harness.experiments.staged.plan import read_plan
    from harness.runtime.quiet import quiet

    torch.set_num_threads(1)  # two threads are slower than one below 2M parameters
    results = SIZES if arguments.sizes else arguments.results
    files = (
        CELLS / "fresh.csv",
        CELLS / "grid.csv",
        arguments.results / "more.csv",
        SIZES / "cells.csv",
    )
    cells = [cell for file in files for cell in read_grid(file)]
    with quiet():
        carry_out(
            read_plan(results / "plan.csv", cells),
            models=arguments.models,
            results=results,
            shard=shard(arguments.shard),
            deep=False,
            curves=True,
            on_run=tell,
        )


def _fit(arguments: argparse.Namespace) -> None:
    from advisor.advice.learnt_belief import SHIPPED, write
    from harness.experiments.race.replay_race import replay
    from harness.experiments.race.ship_belief import learnt_beliefs

    studies = arguments.results.parent
    write(learnt_beliefs(studies), SHIPPED)
    _write(replay(studies), arguments.results / "replay.json")


def _sizes(arguments: argparse.Namespace) -> None:
    from harness.experiments.race.sizes import sizes

    _write(sizes(arguments.results.parent), SIZES / "sizes.json")


def _rivals(arguments: argparse.Namespace) -> None:
    from harness.experiments.race.rival import rivals

    _write(rivals(arguments.results.parent), arguments.results / "rivals.json")


def _documents(arguments: argparse.Namespace) -> None:
    from harness.experiments.race.more_documents import more_documents

    found = {"rows": more_documents(arguments.results.parent)}
    _write(found, arguments.results / "documents.json")


def _write(found: dict[str, Any], path: Path) -> None:
    import json

    from advisor.files import publish

    text = json.dumps(found, indent=1) + "\n"
    publish(path, text.encode(), subject=str(path), remedy="give another --results")


if __name__ == "__main__":
    main()
