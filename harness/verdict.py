"""What the runs of a study say: every arm against NLL and against the untouched base, in points.

Pure. Differences are paired by document and seed; Holm's adjustment is over the arms of one baseline, where
an arm that racing dropped has p = 1, and is "worse" where the racing bound (5 % for all arms and looks)
says so against that baseline. Where
the model will be sampled, NLL at its own best temperature is a control: a gain over NLL at the temperature
of use that this closes is sharpening, which costs nothing at decoding time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.records import Run
from harness.statistics import Difference, holm, paired_difference, still_in_the_race, verdict
from harness.study import (
    BASE,
    NLL,
    SEED_SD,
    Arm,
    Study,
    arm_scores,
    chosen_arms,
    in_the_race,
    open_rates,
    same_documents,
)

POINTS = 100.0
CLOSED = ("worse", "equivalent")
"""Verdicts on the winner against NLL decoded more coolly that make its gain sharpening."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm against one baseline."""

    arm: str
    """Label of the arm."""
    baseline: str
    """Label of what it is compared with."""
    temperature: float
    """At which the arm was decoded."""
    score: float
    """The arm's mean score, points."""
    baseline_score: float
    """The baseline's, points."""
    difference: Difference
    """Arm less baseline, points."""
    adjusted_p: float
    """Holm over the arms against this baseline."""
    verdict: str
    """"better", "worse", "equivalent" or "not resolved"."""
    dropped: bool
    """Whether racing dropped the arm, so that it has fewer seeds and p = 1."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer of a confirmation."""

    headline: str
    """One sentence."""
    winner: str
    """Label of the arm to use; "base" is "do not fine-tune", `nll` where nothing is better."""
    sharpening: bool
    """Whether NLL decoded at its best temperature is shown to do as well as the winner, or better."""
    rows: tuple[Row, ...]
    """Every comparison."""
    curve: Mapping[str, Mapping[float, float]]
    """Per arm, mean test score in points by temperature."""
    open_rates: Mapping[str, tuple[float, ...]]
    """By objective, learning rates that were not told apart (`study.open_rates`), the one in use first."""

    @property
    def remark(self) -> str:
        """What the choice of learning rates leaves open, in a sentence; empty where nothing."""
        if not self.open_rates:
            return ""
        some = "; ".join(
            f"{name} {' / '.join(f'{rate:g}' for rate in rates)}"
            for name, rates in self.open_rates.items()
        )
        return (
            f"Learning rates that the development documents do not tell apart, the one in use first: {some}. "
            "What is said of these arms is said of that rate."
        )


def settle(study: Study, runs: Sequence[Run], *, margin: float = 1.0) -> Verdict:
    """Compare the arms of a study; `margin` is the difference in points that does not matter."""
    same_documents(study, runs)
    done = {run.spec.id: run for run in runs}
    chosen = chosen_arms(study, runs)
    arms = [arm for arm in chosen if _seeds(study, arm, done)]
    nll = next(arm for arm in arms if arm.objective == NLL and not arm.tenth)
    base = next(arm for arm in arms if arm.objective == BASE)
    others = [arm for arm in arms if arm not in (nll, base)]
    dropped = _dropped(study, chosen, done)
    against_nll = _against(study, done, others, nll, dropped, margin)
    against_base = _against(study, done, [a for a in arms if a != base], base, dropped, margin)
    curve = {arm.label: _curve(study, arm, done) for arm in arms}
    control = _against_sharpened(study, done, others, nll, curve[nll.label], dropped, margin)
    winner = _winner(against_nll, against_base)
    closes = [row for row in control if row.arm == winner]
    sharpening = winner != NLL and any(row.verdict in CLOSED for row in closes)
    return Verdict(
        headline=_headline(winner, against_nll, against_base, closes),
        winner=winner,
        sharpening=sharpening,
        rows=(*against_nll, *control, *against_base),
        curve=curve,
        open_rates=open_rates(study, runs),
    )


def _seeds(study: Study, arm: Arm, done: Mapping[str, Run]) -> list[int]:
    """The seeds on which an arm has run, in order."""
    if arm.objective == BASE:
        return list(study.seeds)
    return [seed for seed in study.seeds if study.spec(arm, seed).id in done]


def _against(
    study: Study, done: Mapping[str, Run], arms: Sequence[Arm], baseline: Arm,
    dropped: Collection[Arm], margin: float,
    *, temperature: float | None = None, name: str | None = None,
) -> list[Row]:  # fmt: skip
    """Arms at the temperature of use against a baseline, at another temperature if given."""
    found = []
    for arm in arms:
        seeds = [s for s in _seeds(study, arm, done) if s in _seeds(study, baseline, done)]
        ours = arm_scores(study, arm, done, seeds)
        theirs = arm_scores(study, baseline, done, seeds, temperature)
        found.append((arm, ours, theirs, paired_difference(ours, theirs)))
    # An arm that racing dropped enters with p = 1: the family keeps its size (see `statistics.holm`).
    adjusted = holm([1.0 if arm in dropped else d.p_value for arm, *_, d in found])
    return [
        Row(
            arm=arm.label,
            baseline=name or baseline.label,
            temperature=study.temperature,
            score=POINTS * _mean(ours),
            baseline_score=POINTS * _mean(theirs),
            difference=in_points(difference),
            adjusted_p=float(p),
            dropped=arm in dropped,
            verdict="worse"
            if arm in dropped and _behind(study, difference, len(found))
            else verdict(difference, float(p), margin / POINTS),
        )
        for (arm, ours, theirs, difference), p in zip(found, adjusted, strict=True)
    ]


def _against_sharpened(
    study: Study, done: Mapping[str, Run], arms: Sequence[Arm], nll: Arm, curve: Mapping[float, float],
    dropped: Collection[Arm], margin: float,
) -> list[Row]:  # fmt: skip
    """Arms against NLL at the temperature that suits NLL best; none where that is the one of use."""
    best = max(curve, key=lambda t: (curve[t], t == study.temperature))
    if study.temperature == 0 or best == study.temperature:
        return []
    name = f"nll at temperature {best:g}"
    return _against(study, done, arms, nll, dropped, margin, temperature=best, name=name)


def _curve(study: Study, arm: Arm, done: Mapping[str, Run]) -> dict[float, float]:
    seeds = _seeds(study, arm, done)
    temperatures: Sequence[float] = study.evaluation["temperatures"]
    return {t: POINTS * _mean(arm_scores(study, arm, done, seeds, t)) for t in temperatures}


def _dropped(study: Study, arms: Sequence[Arm], done: Mapping[str, Run]) -> set[Arm]:
    """The arms that racing dropped; one that has fewer seeds because the budget ended is none of them."""
    rivals = [arm for arm in arms if arm.objective != BASE]
    found = set()
    for arm in rivals:
        seeds = _seeds(study, arm, done)
        unfinished = not study.full and arm.objective != NLL and len(seeds) < len(study.seeds)
        if unfinished and arm not in in_the_race(study, rivals, done, seeds):
            found.add(arm)
    return found


def _behind(study: Study, difference: Difference, rivals: int) -> bool:
    """Whether the bound that dropped an arm from the race holds against this baseline too."""
    looks = max(1, len(study.seeds) - 1)
    return not still_in_the_race(difference, looks=looks, rivals=rivals, seed_sd=SEED_SD)


def in_points(difference: Difference) -> Difference:
    """The statistics are made for scores from 0 to 1; points are for readers."""
    low, high = difference.interval
    low_90, high_90 = difference.interval_90
    return replace(
        difference,
        estimate=POINTS * difference.estimate,
        interval=(POINTS * low, POINTS * high),
        interval_90=(POINTS * low_90, POINTS * high_90),
        standard_error=POINTS * difference.standard_error,
        document_error=POINTS * difference.document_error,
    )


def _mean(scores: NDArray[np.float64]) -> float:
    return float(scores.mean())


def _winner(against_nll: Sequence[Row], against_base: Sequence[Row]) -> str:
    """The best arm that is better than NLL, else NLL, if it is better than the base; else the best that is.

    The base where no arm is better than it.
    """
    better = [row for row in against_nll if row.verdict == "better"]
    best = max(better, key=lambda row: row.score).arm if better else NLL
    over_base = [row for row in against_base if row.verdict == "better"]
    if any(row.arm == best for row in over_base):
        return best
    return max(over_base, key=lambda row: row.score).arm if over_base else BASE


def _headline(
    winner: str, against_nll: Sequence[Row], against_base: Sequence[Row], closes: Sequence[Row]
) -> str:
    """The verdict in one sentence; `closes` is the winner against NLL decoded more coolly."""
    if winner == BASE:
        harmful = all(row.verdict == "worse" for row in against_base)
        return "Do not fine-tune: " + (
            "every objective makes the model worse."
            if harmful
            else "no objective is shown to be better than the untouched model."
        )
    over_base = next(row for row in against_base if row.arm == winner)
    gain = f"{over_base.difference.estimate:+.1f} points over the untouched model"
    if winner == NLL:
        control_arm = Arm(objective=NLL, tenth=True).label
        rest = {row.verdict for row in against_nll if row.arm != control_arm}
        tie = (
            "the others are worse"
            if rest == {"worse"}
            else "no other objective is shown to be better"
        )
        return f"Use nll: {tie} ({gain})."
    row = next(row for row in against_nll if row.arm == winner)
    low, high = row.difference.interval
    if row.verdict != "better":
        return (
            f"Use {winner}: {gain}; that it is better than nll is not shown ({row.difference.estimate:+.1f}, "
            f"95 % interval {low:+.1f} to {high:+.1f})."
        )
    text = (
        f"Use {winner}: {row.difference.estimate:+.1f} points over nll "
        f"(95 % interval {low:+.1f} to {high:+.1f}; {gain})."
    )
    for row in closes:
        if row.verdict in CLOSED:
            text += f" It is sharpening: {row.baseline} does as well."
        elif row.verdict != "better":
            text += f" That it is more than sharpening, over {row.baseline}, is not shown."
    return text
