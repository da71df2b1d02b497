"""Two checks on why -p wins: is its gain one of the learning rate, and is it one of the decoding?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.experiments.calibration.findings import LEANING, Case
from harness.experiments.calibration.gains import POINTS, TENTH, _best, _with_control
from harness.experiments.calibration.ledger import RunLine
from harness.records.arm import NLL
from harness.statistics.paired import Difference, paired_difference

Array = NDArray[np.float64]
GREEDY, SAMPLED = 0.0, 1.0
Table = Mapping[str, Mapping[str, Mapping[float | None, Sequence[RunLine]]]]
"""Cell -> arm -> learning rate -> runs."""


@dataclass(frozen=True, kw_only=True)
class RateCheck:
    """One cell at one temperature: what is left of the gain of -p when NLL may take smaller steps too."""

    case: Case
    """The cell."""
    gain: float
    """Over NLL at the grid's rates, points."""
    left: float
    """Over NLL or NLL at a tenth, whichever did better on the development problems."""
    left_error: float
    """Its standard error."""
    lower: bool
    """Whether that was NLL at a tenth."""

    @property
    def sign(self) -> int:
        """Of what is left, where decisive; else 0."""
        return 0 if abs(self.left) <= 2 * self.left_error else 1 if self.left > 0 else -1


@dataclass(frozen=True, kw_only=True)
class DecodingCheck:
    """One cell on which -p wins at temperature 1, points; every arm and decoding has its own best rate."""

    case: Case
    """The cell, at temperature 1."""
    sampled: float
    """-p sampled less NLL sampled."""
    decoded: float
    """NLL greedy less -p sampled."""
    greedy: float
    """-p greedy less NLL greedy."""
    greedy_error: float
    """Its standard error."""


def by_arm(runs: Sequence[RunLine]) -> Table:
    """The whole runs (no races), NLL below the grid's rates being an arm of its own."""
    table: dict[str, dict[str, dict[float | None, list[RunLine]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for run in runs:
        if run.share == 1:
            table[run.cell][run.objective][run.learning_rate].append(run)
    return {cell: _with_control(arms) for cell, arms in table.items()}


def rate_checks(found: Sequence[Case], table: Table, temperature: float) -> list[RateCheck]:
    """The cells whose NLL has run at a tenth of the rates too."""
    return [
        _rate_check(case, table[case.sample.cell], temperature)
        for case in found
        if table[case.sample.cell][TENTH]
    ]


def _rate_check(
    case: Case, arms: Mapping[str, Mapping[float | None, Sequence[RunLine]]], temperature: float
) -> RateCheck:
    developed = {arm: _developed(arms[arm], temperature) for arm in (NLL, TENTH)}
    lower = developed[TENTH] > developed[NLL]
    _, leaning = _best(arms[LEANING], temperature)
    _, averse = _best(arms[TENTH if lower else NLL], temperature)
    left = _less(leaning, averse)
    return RateCheck(
        case=case,
        gain=case.sample.gains[LEANING],
        left=POINTS * left.estimate,
        left_error=POINTS * left.standard_error,
        lower=lower,
    )


def _developed(runs: Mapping[float | None, Sequence[RunLine]], temperature: float) -> float:
    """Development accuracy at the rate that is best there."""
    rate, _ = _best(runs, temperature)
    return float(np.mean([run.right("development", temperature) for run in runs[rate]]))


def decoding_checks(sampled: Sequence[Case], table: Table) -> list[DecodingCheck]:
    """The cells on which -p beats NLL decisively at temperature 1."""
    return [_decoding_check(case, table) for case in sampled if case.sign == 1]


def _decoding_check(case: Case, table: Table) -> DecodingCheck:
    arms = table[case.sample.cell]
    right = {
        (arm, heat): _best(arms[arm], heat)[1]
        for arm in (NLL, LEANING)
        for heat in (GREEDY, SAMPLED)
    }
    greedy = _less(right[LEANING, GREEDY], right[NLL, GREEDY])
    return DecodingCheck(
        case=case,
        sampled=POINTS * _less(right[LEANING, SAMPLED], right[NLL, SAMPLED]).estimate,
        decoded=POINTS * _less(right[NLL, GREEDY], right[LEANING, SAMPLED]).estimate,
        greedy=POINTS * greedy.estimate,
        greedy_error=POINTS * greedy.standard_error,
    )


def _less(first: Array, second: Array) -> Difference:
    """The paired difference of [seeds, documents] over the seeds that both have."""
    seeds = min(len(first), len(second))
    return paired_difference(first[:seeds], second[:seeds])
