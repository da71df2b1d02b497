"""The answer: a prior and a decoding temperature in, a plan of runs with what is expected of it out.

Pure, and free of torch. What to do is the plan (see `plan`). What is expected of single objectives stands
beside it: where cells like the pair were measured (the ladder's sizes, the user's own records) the calibrated
forecast (see `forecast`), elsewhere the rule of published results (see `published_rule`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from advisor.advice.calibration import Calibration, Cell, Domain, Pair, decoding, shipped
from advisor.advice.features import features
from advisor.advice.forecast import BOUND, NLL, Forecast
from advisor.advice.machines import Machine
from advisor.advice.plan import Plan, cannot_choose, make_plan
from advisor.advice.plan_words import facts
from advisor.advice.published_rule import (
    WHY,
    Choice,
    case_of,
    choices,
    corners,
    disagrees,
    statistics_of,
)
from advisor.advice.replayed import PlannedRun, Replay
from advisor.advice.replayed import shipped as shipped_replay
from advisor.advice.warnings import MEASURED_SIZES, Caution, cautions
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
    """Which runs to make, and what is expected of them."""

    plan: Plan
    """What to run, how to choose, what it costs and may lose."""
    basis: Domain
    """"ladder" or "user": the forecast from such cells decides; "published": the rule does."""
    regret: float
    """Expected points lost by the side of the first of `ranking`, NLL or leaning, were it the wrong one."""
    nearest: Sequence[Cell]
    """Cells with the most similar mean p and size."""
    published: Sequence[Cell]
    """Published comparisons of -p with NLL on models of this kind, decoded in this way or in one not told."""
    regime: str
    """"model-strong", "model-intermediate" or "model-weak", in the paper's words."""
    recommended: str
    """The objective of `plan.alone`, the one run for where nothing can be scored.

    It is the first of `ranking` where the user's own records or published results are the nearest evidence,
    else the best single run of the replay.
    """
    decided: bool
    """Whether the chance of losing more than five points by acting on the plan is below a tenth."""
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
    words: str = ""
    """MODEL DATASET with the flags that say how they are read, as a shell takes them; empty: their names."""

    def next_command(self, pair: str) -> str:
        """The command that carries the plan out; `pair` is MODEL DATASET [flags]."""
        tasks = " --tasks TASK" if cannot_choose(self.prior) else ""
        return f"advisor confirm {pair} --temperature {self.temperature:g} --plan {self.plan.name}{tasks}"

    def __str__(self) -> str:
        """The plan, what is expected of it and what may make it wrong, a line each."""
        lines = (f"{name.strip()}: {text}" for name, text in self.facts())
        return "\n".join((*lines, *(f"! {warning.text}" for warning in self.warnings)))

    def facts(self) -> list[tuple[str, str]]:
        """What a person is told, a word and a text a line."""
        return facts(
            self.plan,
            self.prior,
            regime=self.regime,
            temperature=self.temperature,
            published=self.published,
            rates=None if self.deep is None else self.deep.pass_rates,
        )

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
            "next": self.next_command(self.words or shlex.join(dict.fromkeys((model, dataset)))),
        }
        own = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "words"}
        own["ranking"] = [asdict(arm) for arm in self.ranking]
        for name in ("nearest", "published"):
            own[name] = [{**asdict(cell), "mean_p": cell.mean_p} for cell in own[name]]
        own["warnings"] = [asdict(warning) for warning in self.warnings]
        own["deep"] = self.deep.to_dict() if self.deep else None
        own["plan"] = asdict(self.plan)
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
    order = tuple(map(_name, here.ranking))
    low, high = here.intervals[next(arm for arm in here.ranking if arm != NLL)]
    gain = f"{low:+.0f} to {high:+.0f} points over nll"
    why = f"measured cells suggest that leaning on the prior gains {gain}"
    return Choice(reading.regime, order, why), other


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
    calibration: Calibration | None = None, replay: Replay | None = None, machine: Machine | None = None,
) -> Recommendation:  # fmt: skip
    """The plan for a measured prior, and what is expected of each objective.

    Args:
        prior: what `measure_prior` found.
        deep: what `harness.deep_probe.measure_deep.measure_deep` found, if it was run.
        temperature: how the fine-tuned model will be decoded, 0 for greedy.
        kind: "base" or "instruct"; by default what the model's files say.
        calibration: cells and fits; by default the shipped ones.
        replay: plans and what they lost; by default the shipped one.
        machine: another one on which to say what the plan takes.

    Raises:
        InputError: a machine, and a prior of an earlier version, which does not know how long rows are.
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
        case = case_of(temperature=temperature, kind=kind, deep=deep)
        choice, other = choices(prior, case)
        doubted, refuted = _doubts(choice, forecast), disagrees(choice, case)
    else:
        choice, other = _by_forecast(prior, deep, known, pair, forecast)
        doubted = refuted = False
    found = cautions(
        prior, deep, kind=kind, regime=choice.regime, other=other, disagrees=refuted, basis=basis,
        doubted=doubted,
    )  # fmt: skip
    plans = replay or shipped_replay()
    plan = make_plan(
        prior,
        plans,
        temperature=temperature,
        decoding="sampled" if pair.decoding == "sampled" else "greedy",
        measured=plans.measured(pair.parameters) and basis != "published",
        alone=_run_of(choice.order[0]) if _by_rule(basis, pair) else None,
        machine=machine,
    )
    return Recommendation(
        plan=plan,
        regime=choice.regime,
        recommended=plan.alone.objective,
        decided=plan.decided,
        settled=not other,
        temperature=temperature,
        kind=kind,
        ranking=tuple(_ranked(name, forecast) for name in choice.order),
        basis=basis,
        regret=forecast.regrets[OBJECTIVES[choice.order[0]].label],
        nearest=known.nearest(pair),
        published=known.published(pair),
        reason=f"Mean p is {prior.mean_p:.2f}: {WHY.get(choice.why, choice.why)}.",
        warnings=tuple(found),
        prior=prior,
        deep=deep,
    )


def _by_rule(basis: Domain, pair: Pair) -> bool:
    """Whether the first of the ranking is the run to take where nothing can be scored.

    It is where the nearest evidence says so: the user's own records, and for sampled answers of models of the
    published sizes the published results. Elsewhere the best single run of the replay lost less.
    """
    low, high = MEASURED_SIZES
    published = pair.decoding == "sampled" and low <= pair.parameters <= high
    return basis == "user" or (basis == "published" and published)


def _run_of(name: str) -> PlannedRun:
    """One run of an objective: those that lean on the prior learn at the low rate."""
    return PlannedRun(objective=OBJECTIVES[name].label, rate="high" if name == NLL else "low")
