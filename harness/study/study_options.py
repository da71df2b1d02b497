"""What `advisor confirm` can choose of its arms and runs. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from advisor.errors import InputError
from advisor.options import Options, option

OURS = {
    "learning_rate": "give the grid with --learning_rates",
    "seed": "say how many with --seeds",
    "output_dir": "models are not kept; records go to --results",
    "save_strategy": "models are not kept; records go to --results",
    "resume_from_checkpoint": "started again, a study goes on by itself",
    "report_to": "the log of every run stands in its record",
    "disable_tqdm": "a study shows its own progress",
}
"""Settings of a training that a study decides, with how."""
EXECUTOR_NAMES = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Options):
    """Which arms run, how often, for how long and where."""

    objectives: tuple[str, ...] | None = option(
        None,
        help="default: nll, neg_p, threshold, cadft, the recommended one, and dpo where there are pairs "
        "(chosen, rejected); NAME@own trains on the model's own verified answers, for example dft@own; "
        "cadft@resampled(SHARE) samples targets anew in training; opd and fire learn from --teacher",
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
    seeds: int = option(3, low=1, help="of each arm (default: {default})")
    full: bool = option(False, help="run every arm on every seed: no racing")
    budget: str | None = option(
        None,
        help="start no more runs after this long, for example 30m, once the untouched model and the grid "
        "of learning rates are done: they are always finished",
    )
    executor: str = option(
        "local", choices=EXECUTOR_NAMES,
        help="where runs are executed: here, or in parallel on Ray (default: {default})",
    )  # fmt: skip
    results: str = option("results", help="folder of the records (default: {default})")

    @property
    def seconds(self) -> float | None:
        """The budget; None where there is none, InputError where it is no time."""
        return None if self.budget is None else seconds_of(self.budget)


def seconds_of(text: str) -> float:
    """`30m`, `2h`, `90s` or `90` to seconds; InputError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise InputError(f"--budget {text}: expected a time such as 30m, 2h or 90s")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def refuse_ours(names: Iterable[str]) -> None:
    """Raise InputError at a setting of a training that the study decides."""
    for name in names:
        if name in OURS:
            raise InputError(f"--{name} cannot be set: {OURS[name]}")
