"""What `advisor distill` can choose beside TRL's own settings and those of `Fire`. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.options import option
from harness.train.training_options import OutputOptions


@dataclass(frozen=True, kw_only=True)
class DistillOptions(OutputOptions):
    """Who teaches, and what is minimised."""

    eval_split: str | None = option(
        None,
        help="split of DATASET to evaluate on: the divergence from the teacher on the student's answers, "
        "in every method without filter and weights (default: after every epoch, see --eval_strategy)",
    )
    teacher: tuple[str, ...] | None = option(
        None, adds=True, metavar="T",
        help="a model with the student's vocabulary; several, each as VALUE=MODEL, with --route; none with "
        "--method sdft",
    )  # fmt: skip
    route: str | None = option(
        None, metavar="FIELD", help="column with the VALUE of a row's teacher"
    )
    method: str = option(
        "opd", choices=("opd", "fire", "sdft"),
        help="fire leaves out rollouts that the teacher finds improbable and weighs tokens; in sdft the "
        "model with the demonstration in its context teaches the model without (default: {default})",
    )  # fmt: skip
    form: str = option(
        "full", choices=("full", "sampled"),
        help="reverse KL over the vocabulary, or of the drawn token as published (default: {default})",
    )  # fmt: skip
