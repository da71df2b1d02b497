"""The decision: a prior and a decoding temperature in, ranked objectives with the reason out.

Pure, and free of torch. This is a first rule, read off published results; its numbers are not fitted:

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

Gains are null until they are calibrated: no number here is a forecast.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from advisor.cautions import HETEROGENEOUS, MEASURED_SIZES, UNLIKELY, Caution, cautions
from advisor.objectives import OBJECTIVES

if TYPE_CHECKING:
    from advisor.deep import Deep, Reading
    from advisor.prior import Prior
    from advisor.sequential import Interval

SCHEMA = 1
STRONG = (0.59 + 0.76) / 2
"""Mean p from which a pair is model-strong: midway between the published medical and math cells."""
WEAK = (0.07 + 0.50) / 2
"""Mean p below which a pair is model-weak: midway between the published figfont and medical cells."""
SAMPLED = 0.5
"""Temperature from which decoding counts as sampled."""
QUIET_TAIL = 0.01
"""Share of improbable tokens below which the objectives have nothing to disagree about."""
KNOWN_WEAK = 0.1
"""Mean p below which published cells lie (.01 to .07) and nll is decided; none lies from there to .50."""
KNOWN_MIDDLE = 0.5
"""Mean p from which published intermediate cells lie."""
MEASURED_EXAMPLES = 10_000
"""Training examples of the smallest set on which a prior-leaning objective won at the strong end."""

STRONG_REGIME, MIDDLE_REGIME, WEAK_REGIME = "model-strong", "model-intermediate", "model-weak"


@dataclass(frozen=True, kw_only=True)
class RankedObjective:
    """One arm, best first in the list."""

    objective: str
    """Name in the table of objectives."""
    parameters: Mapping[str, float]
    """The parameters it is recommended with."""
    predicted_gain: float | None = None
    """Points over `nll`; null until calibrated."""
    interval: Interval | None = None
    """95 % interval of the gain; null until calibrated."""
    p_best: float | None = None
    """Probability of being the best arm; null until calibrated."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which objective to train with, and whether to believe it."""

    regime: str
    """"model-strong", "model-intermediate" or "model-weak", in the paper's words."""
    recommended: str
    """The objective of least expected regret."""
    decided: bool
    """Whether the evidence suffices to act without confirming."""
    settled: bool
    """Whether the same answer holds everywhere in the joint interval of the prior."""
    temperature: float
    """How the model will be decoded; 0 is greedy."""
    kind: str
    """"base", "instruct" or "unknown": what the model was taken for."""
    ranking: Sequence[RankedObjective]
    """All arms, best first."""
    reason: str
    """Why, in one sentence."""
    warnings: Sequence[Caution] = field(default_factory=tuple)
    """What may make it wrong."""
    prior: Prior
    """What was measured."""
    deep: Deep | None = None
    """What the deep probe found, where it was run."""

    def next_command(self, pair: str) -> str:
        """The command that uses the answer, or that would settle it; `pair` is MODEL DATASET [flags]."""
        if self.decided:
            return f"advisor train {pair} --objective {self.recommended} --output_dir DIR"
        return f"advisor confirm {pair} --temperature {self.temperature:g}"

    def to_dict(self) -> dict[str, Any]:
        """The machine-readable answer; its keys are a contract."""
        model, dataset = self.prior.model["name"], self.prior.dataset["name"]
        answer = {
            "schema": SCHEMA,
            "model": model,
            "dataset": dataset,
            "next": self.next_command(f"{model} {dataset}"),
        }
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        own["ranking"] = [asdict(arm) for arm in self.ranking]
        own["warnings"] = [asdict(warning) for warning in self.warnings]
        own["deep"] = self.deep.to_dict() if self.deep else None
        return {**answer, **own, "prior": self.prior.to_dict()}


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """The statistics that the rule looks at, and nothing else."""

    mean_p: float
    conflict_share: float
    ignorance_share: float
    dispersion: float
    p_eos: float | None = None
    p_template: float | None = None

    @property
    def contradicts(self) -> bool:
        """Whether most of what the model finds improbable it is sure to be otherwise."""
        return self.conflict_share > self.ignorance_share

    @property
    def learns_format(self) -> bool:
        """Whether a weight of p trains the end of a turn and the template's tokens."""
        return all(p is None or p >= UNLIKELY for p in (self.p_eos, self.p_template))

    @property
    def regime(self) -> str:
        if self.mean_p >= STRONG:
            return STRONG_REGIME
        return WEAK_REGIME if self.mean_p < WEAK else MIDDLE_REGIME


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What the rule takes as given beside the reading."""

    sampled: bool
    kind: str
    measured: bool
    """Whether published results cover such a model and dataset."""
    improbable: Reading | None = None
    """What the deep probe says of the improbable targets."""

    @property
    def may_lean(self) -> bool:
        """Whether leaning on the prior ever won where a model is used so."""
        return self.sampled and self.kind != "instruct"


@dataclass(frozen=True)
class _Choice:
    """What the rule says at one reading."""

    regime: str
    order: tuple[str, ...]
    decided: bool
    why: str


def _leaning(reading: _Reading) -> tuple[str, ...]:
    """Prior-leaning arms, best first, `nll` last."""
    if reading.dispersion >= HETEROGENEOUS:
        return ("cadft", "neg_p", "threshold", "p_pow", "nll")
    return ("neg_p", "threshold", "cadft", "p_pow", "nll")


_CAUTIOUS = ("nll", "threshold", "neg_p", "cadft", "p_pow")
_LEARNING = ("nll", "neg_p", "cadft", "p_pow", "threshold")


_WHY = {
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


def _choose(reading: _Reading, case: _Case) -> _Choice:
    """The rule at one reading: regime, order of the arms, whether the evidence decides, and why."""
    if reading.regime == WEAK_REGIME:
        known = reading.mean_p < KNOWN_WEAK
        return _Choice(WEAK_REGIME, _LEARNING, known, "unknown" if known else "rather unknown")
    if reading.regime == STRONG_REGIME:
        return _choose_strong(reading, case)
    return _choose_middle(reading, case)


def _choose_middle(reading: _Reading, case: _Case) -> _Choice:
    """Between the ends nothing is decided; what the improbable targets are tips the balance."""
    if case.improbable == "learnable":
        return _Choice(MIDDLE_REGIME, _CAUTIOUS, False, "half learnable")
    # Free text reads as noise too: what could be said in many ways carries over to no other example. The
    # model is unsure there; where it is sure of something else, the target is the odd one.
    if case.improbable == "noise" and case.may_lean and reading.contradicts:
        return _Choice(MIDDLE_REGIME, _leaning(reading), False, "half noisy")
    if reading.mean_p < KNOWN_MIDDLE:
        return _Choice(MIDDLE_REGIME, _CAUTIOUS, False, "rather unknown")
    if case.may_lean and reading.contradicts:
        return _Choice(MIDDLE_REGIME, _leaning(reading), False, "half noise")
    return _Choice(MIDDLE_REGIME, _CAUTIOUS, False, "half known")


def _choose_strong(reading: _Reading, case: _Case) -> _Choice:
    """The strong end, where decoding, kind of model and the improbable tail decide."""
    if reading.conflict_share + reading.ignorance_share < QUIET_TAIL:
        return _Choice(STRONG_REGIME, _CAUTIOUS, False, "all known")
    if case.kind == "instruct":
        return _Choice(STRONG_REGIME, _CAUTIOUS, False, "instruct")
    if case.sampled:
        why = "sampled" if reading.contradicts else "gaps"
        decided = case.measured and reading.contradicts and reading.learns_format
        return _Choice(STRONG_REGIME, _leaning(reading), decided, why)
    if reading.contradicts:
        return _Choice(STRONG_REGIME, _leaning(reading), False, "conflict")
    return _Choice(STRONG_REGIME, _CAUTIOUS, False, "greedy")


def _corners(prior: Prior) -> Iterator[_Reading]:
    """Readings at the corners of the joint interval; the rule is a set of cut-offs, so they suffice."""
    names = list(prior.bounds)
    for values in itertools.product(*prior.bounds.values()):
        yield _Reading(**dict(zip(names, values, strict=True)))


def _reading(prior: Prior) -> _Reading:
    return _Reading(**{field.name: getattr(prior, field.name) for field in fields(_Reading)})


def _case(prior: Prior, *, temperature: float, kind: str, deep: Deep | None = None) -> _Case:
    low, high = MEASURED_SIZES
    measured = (
        kind == "base"
        and low <= prior.model["parameters"] <= high
        and prior.dataset["rows"] >= MEASURED_EXAMPLES
    )
    return _Case(
        sampled=temperature >= SAMPLED,
        kind=kind,
        measured=measured,
        improbable=deep.reading if deep else None,
    )


def _choices(prior: Prior, case: _Case) -> tuple[_Choice, set[str]]:
    """The choice at the estimate, and in what the corners of the joint interval differ from it."""
    here = _choose(_reading(prior), case)
    other: set[str] = set()
    for corner in (_choose(reading, case) for reading in _corners(prior)):
        other |= {corner.regime} - {here.regime} | {corner.order[0]} - {here.order[0]}
        if corner.decided != here.decided:
            other.add("decided" if corner.decided else "undecided")
    return here, other


def _disagrees(choice: _Choice, case: _Case) -> bool:
    """Whether the deep probe contradicts the side that mean p chose."""
    if choice.order[0] != "nll":
        return case.improbable == "learnable"
    return case.improbable == "noise" and case.may_lean and choice.why != "all known"


def is_settled(prior: Prior, kind: str | None = None) -> bool:
    """Whether more examples would change nothing, greedy or sampled."""
    kind = kind or prior.model["kind"]
    cases = (_case(prior, temperature=t, kind=kind) for t in (0.0, 1.0))
    return not any(_choices(prior, case)[1] for case in cases)


def recommend(
    prior: Prior, deep: Deep | None = None, *, temperature: float, kind: str | None = None
) -> Recommendation:
    """Rank the objectives for a measured prior.

    The deep probe tips the balance in the intermediate regime; elsewhere it can only take a decision back.

    Args:
        prior: what `measure_prior` found.
        deep: what `harness.deep.measure_deep` found, if it was run.
        temperature: how the fine-tuned model will be decoded, 0 for greedy.
        kind: "base" or "instruct"; by default what the model's name says.
    """
    kind = kind or prior.model["kind"]
    case = _case(prior, temperature=temperature, kind=kind, deep=deep)
    choice, other = _choices(prior, case)
    settled, disagrees = not other, _disagrees(choice, case)
    found = cautions(prior, deep, kind=kind, regime=choice.regime, other=other, disagrees=disagrees)
    return Recommendation(
        regime=choice.regime,
        recommended=choice.order[0],
        decided=choice.decided and settled and not disagrees,
        settled=settled,
        temperature=temperature,
        kind=kind,
        ranking=tuple(
            RankedObjective(objective=name, parameters=OBJECTIVES[name].settings)
            for name in choice.order
        ),
        reason=f"Mean p is {prior.mean_p:.2f}: {_WHY[choice.why]}.",
        warnings=tuple(found),
        prior=prior,
        deep=deep,
    )
