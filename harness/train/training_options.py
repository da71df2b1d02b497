"""What `advisor train` can choose beside TRL's own settings. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.options import Options, option

OUT = "--output_dir"


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Options):
    """Where a trained model goes, and on what it is evaluated while it trains."""

    output_dir: str = option(help="where checkpoints and the model go")
    eval_split: str | None = option(
        None,
        help="split of DATASET to evaluate on (default: after every epoch, see --eval_strategy)",
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(OutputOptions):
    """What is minimised, and where the model goes."""

    objective: str = option(
        "nll",
        help="see `advisor ls objectives` (default: {default}); several in turn: 'nll>neg_p(at=0.5)'",
    )
    measure_prior: bool = option(
        False,
        help="measure the prior before the first step, as recommend does, for a line of the model card (off)",
    )
    resample: bool = option(
        False,
        help="cadft: sample the targets of the least compatible examples anew from the model while it trains",
    )
    resample_share: float | None = option(
        None, low=0.0, high=1.0,
        help="of the examples, chosen at each of three times (default: 0.005, as published)",
    )  # fmt: skip
    resample_verify: bool = option(
        False, help="take only sampled answers that end in the demonstration's answer"
    )
    answer_regex: str | None = option(
        None, help="finds that answer, in one group (default: a known form)"
    )
