"""`python -m harness.experiments.afterwards STEP`: starts of GRPO, on the calibration's models."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from harness.experiments.steps import plan_and_run, run_step

if TYPE_CHECKING:
    from harness.experiments.afterwards.outcomes import Outcome

RESULTS = Path("results/afterwards")
CELLS = Path("results/calibration")
logger = logging.getLogger("harness.experiments.afterwards")


def main() -> None:
    """Parses the command line and runs one step of the study."""
    run_step(
        plan_and_run("harness.experiments.afterwards", __doc__, RESULTS),
        {"plan": _plan, "run": _run},
    )


def _plan(arguments: argparse.Namespace) -> None:
    from harness.experiments.afterwards.plan import make_plan, write_plan
    from harness.experiments.calibration.grid import read_grid

    write_plan(make_plan(read_grid(CELLS / "grid.csv")), arguments.results / "plan.csv")


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from harness.experiments.afterwards.plan import CONTINUED, read_plan
    from harness.experiments.afterwards.run import carry_out
    from harness.experiments.calibration.grid import read_grid
    from harness.runtime.quiet import quiet

    torch.set_num_threads(1)  # two threads are slower than one below 2M parameters
    with quiet():
        carry_out(
            read_plan(arguments.results / "plan.csv"),
            [*CONTINUED, *read_grid(CELLS / "grid.csv")],
            models=arguments.models,
            results=arguments.results,
            on_run=_tell,
        )


def _tell(outcome: "Outcome", left: int) -> None:
    """Log what came of a start, and what is left."""
    from harness.statistics.pass_at_k import LARGE_K, pass_at_k

    def points(when: str) -> str:
        values = outcome.values(when)
        return f"{100 * values.mean():.1f} and {100 * pass_at_k(values, LARGE_K).mean():.1f}"

    then = f", after GRPO {points('after')}" if outcome.after else ""
    logger.info(
        "%s %s seed %d: pass@1 and pass@16 %s%s (%s s); %d left",
        outcome.cell, outcome.objective, outcome.seed, points("before"), then,
        "+".join(f"{seconds:.0f}" for seconds in outcome.seconds.values()), left,
    )  # fmt: skip


if __name__ == "__main__":
    main()
