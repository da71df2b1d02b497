"""`python -m harness.calibration grid|models|run|judge`: list cells, pretrain, run, judge the rules."""

import argparse
import logging
import sys
from pathlib import Path

from advisor.errors import InputError

RESULTS = Path("results/calibration")
MODELS = Path("outputs/calibration")


def main() -> None:
    """Parses the command line and runs one step of the study."""
    arguments = _parser().parse_args()
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M"
    )
    logging.getLogger("harness").setLevel(logging.INFO)
    try:
        {"grid": _grid, "models": _models, "run": _run, "judge": _judge}[arguments.step](arguments)
    except InputError as error:
        sys.stderr.write(f"harness.calibration: error: {error}\n")
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.calibration", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="of grid and ledger")
    parser.add_argument("--models", type=Path, default=MODELS, help="of the pretrained models")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("grid", help="write grid.csv; commit it before the first run")
    models = steps.add_parser("models", help="pretrain (m128: 10 minutes each on a quiet core)")
    models.add_argument("--family", action="append", help="e.g. m128-0; default: all")
    run = steps.add_parser("run", help="do what is missing")
    run.add_argument("--shard", default="1/1", help="I/N: this process is the I-th of N")
    run.add_argument("--seeds", type=int, default=1)
    steps.add_parser("judge", help="print how the rules do on held-out cells, so far")
    return parser


def _grid(arguments: argparse.Namespace) -> None:
    from harness.calibration.grid import make_grid, write_grid

    write_grid(make_grid(), arguments.results / "grid.csv")


def _models(arguments: argparse.Namespace) -> None:
    from harness.calibration.grid import CHECKPOINTS
    from harness.calibration.models import pretrain_family

    known = {f"{size}-{seed}": (size, seed) for size in CHECKPOINTS for seed in CHECKPOINTS[size]}
    if unknown := [name for name in arguments.family or () if name not in known]:
        raise InputError(f"--family {unknown[0]}: not one of {', '.join(known)}")
    for name, (size, seed) in known.items():
        if not arguments.family or name in arguments.family:
            pretrain_family(arguments.models, size, seed)


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from harness.calibration.grid import read_grid
    from harness.calibration.run import Progress, run_study
    from harness.quiet import quiet

    torch.set_num_threads(1)  # two threads are slower than one below 2M parameters
    log = logging.getLogger("harness.calibration")

    def tell(progress: Progress) -> None:
        run = progress.run
        part = "test" if run.share == 1 else "development"
        greedy, sampled = (100 * run.right(part, heat).mean() for heat in (0, 1))
        log.info(
            "%s %s lr %s seed %d: %.0f greedy, %.0f sampled (%.0f s); %d left, %.0f min",
            run.cell, run.objective, run.learning_rate, run.seed, greedy, sampled, run.seconds,
            progress.left, progress.seconds_left / 60,
        )  # fmt: skip

    with quiet():
        run_study(
            read_grid(arguments.results / "grid.csv"),
            models=arguments.models,
            results=arguments.results,
            shard=_shard(arguments.shard),
            seeds=arguments.seeds,
            on_run=tell,
        )


def _judge(arguments: argparse.Namespace) -> None:
    from harness.calibration.grid import read_grid
    from harness.calibration.ledger import read
    from harness.calibration.study import samples, single_features, table

    cells = read_grid(arguments.results / "grid.csv")
    measured, runs = read(arguments.results)
    for temperature in (0.0, 1.0):
        found = samples(cells, measured, runs, temperature)
        skills, families = ({getattr(s, kind) for s in found} for kind in ("skill", "family"))
        print(f"\n## Temperature {temperature:g}: {len(found)} of {len(cells)} cells\n")
        if len(skills) < 3 or len(families) < 2:
            print(
                f"{len(skills)} skills, {len(families)} pretraining runs: too few to hold any out"
            )
            continue
        print(table(found), single_features(found), sep="\n\n")


def _shard(text: str) -> tuple[int, int]:
    first, _, number = text.partition("/")
    if not (first.isdigit() and number.isdigit() and 1 <= int(first) <= int(number)):
        raise InputError(f"--shard {text}: expected I/N with I from 1 to N, such as 1/2")
    return int(first), int(number)


if __name__ == "__main__":
    main()
