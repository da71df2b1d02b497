"""What the page on what predicts the winner rests on, and how it writes numbers."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.advice.calibration import Calibration
from harness.experiments.calibration.checks import GREEDY, SAMPLED, DecodingCheck, RateCheck
from harness.experiments.calibration.figures import Published
from harness.experiments.calibration.findings import (
    BASE_ACCURACY,
    ERROR,
    LEANING,
    RANDOM,
    Case,
    Predictor,
    Step,
)
from harness.experiments.calibration.grid import Cell
from harness.experiments.calibration.judge import Interval
from harness.experiments.calibration.ledger import RunLine

HEATS = {SAMPLED: "T = 1", GREEDY: "greedy"}
ARMS = {LEANING: "-p", "cadft(1)": "cadft(1)"}
DECODED = {"sampled": "Sampled at temperature 1", "greedy": "Greedy"}
SWEEPS = {RANDOM: "Random noise", ERROR: "Systematic error"}
PARAMETERS = {"m64": "0.15M", "m128": "0.8M"}
"""Of the sizes of the grid."""
NAMES = {
    "mean_p": "mean p",
    "median_p": "median p",
    "geometric_mean_p": "geometric mean p",
    "share_p_below_0.1": "share p < .1",
    "conflict_share": "conflict share",
    "ignorance_share": "ignorance share",
    "conflict_of_tail": "conflict in the tail",
    "entropy": "entropy",
    "top1": "target is the argmax",
    "dispersion": "spread over examples",
    "p_eos": "p of the end",
    "cll": "log p + entropy",
    "log_examples": "demonstrations",
    "recovery": "recovery (deep)",
    "coherence": "coherence (deep)",
    "accuracy": "agreement (deep)",
    "learned": "drop of NLL (deep)",
    BASE_ACCURACY: "base accuracy",
}
"""Statistic -> what it is called here."""
GLOSSARY = """\
Conflict share: targets with p < .1 where the model is sure of something else (entropy below 1 nat); ignorance
share: where it is not; conflict in the tail: the first as a share of both. Spread over examples: standard
deviation of an example's mean p. Demonstrations: their number. The deep ones take a short NLL run, gradients
and sampled answers: recovery and coherence are those of `advisor/prior/deep.py`, agreement is the share of
the model's answers that equal the demonstrations'; drop of NLL is that on held-out
demonstrations. Base accuracy is that of the untouched model on development problems with trusted answers, at
the temperature in question."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the page shows; mappings are by temperature."""

    planned: Sequence[Cell]
    """Cells of the grid."""
    runs: Sequence[RunLine]
    """Of the cells that count."""
    cases: Mapping[float, Sequence[Case]]
    """Cells whose arms have all run; never empty."""
    predictors: Mapping[float, Sequence[Predictor]]
    """Each statistic alone."""
    published: Mapping[float, Sequence[Published]]
    """Published cells."""
    sweeps: Mapping[str, Mapping[float, Sequence[Step]]]
    """Kind of noise -> temperature -> rates."""
    rates: Mapping[float, Sequence[RateCheck]]
    """Whether it is the learning rate."""
    decoding: Sequence[DecodingCheck]
    """Whether it is the decoding."""
    calibration: Calibration
    """As it is shipped."""
    held_out: Mapping[str, Any]
    """Marks of rules on cells that were left out."""
    fresh: Mapping[str, Any] | None
    """Marks on the fresh cells, once they have run."""


def side(found: Interval) -> int:
    """1 where the interval is above nothing, -1 below it, else 0."""
    return 1 if found.low > 0 else -1 if found.high < 0 else 0


def points(found: Interval) -> str:
    """A mean in points, with its interval where it has one."""
    interval = "" if math.isnan(found.low) else f" [{found.low:+.1f}, {found.high:+.1f}]"
    return "" if math.isnan(found.estimate) else f"{found.estimate:+.1f}{interval}"


def capital(text: str) -> str:
    """The text as a sentence begins."""
    return text[:1].upper() + text[1:]


def wrapped(text: str) -> str:
    """A paragraph in lines of a page's width."""
    return textwrap.fill(" ".join(text.split()), 115)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
