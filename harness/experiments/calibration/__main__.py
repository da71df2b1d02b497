"""`python -m harness.experiments.calibration grid|models|run|fit|fresh`: from cells to a fit."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.advice.calibration import SHIPPED
from advisor.errors import InputError
from harness.experiments.steps import run_step

if TYPE_CHECKING:
    from harness.experiments.calibration.run import Progress

RESULTS = Path("results/calibration")
MODELS = Path("outputs/calibration")


def main() -> None:
    """Parses the command line and runs one step of the study."""
    run_step(
        _parser(), {"grid": _grid, "models": _models, "run": _run, "fit": _fit, "fresh": _fresh}
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.calibration", description=__doc__
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="of grid and ledger")
    parser.add_argument("--models", type=Path, default=MODELS, help="of the pretrained models")
    parser.add_argument("--output_path", type=Path, default=SHIPPED, help="of the calibration")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("grid", help="write grid.csv and fresh.csv; commit them before the first run")
    models = steps.add_parser("models", help="pretrain (m128: 14 minutes each on a quiet core)")
    models.add_argument("--family", action="append", help="e.g. m128-0; default: all of the grid")
    models.add_argument("--fresh", action="store_true", help="those of the fresh cells")
    run = steps.add_parser("run", help="do what is missing")
    run.add_argument("--shard", default="1/1", help="I/N: this process is the I-th of N")
    run.add_argument("--seeds", type=int, default=1)
    run.add_argument("--fresh", action="store_true", help="of fresh.csv, with a ledger in fresh/")
    steps.add_parser("fit", help="write the calibration, and how rules do on held-out cells")
    steps.add_parser("fresh", help="how the calibration does on the fresh cells")
    return parser


def _grid(arguments: argparse.Namespace) -> None:
    from harness.experiments.calibration.grid import make_fresh, make_grid, write_grid

    write_grid(make_grid(), arguments.results / "grid.csv")
    write_grid(make_fresh(), arguments.results / "fresh.csv")


def _models(arguments: argparse.Namespace) -> None:
    from harness.experiments.calibration.grid import CHECKPOINTS, FRESH_CHECKPOINTS, KEPT
    from harness.experiments.calibration.models import pretrain_family

    known = {f"{size}-{seed}": (size, seed) for size in KEPT for seed in KEPT[size]}
    if unknown := [name for name in arguments.family or () if name not in known]:
        raise InputError(f"--family {unknown[0]}: not one of {', '.join(known)}")
    kept = FRESH_CHECKPOINTS if arguments.fresh else CHECKPOINTS
    all_of_them = [f"{size}-{seed}" for size in kept for seed in kept[size]]
    for name in arguments.family or all_of_them:
        pretrain_family(arguments.models, *known[name])


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from harness.experiments.calibration.grid import read_grid
    from harness.experiments.calibration.run import run_study
    from harness.runtime.quiet import quiet

    torch.set_num_threads(1)  # two threads are slower than one below 2M parameters
    results = arguments.results
    with quiet():
        run_study(
            read_grid(results / ("fresh.csv" if arguments.fresh else "grid.csv")),
            models=arguments.models,
            results=results / "fresh" if arguments.fresh else results,
            shard=shard(arguments.shard),
            seeds=arguments.seeds,
            on_run=tell,
        )


def tell(progress: Progress) -> None:
    """Log a run that has finished, and what is left."""
    run = progress.run
    part = "test" if run.share == 1 else "development"
    greedy, sampled = (100 * run.right(part, heat).mean() for heat in (0, 1))
    logging.getLogger("harness.experiments.calibration").info(
        "%s %s lr %s seed %d: %.0f greedy, %.0f sampled (%.0f s); %d left, %.0f min",
        run.cell, run.objective, run.learning_rate, run.seed, greedy, sampled, run.seconds,
        progress.left, progress.seconds_left / 60,
    )  # fmt: skip


def _fit(arguments: argparse.Namespace) -> None:
    from advisor.advice.calibration import write
    from harness.experiments.calibration.findings import described
    from harness.experiments.calibration.grid import read_grid
    from harness.experiments.calibration.ledger import read
    from harness.experiments.calibration.ship import (
        calibrate,
        published_cells,
        published_in,
        records_of,
    )
    from harness.experiments.calibration.study import both, judged_rules, tables

    results = arguments.results
    measured, runs = read(results)
    cells = read_grid(results / "grid.csv")
    found = both(cells, measured, runs)
    records, published = records_of(results), published_cells(published_in(results))
    words = {cell.name: described(cell) for cell in cells}
    write(
        calibrate(found, measured, published, records=records, words=words), arguments.output_path
    )
    _save(results / "held-out.json", {"records": records, **tables(found, judged_rules)})


def _fresh(arguments: argparse.Namespace) -> None:
    from advisor.advice.calibration import read as read_calibration
    from harness.experiments.calibration.grid import read_grid
    from harness.experiments.calibration.ledger import read
    from harness.experiments.calibration.study import both, fresh_rules, tables

    results = arguments.results
    grid = both(read_grid(results / "grid.csv"), *read(results))
    fresh = both(read_grid(results / "fresh.csv"), *read(results / "fresh"))
    calibration = read_calibration(arguments.output_path)
    _save(results / "fresh.json", tables(fresh, fresh_rules(grid, calibration)))


def _save(path: Path, content: dict[str, Any]) -> None:
    from advisor.files import publish

    text = json.dumps(content, indent=1) + "\n"
    publish(path, text.encode(), subject=str(path), remedy="give another --results")


def shard(text: str) -> tuple[int, int]:
    """`1/2` as numbers; InputError where it is no share."""
    first, _, number = text.partition("/")
    if not (first.isdigit() and number.isdigit() and 1 <= int(first) <= int(number)):
        raise InputError(f"--shard {text}: expected I/N with I from 1 to N, such as 1/2")
    return int(first), int(number)


if __name__ == "__main__":
    main()
