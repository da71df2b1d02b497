"""The rule read off published results: the regime, and the order of the arms.

- **Regime.** Published mean p: math .76 to .81, where prior-leaning objectives win; medicine .50 to .59,
  ties; figfont puzzles .01 to .07, where they destroy the model (Beyond Log Likelihood, arXiv:2510.00526,
  Tables 1 to 3 and 5). The paper gives no cut-offs: ours lie midway between those ranges.
- **Decoding.** The strong wins were scored on sampled answers, the ties and losses on greedy ones. Leaning
  on the prior sharpens; under greedy decoding random noise in the demonstrations hardly moves the mode.
- **Size.** The strong wins were had with 10,000 to 140,000 examples. On 2,000 general ones base models of 7
  and 8 billion parameters lost from DFT as well (ProFit, arXiv:2601.09195, Table 1).
- **Kind of model.** Instruct and thinking models lost from DFT on data they are strong on (EAFT,
  arXiv:2601.02151, Table 1), or gained nothing (ProFit, arXiv:2601.09195, Table 2).
- **What the improbable tokens are.** Improbable where the model is sure: a conflict, noise more often than
  not, but a new convention looks the same. Improbable where it is unsure: something to learn (EAFT).
- **Heterogeneity.** Examples of very different mean p are what CADFT (arXiv:2606.11206) is for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from advisor.advice.forecast import SAMPLED
from advisor.advice.warnings import HETEROGENEOUS

if TYPE_CHECKING:
    from advisor.prior.deep import Deep, Reading
    from advisor.prior.prior import Prior

STRONG = (0.59 + 0.76) / 2
"""Mean p from which a pair is model-strong: midway between the published medical and math cells."""
WEAK = (0.07 + 0.50) / 2
"""Mean p below which a pair is model-weak: midway between the published figfont and medical cells."""
QUIET_TAIL = 0.01
"""Share of improbable tokens below which the objectives have nothing to disagree about."""
KNOWN_WEAK = 0.1
"""Mean p below which published cells lie (.01 to .07), which nll won; none lies from there to .50."""
KNOWN_MIDDLE = 0.5
"""Mean p from which published intermediate cells lie."""

STRONG_REGIME, MIDDLE_REGIME, WEAK_REGIME = "model-strong", "model-intermediate", "model-weak"


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """The statistics that the rule looks at, and nothing else."""

    mean_p: float
    conflict_share: float
    ignorance_share: float
    dispersion: float

    @property
    def share_below(self) -> float:
        """Share of improbable targets."""
        return self.conflict_share + self.ignorance_share

    @property
    def contradicts(self) -> bool:
        """Whether most of what the model finds improbable it is sure to be otherwise."""
        return self.conflict_share > self.ignorance_share

    @property
    def regime(self) -> str:
        """In the paper's words."""
        if self.mean_p >= STRONG:
            return STRONG_REGIME
        return WEAK_REGIME if self.mean_p < WEAK else MIDDLE_REGIME


READ = {*(field.name for field in fields(Statistics)), "share_below", "contradiction"}
"""Statistics with an interval of their own; the last two are the sum and the difference of the shares."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the rule takes as given beside the reading."""

    sampled: bool
    kind: str
    improbable: Reading | None = None
    """What the deep probe says of the improbable targets."""

    @property
    def may_lean(self) -> bool:
        """Whether leaning on the prior ever won where a model is used so."""
        return self.sampled and self.kind != "instruct"


@dataclass(frozen=True)
class Choice:
    """What the rule says at one reading."""

    regime: str
    order: tuple[str, ...]
    why: str
    """Key of `WHY`, or the end of the sentence."""


def _leaning(reading: Statistics) -> tuple[str, ...]:
    """Prior-leaning arms, best first, `nll` last."""
    if reading.dispersion >= HETEROGENEOUS:
        return ("cadft", "neg_p", "threshold", "p_pow", "nll")
    return ("neg_p", "threshold", "cadft", "p_pow", "nll")


_CAUTIOUS = ("nll", "threshold", "neg_p", "cadft", "p_pow")
_LEARNING = ("nll", "neg_p", "cadft", "p_pow", "threshold")


WHY = {
    "unknown": "the model finds the targets improbable: an objective that leans on its prior would skip "
    "what there is to learn",
    "rather unknown": "the model finds most targets improbable and nll is the side that learns them, but no "
    "published comparison lies between a mean p of .07 and .50",
    "half noise": "the model knows about half of it and contradicts most of what it finds improbable, "
    "which looks like noise; published cells of this kind, decoded greedily, are near-ties",
    "half known": "the model knows about half of it; published cells of this kind are near-ties, "
    "and nll is the safe side",
    "half learnable": "the model knows about half of it, and a short run carried the improbable targets over "
    "to held-out examples: they can be learned, and nll learns them",
    "half noisy": "the model knows about half of it, and a short run carried few of the improbable targets "
    "over to held-out examples: they look like noise, which leaning on the prior ignores in sampled answers",
    "all known": "the model already expects nearly every target, so the objectives have nothing to "
    "disagree about: expect a tie",
    "instruct": "the model is strong on the data, but instruct and thinking models lost from "
    "prior-leaning objectives where base models gained",
    "sampled": "the model already expects most targets and its answers will be sampled: leaning on its "
    "prior ignores the improbable ones, which it mostly contradicts, noise more often than not",
    "gaps": "the model already expects most targets and its answers will be sampled, where leaning on its "
    "prior won; but the improbable ones it is mostly unsure of, and some may be knowledge to learn",
    "conflict": "the model is sure of something else where it finds a target improbable: if those targets "
    "repeat an error, leaning on the prior keeps it out; if they are a new convention, nll learns it",
    "greedy": "the model is strong on the data and will be decoded greedily: expect a tie",
}


def _choose(reading: Statistics, case: Case) -> Choice:
    """The rule at one reading: regime, order of the arms, and why."""
    if reading.regime == WEAK_REGIME:
        known = reading.mean_p < KNOWN_WEAK
        return Choice(WEAK_REGIME, _LEARNING, "unknown" if known else "rather unknown")
    if reading.regime == STRONG_REGIME:
        return _choose_strong(reading, case)
    return _choose_middle(reading, case)


def _choose_middle(reading: Statistics, case: Case) -> Choice:
    """Between the ends, what the improbable targets are tips the balance."""
    if case.improbable == "learnable":
        return Choice(MIDDLE_REGIME, _CAUTIOUS, "half learnable")
    # Free text reads as noise too: what could be said in many ways carries over to no other example. The
    # model is unsure there; where it is sure of something else, the target is the odd one.
    if case.improbable == "noise" and case.may_lean and reading.contradicts:
        return Choice(MIDDLE_REGIME, _leaning(reading), "half noisy")
    if reading.mean_p < KNOWN_MIDDLE:
        return Choice(MIDDLE_REGIME, _CAUTIOUS, "rather unknown")
    if case.may_lean and reading.contradicts:
        return Choice(MIDDLE_REGIME, _leaning(reading), "half noise")
    return Choice(MIDDLE_REGIME, _CAUTIOUS, "half known")


def _choose_strong(reading: Statistics, case: Case) -> Choice:
    """The strong end, where decoding, kind of model and the improbable tail decide."""
    if reading.share_below < QUIET_TAIL:
        return Choice(STRONG_REGIME, _CAUTIOUS, "all known")
    if case.kind == "instruct":
        return Choice(STRONG_REGIME, _CAUTIOUS, "instruct")
    if case.sampled:
        why = "sampled" if reading.contradicts else "gaps"
        return Choice(STRONG_REGIME, _leaning(reading), why)
    if reading.contradicts:
        return Choice(STRONG_REGIME, _leaning(reading), "conflict")
    return Choice(STRONG_REGIME, _CAUTIOUS, "greedy")


def corners(prior: Prior) -> Iterator[Statistics]:
    """Readings at the corners of the intervals; the rule is a set of cut-offs, so they suffice.

    Each statistic that has a cut-off is taken with its own interval: an answer is the same at all corners
    only where every cut-off around it is excluded (see `advisor.prior.prior`).
    """
    found = prior.intervals or prior.bounds
    box = {name: ends for name, ends in found.items() if name in READ}
    for values in itertools.product(*box.values()):
        yield _reading(dict(zip(box, values, strict=True)))


def _reading(found: dict[str, float]) -> Statistics:
    """The statistics of a corner; the shares come from their sum and difference where those are given."""
    if "share_below" in found:
        below, excess = found.pop("share_below"), found.pop("contradiction")
        found |= {"conflict_share": (below + excess) / 2, "ignorance_share": (below - excess) / 2}
    return Statistics(**found)


def statistics_of(prior: Prior) -> Statistics:
    """What the rule reads of a prior."""
    return Statistics(**{field.name: getattr(prior, field.name) for field in fields(Statistics)})


def case_of(*, temperature: float, kind: str, deep: Deep | None = None) -> Case:
    """What is given beside the prior."""
    return Case(
        sampled=temperature >= SAMPLED,
        kind=kind,
        improbable=deep.reading if deep else None,
    )


def choices(prior: Prior, case: Case) -> tuple[Choice, set[str]]:
    """The choice at the estimate, and in what the corners of the intervals differ from it."""
    here = _choose(statistics_of(prior), case)
    other: set[str] = set()
    for corner in (_choose(reading, case) for reading in corners(prior)):
        other |= {corner.regime} - {here.regime} | {corner.order[0]} - {here.order[0]}
    return here, other


def disagrees(choice: Choice, case: Case) -> bool:
    """Whether the deep probe contradicts the side that mean p chose."""
    if choice.order[0] != "nll":
        return case.improbable == "learnable"
    return case.improbable == "noise" and case.may_lean and choice.why != "all known"


def is_settled(prior: Prior, kind: str | None = None) -> bool:
    """Whether more examples would change nothing, greedy or sampled."""
    kind = kind or prior.model["kind"]
    cases = (case_of(temperature=t, kind=kind) for t in (0.0, 1.0))
    return not any(choices(prior, case)[1] for case in cases)
