"""What `advisor confirm` can choose of its arms and runs. Without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from advisor.advice.plan import DEFAULT
from advisor.advice.replayed import shipped
from advisor.errors import InputError
from advisor.options import Options, option
from harness.runtime import time_limit

OURS = {
    "learning_rate": "give the grid with --learning_rates",
    "seed": "say how many with --seeds",
    "output_dir": "records go to --results, and the checkpoint that a plan keeps to its folder checkpoints",
    **dict.fromkeys(
        (
            "save_strategy",
            "save_steps",
            "save_total_limit",
            "save_only_model",
            "load_best_model_at_end",
        ),
        "a plan keeps its best checkpoint, other studies keep none",
    ),
    **dict.fromkeys(
        ("eval_strategy", "eval_steps", "eval_on_start"),
        "every run is scored on --tasks or on rows that are kept back",
    ),
    "fsdp": "a run is trained in one process: `torchrun ... -m advisor train` trains in several",
    "resume_from_checkpoint": "started again, a study goes on by itself",
    "run_name": "every run is named by its arm, learning rate, seed and record",
    "disable_tqdm": "a study shows its own progress",
}
"""Settings of a training that a study decides, with how."""
EXECUTOR_NAMES = ("local", "ray")
FULL, RACE = "full", "race"
PLAN_NAMES = (*shipped().plans, RACE, FULL)
POINT_COST = 1.0
"""What a point is worth to a race, in full runs."""
GRPO, THEN_STEPS = "grpo", 100
"""What `--then` continues with, and for how many optimiser steps."""
SEEDS = 3
"""Of each arm of a study that is no plan."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Options):
    """Which arms run, how often, for how long and where."""

    objectives: tuple[str, ...] | None = option(
        None,
        help="the arms. NAME@own trains on the model's own verified answers, for example dft@own. "
        "cadft@resampled(SHARE) samples targets anew in training. opd and fire learn from --teacher. "
        "(default: nll, neg_p, threshold, cadft, the recommended one, and dpo where rows have chosen and "
        "rejected)",
    )
    teacher: tuple[str, ...] | None = option(
        None, adds=True, metavar="T",
        help="of the arms opd and fire; several, each as VALUE=MODEL, with --route",
    )  # fmt: skip
    route: str | None = option(
        None, metavar="FIELD", help="column with the VALUE of a row's teacher"
    )
    learning_rates: tuple[float, ...] | None = option(
        None, low=0.0, help="the same grid for every objective"
    )
    plan: str | None = option(
        None, choices=PLAN_NAMES,
        help="one, two, three or six: make so many fine-tunes and keep the best. race: make eight, piece by "
        "piece, each as far as it is worth its price. full: train every arm with several seeds (default: "
        "three; full where arms, rates, seeds or a teacher are given)",
    )  # fmt: skip
    seeds: int | None = option(None, low=1, help="train each arm with so many seeds (default: 3)")
    full: bool = option(False, help="run every arm on every seed: no racing")
    budget: str | None = option(
        None,
        help="start no more runs after this time, for example 30m. The untouched model and one run of a plan "
        "(of a study of arms: its grid of learning rates) are finished in any case",
    )
    run_limit: str | None = option(
        None,
        help="end a run, a piece of a race, or a continuation by --then, that takes longer than this, for "
        "example 4h; it is named, and the study goes on (default: no limit)",
    )
    point_cost: float | None = option(
        None, low=0.01,
        help=f"of a race: what a point is worth, in full runs (default: {POINT_COST:g})",
    )  # fmt: skip
    until: str | None = option(
        None, choices=("decided",),
        help="of a race: go on, whatever it costs, until losing more than 5 points is unlikely",
    )  # fmt: skip
    then: str | None = option(
        None, choices=(GRPO,),
        help="continue the untouched model and every arm with reinforcement learning (TRL's GRPO) on final "
        "answers or the scorer, and report pass@1 and pass@16 before and after it",
    )  # fmt: skip
    then_steps: int | None = option(
        None, low=1,
        help=f"optimiser steps of --then, of 64 answers each, for every start (default: {THEN_STEPS})",
    )  # fmt: skip
    executor: str = option(
        "local", choices=EXECUTOR_NAMES,
        help="where runs are executed: here, or in parallel on Ray (default: {default})",
    )  # fmt: skip
    address: str | None = option(
        None, metavar="HOST:PORT",
        help="of the Ray cluster (default: RAY_ADDRESS, else the cluster that runs here, else this machine)",
    )  # fmt: skip
    gpus: float | None = option(
        None, low=0.01, high=1.0,
        help="of Ray's that a run takes: 1, or a fraction, so that several runs share one (default: 1 where "
        "there are any)",
    )  # fmt: skip
    results: str = option("results", help="folder of the records (default: {default})")

    def refuse_contradictions(self) -> None:
        """Raise InputError, before any work, where a setting is no time or goes against another."""
        _ = self.seconds, self.seconds_of_a_run, self.of_plan, self.steps_after, self.cluster
        _ = self.of_a_point

    @property
    def of_plan(self) -> str | None:
        """The plan to carry out; None: a study of arms.

        Raises:
            InputError: a plan, and what it decides by itself.
        """
        given = [
            f"--{name}"
            for name in ("objectives", "learning_rates", "seeds", "full", "teacher")
            if getattr(self, name)
        ]
        if self.plan in (None, FULL):
            return None if given or self.plan == FULL else DEFAULT
        if given:
            raise InputError(
                f"--plan {self.plan}: a plan has its own arms, rates and seed: leave out "
                f"{' and '.join(given)}, or give --plan {FULL}"
            )
        if self.plan == RACE and self.executor != "local":
            raise InputError(
                f"--executor {self.executor}: a race runs here; start the same command several times on one "
                "folder of records, and they share the work"
            )
        return self.plan

    @property
    def steps_after(self) -> int | None:
        """Steps of `--then`; None where nothing is continued.

        Raises:
            InputError: steps without `--then`, or a race, whose runs are in pieces.
        """
        if self.then is None:
            if self.then_steps is not None:
                raise InputError("--then_steps: nothing is continued: add --then grpo")
            return None
        if self.of_plan == RACE:
            raise InputError(
                f"--then {self.then}: a race takes few of its runs to their ends: give --plan six"
            )
        return self.then_steps or THEN_STEPS

    @property
    def of_a_point(self) -> float:
        """What a point is worth to a race, in full runs.

        Raises:
            InputError: that, or how long to go on, is said and nothing is raced; or both are said.
        """
        given = [name for name in ("point_cost", "until") if getattr(self, name) is not None]
        if given and self.of_plan != RACE:
            raise InputError(f"--{given[0]}: nothing is raced: add --plan {RACE}")
        if len(given) > 1:
            raise InputError(
                f"--until {self.until}: goes on whatever it costs: leave out --point_cost"
            )
        return POINT_COST if self.point_cost is None else self.point_cost

    @property
    def cluster(self) -> dict[str, Any]:
        """What is said of the cluster that runs are executed on; empty where nothing is.

        Raises:
            InputError: something is, and runs are executed here.
        """
        given = {
            name: getattr(self, name)
            for name in ("address", "gpus")
            if getattr(self, name) is not None
        }
        if given and self.executor == "local":
            raise InputError(f"--{next(iter(given))}: runs are executed here: add --executor ray")
        return given

    @property
    def seconds(self) -> float | None:
        """The budget; None where there is none, InputError where it is no time."""
        return None if self.budget is None else seconds_of(self.budget)

    @property
    def seconds_of_a_run(self) -> float | None:
        """That a run may take, None: all it likes; InputError where it is no time or cannot be held."""
        if self.run_limit is None:
            return None
        seconds = seconds_of(self.run_limit, "--run_limit")
        time_limit.check(seconds, f"--run_limit {self.run_limit}")
        return seconds


def seconds_of(text: str, flag: str = "--budget") -> float:
    """`30m`, `2h`, `90s` or `90` to seconds; InputError for anything else, with the flag that said it."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise InputError(f"{flag} {text}: expected a time such as 30m, 2h or 90s")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def refuse_ours(names: Iterable[str]) -> None:
    """Raise InputError at a setting of a training that the study decides."""
    for name in names:
        if name in OURS:
            raise InputError(f"--{name} cannot be set: {OURS[name]}")
