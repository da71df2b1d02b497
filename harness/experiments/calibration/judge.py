"""How good a rule is on cells it was not fitted on: accuracy of signs, regret, and how often it abstains.

Cells of one skill, or of one pretraining run, resemble each other; so a rule is judged on a cell after a fit
from which all cells of its skill and all of its pretraining run were left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from advisor.advice.forecast import NLL, Level, expect
from harness.experiments.calibration.fit import Sample, fit, select

Rule = Callable[[Sample], "Advice"]
Maker = Callable[[Sequence[Sample]], Rule]
"""Samples to learn from -> a rule for others."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What a rule says of a cell."""

    arm: str
    """Recommended; NLL where it abstains."""
    gains: Mapping[str, float]
    """Arm -> predicted gain over NLL; its sign is what is judged."""
    decided: bool = True
    """False where it abstains."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One cell, and what a rule that had not seen its like said of it."""

    sample: Sample
    """What was measured."""
    advice: Advice
    """What was said."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, kw_only=True)
class Marks:
    """How a rule did."""

    balanced_accuracy: Interval
    """Of signs of decisive differences from NLL, arms that lost and arms that won weighted equally."""
    top1: Interval
    """Share of cells where the side of the best arm, NLL or leaning on the prior, was recommended."""
    regret: Interval
    """Mean loss against the best arm of the cell, points; abstaining is NLL."""
    undecided: float
    """Share of cells on which it abstained."""
    pairs: tuple[int, int]
    """Decisive pairs that NLL won, and that it lost."""


def held_out(samples: Sequence[Sample], make: Maker) -> list[Judged]:
    """Every cell's advice from a rule that saw neither its skill nor a model of its pretraining text."""
    judged = []
    for skill, text in sorted({(s.skill, s.text) for s in samples}):
        rest = [s for s in samples if s.skill != skill and s.text != text]
        rule = make(rest)
        judged += [
            Judged(sample=sample, advice=rule(sample))
            for sample in samples
            if (sample.skill, sample.text) == (skill, text)
        ]
    return judged


def always(arm: str) -> Maker:
    """The rule that recommends one arm whatever the case."""
    sign = -1.0 if arm == NLL else 1.0

    def rule(sample: Sample) -> Advice:
        return Advice(arm=arm, gains=dict.fromkeys(sample.gains, sign))

    return lambda samples: rule


def race() -> Maker:
    """The arm that leads after an eighth of the steps; NLL where the race was not run or ends in a tie."""

    def rule(sample: Sample) -> Advice:
        lead = {
            arm: sample.race[arm] - sample.race[NLL] for arm in sample.race if NLL in sample.race
        }
        arm = max(lead, key=lambda name: (lead[name], name == NLL), default=NLL)
        return Advice(arm=arm, gains=lead, decided=bool(lead))

    return lambda samples: rule


def cut(name: str, arm: str = "neg_p") -> Maker:
    """An arm above a cut-off of one feature, NLL below it; the cut-off that loses least on the samples."""

    def make(samples: Sequence[Sample]) -> Rule:
        values = sorted({s.features[name] for s in samples if name in s.features})
        cuts = [-np.inf, *((a + b) / 2 for a, b in itertools.pairwise(values)), np.inf]
        best = min(cuts, key=lambda at: _loss_of_cut(samples, name, arm, at))
        return lambda sample: _by_cut(sample, name, arm, best)

    return make


def of_levels(levels: Sequence[Level], order: Sequence[str] = ()) -> Rule:
    """The forecast of the richest level whose features a sample has; NLL where it is not decided."""

    def rule(sample: Sample) -> Advice:
        level = next((one for one in levels if one.reads(sample.features)), None)
        if level is None:
            return Advice(arm=NLL, gains=dict.fromkeys(sample.gains, -1.0), decided=False)
        said = expect(level, sample.features, order)
        arm = said.recommended if said.decided else NLL
        return Advice(arm=arm, gains=said.gains, decided=said.decided)

    return rule


def fitted(names: Sequence[str]) -> Maker:
    """The fit on given features."""
    return lambda samples: of_levels([fit(samples, names)])


def chosen(names: Sequence[str]) -> Maker:
    """The fit on the features that do best within the samples themselves, again on left-out ones.

    The choice is part of what is judged, so it happens inside.
    """

    def make(samples: Sequence[Sample]) -> Rule:
        return fitted(select(samples, names))(samples)

    return make


def marks(judged: Sequence[Judged], *, resamples: int = 1000, seed: int = 0) -> Marks:
    """The figures with intervals from a bootstrap over skills and pretraining runs.

    Skills and runs are drawn with replacement, independently; a cell counts as often as its skill times as
    often as its run (the pigeonhole bootstrap, Owen, 2007).
    """
    ones = np.ones(len(judged))
    rng = np.random.default_rng(seed)
    samples = [one.sample for one in judged]
    weights = [drawn_weights(samples, rng) for _ in range(resamples)]

    def interval(figure: Callable[[Sequence[Judged], np.ndarray], float]) -> Interval:
        drawn = np.array([figure(judged, w) for w in weights if w.sum() > 0])
        drawn = drawn[~np.isnan(drawn)]  # a resample without a pair of one kind says nothing
        low, high = np.quantile(drawn, (0.025, 0.975)) if len(drawn) else (np.nan, np.nan)
        return Interval(estimate=figure(judged, ones), low=float(low), high=float(high))

    signs = [won for one in judged for _, won in _pairs(one)]
    return Marks(
        balanced_accuracy=interval(_balanced_accuracy),
        top1=interval(_top1),
        regret=interval(_regret),
        undecided=float(np.mean([not one.advice.decided for one in judged])),
        pairs=(sum(not won for won in signs), sum(signs)),
    )


def _sign(sample: Sample, arm: str) -> int:
    """1 where an arm is decisively better than NLL, -1 where worse, 0 where neither."""
    gain = sample.gains.get(arm)
    if gain is None or abs(gain) <= 2 * sample.errors[arm]:
        return 0
    return 1 if gain > 0 else -1


def _loss_of_cut(samples: Sequence[Sample], name: str, arm: str, at: float) -> float:
    advice = [(s, _by_cut(s, name, arm, at)) for s in samples]
    return float(np.mean([_loss(Judged(sample=s, advice=a)) for s, a in advice]))


def _by_cut(sample: Sample, name: str, arm: str, at: float) -> Advice:
    above = sample.features.get(name, -np.inf) > at
    return Advice(
        arm=arm if above else NLL, gains=dict.fromkeys(sample.gains, 1.0 if above else -1.0)
    )


def _pairs(one: Judged) -> Iterator[tuple[bool, bool]]:
    """(said to win, won) of every arm that is decisively different from NLL."""
    for arm in one.sample.gains:
        if arm != NLL and (sign := _sign(one.sample, arm)) and arm in one.advice.gains:
            yield one.advice.gains[arm] > 0, sign == 1


def _balanced_accuracy(judged: Sequence[Judged], weights: np.ndarray) -> float:
    right, total = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    for one, weight in zip(judged, weights, strict=True):
        for said, won in _pairs(one):
            right[won] += weight * (said == won)
            total[won] += weight
    if not all(total.values()):
        return float("nan")
    return (right[True] / total[True] + right[False] / total[False]) / 2


def _top1(judged: Sequence[Judged], weights: np.ndarray) -> float:
    right = [(one.advice.arm == NLL) == (_best(one.sample) == NLL) for one in judged]
    return float(np.average(right, weights=weights))


def _regret(judged: Sequence[Judged], weights: np.ndarray) -> float:
    return float(np.average([_loss(one) for one in judged], weights=weights))


def _best(sample: Sample) -> str:
    gains = {NLL: 0.0, **sample.gains}
    return max(gains, key=lambda arm: gains[arm])


def _loss(one: Judged) -> float:
    gains = {**one.sample.gains, NLL: 0.0}
    return max(gains.values()) - gains[one.advice.arm]


def drawn_weights(samples: Sequence[Sample], rng: np.random.Generator) -> np.ndarray:
    """[samples] how often each counts in one resample of skills and pretraining runs."""
    weights = np.ones(len(samples))
    for kind in ("skill", "family"):
        labels = [getattr(sample, kind) for sample in samples]
        names = sorted(set(labels))
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))
        drawn = dict(zip(names, counts, strict=True))
        weights *= [drawn[label] for label in labels]
    return weights
