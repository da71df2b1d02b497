"""The decision: a prior and a decoding temperature in, ranked objectives with the reason out.

Pure, and free of torch. This is a first rule, read off published results; its numbers are not fitted:

- **Regime.** Published mean p: math .76 to .81, where prior-leaning objectives win; medicine .50 to .59,
  ties; figfont puzzles .01 to .07, where they destroy the model (Beyond Log Likelihood, arXiv:2510.00526,
  Tables 1 to 3 and 5). The paper gives no cut-offs: ours lie midway between those ranges.
- **Decoding.** The strong wins were scored on sampled answers, the ties and losses on greedy ones. Leaning
  on the prior sharpens; under greedy decoding random noise in the demonstrations hardly moves the mode.
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
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from advisor.objectives import OBJECTIVES

if TYPE_CHECKING:
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
HETEROGENEOUS = 0.15
"""Standard deviation of mean p between examples from which the data count as a mixture."""
UNLIKELY = 0.05
"""Mean p of the turn terminator or template tokens below which a weight of p hardly trains them."""
MEASURED_SIZES = (5e8, 3.3e10)
"""Parameters of the models in the published comparisons."""
FEW_EXAMPLES = 500
"""Examples below which a comparison of objectives is hard to resolve."""

STRONG_REGIME, MIDDLE_REGIME, WEAK_REGIME = "model-strong", "model-intermediate", "model-weak"


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Something the user should know before acting."""

    code: str
    """Stable identifier."""
    text: str
    """One sentence, with the remedy where there is one."""


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

    def next_command(self, model: str, dataset: str) -> str:
        """The command that uses the answer, or that would settle it."""
        pair = model if model == dataset else f"{model} {dataset}"
        if self.decided:
            return f"advisor train {pair} --objective {self.recommended}"
        return f"advisor confirm {pair} --temperature {self.temperature:g}"

    def to_dict(self) -> dict[str, Any]:
        """The machine-readable answer; its keys are a contract."""
        model, dataset = self.prior.model["name"], self.prior.dataset["name"]
        answer = {
            "schema": SCHEMA,
            "model": model,
            "dataset": dataset,
            "next": self.next_command(model, dataset),
        }
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        own["ranking"] = [asdict(arm) for arm in self.ranking]
        own["warnings"] = [asdict(warning) for warning in self.warnings]
        return {**answer, **own, "prior": self.prior.to_dict()}


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """The statistics that the rule looks at, and nothing else."""

    mean_p: float
    conflict_share: float
    ignorance_share: float
    dispersion: float
    p_eos: float | None = None

    @property
    def regime(self) -> str:
        if self.mean_p >= STRONG:
            return STRONG_REGIME
        return WEAK_REGIME if self.mean_p < WEAK else MIDDLE_REGIME


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
_LEARNING = ("nll", "cadft", "neg_p", "p_pow", "threshold")


_WHY = {
    "unknown": "the model finds the targets improbable: an objective that leans on its prior would skip "
    "what there is to learn",
    "half noise": "the model knows about half of it and contradicts most of what it finds improbable, "
    "which looks like noise; published cells of this kind are near-ties",
    "half known": "the model knows about half of it; published cells of this kind are near-ties, "
    "and nll is the safe side",
    "all known": "the model already expects nearly every target, so the objectives have nothing to "
    "disagree about: expect a tie",
    "instruct": "the model is strong on the data, but instruct and thinking models lost from "
    "prior-leaning objectives where base models gained",
    "sampled": "the model already expects most targets and its answers will be sampled: leaning on its "
    "prior ignores the improbable ones, noise more often than not",
    "conflict": "the model is sure of something else where it finds a target improbable; if those targets "
    "repeat an error leaning on the prior keeps it out, otherwise greedy decoding leaves a tie",
    "greedy": "the model is strong on the data and will be decoded greedily: expect a tie",
}


def _choose(reading: _Reading, *, sampled: bool, kind: str, measured_size: bool) -> _Choice:
    """The rule at one reading: regime, order of the arms, whether the evidence decides, and why."""
    if reading.regime == WEAK_REGIME:
        return _Choice(WEAK_REGIME, _LEARNING, True, "unknown")
    if reading.regime == STRONG_REGIME:
        return _choose_strong(reading, sampled=sampled, kind=kind, measured_size=measured_size)
    if sampled and kind != "instruct" and reading.conflict_share > reading.ignorance_share:
        return _Choice(MIDDLE_REGIME, _leaning(reading), False, "half noise")
    return _Choice(MIDDLE_REGIME, _CAUTIOUS, False, "half known")


def _choose_strong(reading: _Reading, *, sampled: bool, kind: str, measured_size: bool) -> _Choice:
    """The strong end, where decoding, kind of model and the improbable tail decide."""
    if reading.conflict_share + reading.ignorance_share < QUIET_TAIL:
        return _Choice(STRONG_REGIME, _CAUTIOUS, False, "all known")
    if kind == "instruct":
        return _Choice(STRONG_REGIME, _CAUTIOUS, False, "instruct")
    if sampled:
        stops = reading.p_eos is None or reading.p_eos >= UNLIKELY
        decided = kind == "base" and measured_size and stops
        return _Choice(STRONG_REGIME, _leaning(reading), decided, "sampled")
    if reading.conflict_share > reading.ignorance_share:
        return _Choice(STRONG_REGIME, _leaning(reading), False, "conflict")
    return _Choice(STRONG_REGIME, _CAUTIOUS, False, "greedy")


def _corners(prior: Prior) -> Iterator[_Reading]:
    """Readings at the corners of the joint interval; the rule is a set of cut-offs, so they suffice."""
    names = list(prior.bounds)
    for values in itertools.product(*prior.bounds.values()):
        yield _Reading(**dict(zip(names, values, strict=True)))


def _reading(prior: Prior) -> _Reading:
    return _Reading(
        mean_p=prior.mean_p,
        conflict_share=prior.conflict_share,
        ignorance_share=prior.ignorance_share,
        dispersion=prior.dispersion,
        p_eos=prior.p_eos,
    )


def _choices(prior: Prior, *, temperature: float, kind: str) -> tuple[_Choice, bool]:
    """The choice at the estimate, and whether every corner agrees on regime, first arm and decision."""
    low, high = MEASURED_SIZES
    fixed = {
        "sampled": temperature >= SAMPLED,
        "kind": kind,
        "measured_size": low <= prior.model["parameters"] <= high,
    }
    here = _choose(_reading(prior), **fixed)
    key = (here.regime, here.order[0], here.decided)
    corners = (_choose(reading, **fixed) for reading in _corners(prior))
    return here, all((c.regime, c.order[0], c.decided) == key for c in corners)


def is_settled(prior: Prior) -> bool:
    """Whether more examples would change nothing, greedy or sampled."""
    return all(_choices(prior, temperature=t, kind=prior.model["kind"])[1] for t in (0.0, 1.0))


def recommend(prior: Prior, *, temperature: float, kind: str | None = None) -> Recommendation:
    """Rank the objectives for a measured prior.

    Args:
        prior: what `measure_prior` found.
        temperature: how the fine-tuned model will be decoded, 0 for greedy.
        kind: "base" or "instruct"; by default what the model's name says.
    """
    kind = kind or prior.model["kind"]
    choice, settled = _choices(prior, temperature=temperature, kind=kind)
    decided = choice.decided and settled
    return Recommendation(
        regime=choice.regime,
        recommended=choice.order[0],
        decided=decided,
        settled=settled,
        temperature=temperature,
        kind=kind,
        ranking=tuple(
            RankedObjective(objective=name, parameters=OBJECTIVES[name].settings)
            for name in choice.order
        ),
        reason=f"Mean p is {prior.mean_p:.2f}: {_WHY[choice.why]}.",
        warnings=tuple(_cautions(prior, choice, settled=settled, kind=kind)),
        prior=prior,
    )


def _cautions(prior: Prior, choice: _Choice, *, settled: bool, kind: str) -> Iterator[Caution]:
    leans = OBJECTIVES[choice.order[0]].leaning == "prior-leaning"
    yield from _cautions_about_evidence(prior, choice, settled=settled, kind=kind)
    for name, p in (("end of a turn", prior.p_eos), ("template's own tokens", prior.p_template)):
        if p is not None and p < UNLIKELY:
            code = "terminator_unlikely" if name.startswith("end") else "template_unlikely"
            yield Caution(
                code=code,
                text=f"The model gives the {name} p = {p:.2g}: a weight of p hardly trains "
                + (
                    "it and the model may never learn to stop"
                    if code.startswith("term")
                    else "them"
                )
                + (
                    ". Give the weight a floor, start with nll, or use"
                    if leans
                    else "; nll does. Otherwise use"
                )
                + " a template the model knows.",
            )
    if prior.p_eos is None:
        yield Caution(
            code="no_terminator",
            text="No target ends a turn: whatever the objective, the model will not learn when to stop.",
        )
    yield from _cautions_about_data(prior)


def _cautions_about_evidence(
    prior: Prior, choice: _Choice, *, settled: bool, kind: str
) -> Iterator[Caution]:
    if not settled:
        yield Caution(
            code="not_settled",
            text=f"Within the sampling error of {prior.examples} examples the answer could be another one: "
            "see the interval of mean p, or measure more with --exact.",
        )
    low, high = MEASURED_SIZES
    size = prior.model["parameters"]
    if not low <= size <= high:
        yield Caution(
            code="outside_evidence",
            text="The published comparisons used models of 0.5 to 32 billion parameters; "
            f"this one has {size:,}: the cut-offs may not carry over.",
        )
    if kind == "unknown" and choice.regime != WEAK_REGIME:
        yield Caution(
            code="kind_unknown",
            text="The name does not say whether the model is a base or an instruct model, "
            "which matters here: say --model_kind base or instruct.",
        )


def _cautions_about_data(prior: Prior) -> Iterator[Caution]:
    if prior.dispersion >= HETEROGENEOUS:
        yield Caution(
            code="heterogeneous",
            text=f"Examples differ widely (standard deviation of their mean p {prior.dispersion:.2f}): "
            "the data may be a mixture, for which one answer is an average.",
        )
    rows = prior.dataset["rows"]
    if rows < FEW_EXAMPLES:
        yield Caution(
            code="few_examples",
            text=f"{rows} examples are few: differences between objectives will be hard to see.",
        )
    seen = prior.examples + prior.dropped
    if prior.truncated > 0.05 * seen:
        yield Caution(
            code="truncated",
            text=f"{prior.truncated} of {seen} examples were cut at {prior.dataset['max_length']} tokens, "
            f"{prior.dropped} lost all their targets: raise --max_length where the model's context allows.",
        )
