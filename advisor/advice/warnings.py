"""What the user should know before acting on an answer: a code and a sentence each, with the remedy."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advisor.advice.calibration import Domain
    from advisor.prior.deep import Deep
    from advisor.prior.prior import Prior

HETEROGENEOUS = 0.15
"""Standard deviation of mean p between examples from which the data count as a mixture."""
UNLIKELY = 0.05
"""Mean p of the turn terminator or template tokens below which a weight of p hardly trains them."""
MEASURED_SIZES = (1.4e9, 8.2e9)
"""Parameters of the models whose mean p was published."""
FEW_EXAMPLES = 500
"""Examples below which a comparison of objectives is hard to resolve."""


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Something the user should know before acting."""

    code: str
    """Stable identifier."""
    text: str
    """One sentence, with the remedy where there is one."""


def cautions(
    prior: Prior,
    deep: Deep | None = None,
    *,
    kind: str,
    regime: str,
    other: Collection[str],
    disagrees: bool,
    basis: Domain = "published",
    doubted: bool = False,
) -> Iterator[Caution]:
    """Everything to be said of an answer.

    Args:
        prior: what was measured.
        deep: what the deep probe found, if it was run.
        kind: "base", "instruct" or "unknown".
        regime: the answer's.
        other: in what the answer could differ within the sampling error.
        disagrees: whether the deep probe contradicts the side that mean p chose.
        basis: cells of which kind decided.
        doubted: whether the forecast would have chosen the other side.
    """
    yield from _about_evidence(prior, regime, other=other, kind=kind)
    yield from _about_forecast(prior, basis, doubted=doubted)
    if deep is not None:
        yield from _about_deep(deep, disagrees=disagrees)
    if prior.p_eos is None:
        yield Caution(
            code="no_terminator",
            text="No target ends a turn: whatever the objective, the model will not learn when to stop.",
        )
    elif prior.p_eos < UNLIKELY:
        yield Caution(
            code="terminator_unlikely",
            text=f"The model gives the end of a turn p = {prior.p_eos:.2g}: an objective weighted by p "
            "hardly trains it, and the model may never learn to stop. " + _REMEDY,
        )
    if prior.p_template is not None and prior.p_template < UNLIKELY:
        yield Caution(
            code="template_unlikely",
            text=f"The model gives the template's own tokens p = {prior.p_template:.2g}: an objective "
            "weighted by p hardly trains them. " + _REMEDY,
        )
    yield from _about_data(prior)


_REMEDY = (
    "Remedies: a weight with a floor (objective floored_dft), some steps of nll first, or a template "
    "whose tokens the model knows."
)


def _about_evidence(
    prior: Prior, regime: str, *, other: Collection[str], kind: str
) -> Iterator[Caution]:
    if other:
        everything = prior.examples + prior.dropped >= prior.dataset["rows"]
        yield Caution(
            code="not_settled",
            text=f"Within the sampling error of {prior.examples} example(s) the answer could also be "
            f"{' or '.join(sorted(other))}: "
            + ("the dataset is too small to tell." if everything else "measure more with --exact."),
        )
    if regime == "model-weak":
        yield Caution(
            code="weak",
            text="Where a stronger model with the same vocabulary is at hand, `advisor distill MODEL DATASET "
            "--teacher TEACHER --output_dir OUT` trains on the model's own answers instead of these targets; "
            "`advisor confirm MODEL DATASET --teacher TEACHER` compares the two.",
        )
    if kind == "unknown" and regime != "model-weak":
        yield Caution(
            code="kind_unknown",
            text="Nothing says whether the model is a base or an instruct model, "
            "which matters here: say --model_kind base or instruct.",
        )


def _about_forecast(prior: Prior, basis: Domain, *, doubted: bool) -> Iterator[Caution]:
    low, high = MEASURED_SIZES
    size = prior.model["parameters"]
    if basis == "ladder":
        yield Caution(
            code="measured_small",
            text="The forecast was fitted on models under a million parameters that answer made-up problems "
            "letter by letter: on other data it may be off by more than it says.",
        )
    elif basis == "user":
        yield Caution(
            code="own_records",
            text="The forecast rests on your own records of this dataset: another way of training or scoring "
            "it may answer otherwise.",
        )
    elif not low <= size <= high:
        yield Caution(
            code="outside_evidence",
            text="Mean p was published for models of 1.5 to 8 billion parameters; "
            f"this one has {size:,}: the cut-offs may not carry over.",
        )
    if doubted:
        yield Caution(
            code="forecast_disagrees",
            text="The rule of published results takes one side and the forecast from mean p the other: "
            "only scored answers will tell.",
        )


def _about_data(prior: Prior) -> Iterator[Caution]:
    if prior.dispersion >= HETEROGENEOUS:
        yield Caution(
            code="heterogeneous",
            text=f"Examples differ widely (standard deviation of their mean p {prior.dispersion:.2f}): "
            "the data may be a mixture, for which one answer is an average. `advisor validate MODEL DATASET "
            "--scores FILE` finds the worst rows, `advisor train MODEL DATASET --objective cadft --resample "
            "--output_dir OUT` has the model mend them while it trains.",
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
            f"{prior.dropped} have no target left: raise --max_length where the model's context allows.",
        )


_LOOKS = {
    "learnable": "carry over to held-out examples after a short NLL run and their gradients agree: they look "
    "like something to learn",
    "noise": "hardly carry over to held-out examples after a short NLL run and their gradients disagree: "
    "they look like noise",
}


def _about_deep(deep: Deep, *, disagrees: bool) -> Iterator[Caution]:
    if deep.reading is None:
        yield Caution(
            code="deep_silent",
            text="The deep probe found too few improbable targets to say what they are.",
        )
        return
    if disagrees:
        yield Caution(
            code="deep_disagrees",
            text=f"The improbable targets {_LOOKS[deep.reading]}, which contradicts what mean p suggests: "
            "only scored answers will tell.",
        )
    text = "Recovery and coherence were studied on models of 0.8M parameters only. "
    if deep.reading == "noise":
        text += (
            "A run too short or too gentle for what there is to learn looks the same, and so does free text "
            "that could go on in many ways: leaning on the prior makes it less diverse."
        )
    else:
        text += (
            "A systematic error in the demonstrations and a new convention look alike to both: only trusted "
            "answers tell them apart."
        )
    yield Caution(code="deep_uncalibrated", text=text)
