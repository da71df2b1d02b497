"""What the study found: which statistics predict the winner, the gain by mean p, the sweeps over noise.

Pure functions of the grid and the ledger; the two checks on the explanation are in `checks.py`. The page
`docs/what-predicts-the-winner.md` shows both.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from advisor.advice.features import DEEP, PRIOR
from harness.experiments.calibration import study
from harness.experiments.calibration.fit import Sample
from harness.experiments.calibration.grid import SOME, TASKED, Cell
from harness.experiments.calibration.judge import Interval, drawn_weights
from harness.experiments.calibration.ledger import CellLine, RunLine
from harness.ladder.skills import SYSTEMATIC, UNKNOWN
from harness.records.arm import BASE

Array = NDArray[np.float64]
LEANING = "neg_p"
"""The arm that is held against NLL."""
BASE_ACCURACY = "base_accuracy"
"""Development accuracy of the untouched model; it takes an evaluation on trusted answers."""
STATISTICS = (*PRIOR, *DEEP, BASE_ACCURACY)
CLEAN, RANDOM, ERROR, MANNER, NEW = KINDS = (
    "clean",
    "random noise",
    "systematic error",
    "other manner",
    "new or graded skill",
)
"""What demonstrations are; those of new and graded skills are one kind, however they were written."""
_KIND_OF_NOISE = {"none": CLEAN, "mix": RANDOM, "systematic": ERROR}
_WORDS = {
    CLEAN: "clean demonstrations",
    RANDOM: "{rate:.0%} noisy demonstrations",
    ERROR: "a systematic error in {rate:.0%} of the demonstrations",
    MANNER: "demonstrations in another manner",
}
FEWEST = 3
"""Cells from which a mean gets an interval."""
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell at one temperature, and its place in the grid."""

    cell: Cell
    """Place."""
    kind: str
    """Of its demonstrations, one of `KINDS`."""
    mean_p: float
    """Of the target tokens under the untouched model."""
    sample: Sample
    """Statistics, with the base accuracy among them, and gains."""

    @property
    def sign(self) -> int:
        """1 where -p beats NLL decisively, -1 where it loses, 0 where neither."""
        gain, error = self.sample.gains[LEANING], self.sample.errors[LEANING]
        return 0 if abs(gain) <= 2 * error else 1 if gain > 0 else -1


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """One statistic's own power to tell where -p wins."""

    name: str
    """One of `STATISTICS`."""
    auc: Interval
    """Chance that it is higher where -p won than where it lost; NaN without both kinds."""
    won: int
    """Cells that have the statistic, where -p beat NLL decisively."""
    lost: int
    """Where it lost."""

    @property
    def tells(self) -> bool:
        """Whether the interval excludes a half."""
        return self.auc.low > 0.5 or self.auc.high < 0.5


@dataclass(frozen=True, kw_only=True)
class Step:
    """The cells of one rate of a sweep at one temperature."""

    rate: float
    """Share of the demonstrations with noise or error."""
    gains: Mapping[str, Interval]
    """Arm -> mean gain over NLL, points."""
    cells: int
    """Number of cells."""


def cases(
    cells: Sequence[Cell],
    measured: Mapping[str, CellLine],
    runs: Sequence[RunLine],
    temperature: float,
) -> list[Case]:
    """The cells whose arms have run, in the order of their names."""
    places = {cell.name: cell for cell in cells}
    bases = _base_accuracies(runs, temperature)
    found = []
    for sample in sorted(study.samples(cells, measured, runs, temperature), key=lambda s: s.cell):
        if LEANING not in sample.gains:
            continue
        base = {BASE_ACCURACY: bases[sample.cell]} if sample.cell in bases else {}
        found.append(
            Case(
                cell=places[sample.cell],
                kind=kind_of(places[sample.cell]),
                mean_p=float(measured[sample.cell].prior["mean_p"]),
                sample=replace(sample, features={**sample.features, **base}),
            )
        )
    return found


def kind_of(cell: Cell) -> str:
    """What a cell's demonstrations are."""
    return NEW if cell.skill in UNKNOWN else _KIND_OF_NOISE.get(cell.noise, MANNER)


def described(cell: Cell) -> str:
    """What a cell is, in words."""
    kind = kind_of(cell)
    if kind == NEW:
        return "a skill that is new to the model, or known in part"
    return f"a known skill with {_WORDS[kind].format(rate=cell.rate)}"


def _base_accuracies(runs: Iterable[RunLine], temperature: float) -> dict[str, float]:
    right = defaultdict(list)
    for run in runs:
        if run.objective == BASE:
            right[run.cell].append(run.right("development", temperature).mean())
    return {cell: float(np.mean(values)) for cell, values in right.items()}


def predictors(found: Sequence[Case], *, resamples: int = RESAMPLES) -> list[Predictor]:
    """Every statistic alone, with 95 % intervals over skills and pretraining runs (see `judge.marks`)."""
    rng = np.random.default_rng(0)
    samples = [case.sample for case in found]
    drawn = np.array([drawn_weights(samples, rng) for _ in range(resamples)])
    return [_predictor(found, name, drawn) for name in STATISTICS]


def _predictor(found: Sequence[Case], name: str, drawn: Array) -> Predictor:
    values = np.array([case.sample.features.get(name, math.nan) for case in found])
    signs = np.where(np.isnan(values), 0, [case.sign for case in found])
    (estimate,) = weighted_auc(values, signs, np.ones((1, len(found))))
    return Predictor(
        name=name,
        auc=_interval(float(estimate), weighted_auc(values, signs, drawn)),
        won=int((signs == 1).sum()),
        lost=int((signs == -1).sum()),
    )


def weighted_auc(values: Array, signs: NDArray[np.int_], weights: Array) -> Array:
    """[resamples] area under the curve of values [cells] for signs [cells], by weights [resamples, cells].

    A cell of weight k counts as k cells; NaN where the weight is on cells of one sign.
    """
    won, lost = signs == 1, signs == -1
    above = np.subtract.outer(values[won], values[lost])
    ranked = (above > 0) + 0.5 * (above == 0)
    of_won, of_lost = weights[:, won], weights[:, lost]
    pairs = of_won.sum(axis=1) * of_lost.sum(axis=1)
    right = ((of_won @ ranked) * of_lost).sum(axis=1)
    return np.where(pairs > 0, right / np.where(pairs > 0, pairs, 1.0), math.nan)


def sweep(found: Sequence[Case], kind: str, arms: Sequence[str]) -> list[Step]:
    """Mean gains over NLL by the rate of noise, known skills alone and with one number of demonstrations.

    Clean demonstrations are the rate 0; a sweep over systematic error takes only those of skills that have
    a wrong annotator.
    """
    skills = SYSTEMATIC if kind == ERROR else TASKED
    by_rate: dict[float, list[Case]] = defaultdict(list)
    for case in found:
        if case.kind in (CLEAN, kind) and case.cell.rows == SOME and case.cell.skill in skills:
            by_rate[case.cell.rate].append(case)
    return [
        Step(
            rate=rate,
            gains={arm: mean([c.sample.gains[arm] for c in group]) for arm in arms},
            cells=len(group),
        )
        for rate, group in sorted(by_rate.items())
    ]


def mean(values: Sequence[float]) -> Interval:
    """The mean over cells with its 95 % bootstrap interval, NaN bounds for fewer than `FEWEST` cells."""
    given = np.asarray(values, dtype=np.float64)
    if len(given) < FEWEST:
        return _interval(float(given.mean()) if len(given) else math.nan, [])
    rows = np.random.default_rng(0).integers(len(given), size=(RESAMPLES, len(given)))
    return _interval(float(given.mean()), given[rows].mean(axis=1))


def _interval(estimate: float, drawn: Sequence[float] | Array) -> Interval:
    """Percentiles of what could be computed of the resamples."""
    known = np.asarray(drawn, dtype=np.float64)
    known = known[~np.isnan(known)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (math.nan, math.nan)
    return Interval(estimate=estimate, low=float(low), high=float(high))
