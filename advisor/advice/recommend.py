"""The decision: a prior and a decoding temperature in, ranked objectives with the reason out.

Pure, and free of torch. Where cells like the pair were measured (the ladder's sizes, the user's own records)
the calibrated forecast decides (see `forecast`). Elsewhere the rule of published results does (see `rule`),
and the forecast from mean p can only take a decision back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from advisor.advice.calibration import Calibration, Cell, Domain, Pair, decoding, shipped
from advisor.advice.features import features
from advisor.advice.forecast import BOUND, NLL, Forecast
from advisor.advice.published_rule import (
    WHY,
    Choice,
    case_of,
    choices,
    corners,
    disagrees,
    statistics_of,
)
from advisor.advice.warnings import Caution, cautions
from advisor.objectives.table import OBJECTIVES

if TYPE_CHECKING:
    from advisor.prior.deep import Deep
    from advisor.prior.intervals import Interval
    from advisor.prior.prior import Prior

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class RankedObjective:
    """One arm, best first in the list."""

    objective: str
    """Name in the table of objectives."""
    parameters: Mapping[str, float]
    """The parameters it is recommended with."""
    predicted_gain: float
    """Expected points over `nll`."""
    interval: Interval
    """95 % interval of the gain."""
    p_best: float
    """Probability of being the best arm."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which objective to train with, and whether to believe it."""

    basis: Domain
    """"ladder" or "user": the forecast from such cells decides; "published": the rule does."""
    regret: float
    """Expected points lost by the side recommended, NLL or leaning on the prior, were it the wrong one."""
    nearest: Sequence[Cell]
    """Cells with the most similar mean p and size."""
    regime: str
    """"model-strong", "model-intermediate" or "model-weak", in the paper's words."""
    recommended: str
    """The objective of least expected regret."""
    decided: bool
    """Whether the evidence suffices to act without confirming."""
    settled: bool
    """Whether the same answer holds everywhere in the intervals of the prior."""
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

    def __str__(self) -> str:
        """The answer, its reason, the expected gains and what may make it wrong, a line each."""
        best = OBJECTIVES[self.recommended].with_parameters(**self.ranking[0].parameters)
        verdict = "decided" if self.decided else "not decided: confirm first"
        decoding = "greedily" if self.temperature == 0 else f"at temperature {self.temperature:g}"
        gains = (
            f"{arm.objective} {arm.predicted_gain:+.1f} ({arm.interval[0]:+.0f} to {arm.interval[1]:+.0f})"
            for arm in self.ranking
            if arm.objective != NLL
        )
        lines = (
            f"{best.label}, {verdict} ({self.regime}, decoded {decoding})",
            self.reason,
            f"Expected points over nll, 95 % interval: {', '.join(gains)}",
            *(f"! {warning.text}" for warning in self.warnings),
        )
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))

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
        own["nearest"] = [{**asdict(cell), "mean_p": cell.mean_p} for cell in self.nearest]
        own["warnings"] = [asdict(warning) for warning in self.warnings]
        own["deep"] = self.deep.to_dict() if self.deep else None
        return {**answer, **own, "prior": self.prior.to_dict()}


def _by_forecast(
    prior: Prior, deep: Deep | None, known: Calibration, pair: Pair, here: Forecast
) -> tuple[Choice, set[str]]:
    """The choice of the forecast, and in what the corners of the intervals differ from it."""
    reading, other = statistics_of(prior), set()
    statistics, further = prior.to_dict(), deep.to_dict() if deep else None
    for corner in corners(prior):
        moved = {**statistics, **asdict(corner), "share_p_below_0.1": corner.share_below}
        there = known.forecast(replace(pair, features=features(moved, further)))
        if (there.recommended == NLL) != (here.recommended == NLL):
            other.add(_name(there.recommended))
        elif there.decided != here.decided:
            other.add("decided" if there.decided else "undecided")
    order = tuple(map(_name, here.ranking))
    decided = here.decided and (order[0] == NLL or reading.learns_format)
    low, high = here.intervals[next(arm for arm in here.ranking if arm != NLL)]
    why = f"by measured cells leaning on the prior gains {low:+.0f} to {high:+.0f} points over nll"
    return Choice(reading.regime, order, decided, why), other


def _name(label: str) -> str:
    """The name in the table of objectives that a label begins with."""
    return label.partition("(")[0]


def _ranked(name: str, forecast: Forecast) -> RankedObjective:
    label = OBJECTIVES[name].label
    return RankedObjective(
        objective=name,
        parameters=OBJECTIVES[name].settings,
        predicted_gain=forecast.gains[label],
        interval=forecast.intervals[label],
        p_best=forecast.p_best[label],
    )


def _doubts(choice: Choice, forecast: Forecast) -> bool:
    """Whether the forecast of -p, the arm that was published, speaks against the side the rule took."""
    gain = forecast.gains["neg_p"]
    return gain > BOUND if choice.order[0] == NLL else gain < -BOUND


def recommend(
    prior: Prior, deep: Deep | None = None, *, temperature: float, kind: str | None = None,
    calibration: Calibration | None = None,
) -> Recommendation:  # fmt: skip
    """Rank the objectives for a measured prior.

    Args:
        prior: what `measure_prior` found.
        deep: what `harness.deep_probe.measure_deep.measure_deep` found, if it was run.
        temperature: how the fine-tuned model will be decoded, 0 for greedy.
        kind: "base" or "instruct"; by default what the model's files say.
        calibration: cells and fits; by default the shipped ones.
    """
    kind = kind or prior.model["kind"]
    known = calibration or shipped()
    pair = Pair(
        features=features(prior.to_dict(), deep.to_dict() if deep else None),
        parameters=prior.model["parameters"],
        decoding=decoding(temperature),
        kind=kind,
        model=str(prior.model.get("fingerprint", "")),
        dataset=str(prior.dataset.get("fingerprint", "")),
    )
    basis, forecast = known.basis(pair), known.forecast(pair)
    if basis == "published":
        case = case_of(prior, temperature=temperature, kind=kind, deep=deep)
        choice, other = choices(prior, case)
        doubted, refuted = _doubts(choice, forecast), disagrees(choice, case)
    else:
        choice, other = _by_forecast(prior, deep, known, pair, forecast)
        doubted = refuted = False
    found = cautions(
        prior, deep, kind=kind, regime=choice.regime, other=other, disagrees=refuted, basis=basis,
        doubted=doubted,
    )  # fmt: skip
    return Recommendation(
        regime=choice.regime,
        recommended=choice.order[0],
        decided=choice.decided and not (other or refuted or doubted),
        settled=not other,
        temperature=temperature,
        kind=kind,
        ranking=tuple(_ranked(name, forecast) for name in choice.order),
        basis=basis,
        regret=forecast.regrets[OBJECTIVES[choice.order[0]].label],
        nearest=known.nearest(pair),
        reason=f"Mean p is {prior.mean_p:.2f}: {WHY.get(choice.why, choice.why)}.",
        warnings=tuple(found),
        prior=prior,
        deep=deep,
    )
