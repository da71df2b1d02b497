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
"""Mean p of the turn terminator or template tokens below which objectives weighted by p barely train them."""
MEASURED_SIZES = (1.4e9, 8.2e9)
"""Parameters of the models whose mean p was published."""
FEW_EXAMPLES = 500
"""Examples below which a comparison of objectives is hard to resolve."""


MEANINGS = {
    "no_terminator": "No row ends in a token that ends a turn. A model that is trained on such rows writes "
    "on until it is cut off: add the turn's end to the template or the rows.",
    "terminator_unlikely": "The model hardly expects the end of a turn where the rows have it. Objectives "
    "weighted by p learn late or never to stop there, and answers do not end: take nll, or floored_dft.",
    "template_unlikely": "The model hardly expects the words of the chat template. Objectives weighted by "
    "p learn them late or never: take nll, floored_dft, or a template that the model knows.",
    "not_settled": "More examples could put another objective first. The runs of the plan do not hang on "
    "it.",
    "weak": "Mean p is so low that the model can hardly be right by itself. Leaning on the prior learns "
    "nothing here, and a teacher may help.",
    "kind_unknown": "The published rule differs between base and instruct models, and the files do not say "
    "which this is: give --model_kind.",
    "measured_small": "What a plan may lose with a model of this size was measured on models of 0.15M to "
    "0.8M parameters on made-up problems. On other data it may be more.",
    "own_records": "The answer rests on runs of your own (--calibration), and holds for training and "
    "scoring done as these were.",
    "outside_evidence": "The model is smaller or larger than those whose mean p was published.",
    "forecast_disagrees": "Two ways to guess the side that wins, published results and the fit on our "
    "cells, differ. Neither is sure: let scored answers decide.",
    "heterogeneous": "Some examples fit the model far better than others: part of them may be noise, or "
    "another task. Look at the worst rows of `advisor validate MODEL DATASET --scores FILE`.",
    "few_examples": f"With fewer than {FEW_EXAMPLES} rows the objectives differ by less than can be seen.",
    "truncated": "More than one example in twenty is longer than --max_length and loses its end.",
    "deep_silent": "--depth deep found too few improbable targets to judge them.",
    "deep_disagrees": "--depth deep takes the improbable targets for the opposite of what mean p suggests: "
    "let scored answers decide.",
    "deep_uncalibrated": "What --depth deep measures was studied on models of 0.8M parameters alone.",
}
"""Every code with what it means and what to do, for `advisor explain`. Codes are stable: none is renamed."""


@dataclass(frozen=True, kw_only=True)
class Caution:
    """Something the user should know before acting."""

    code: str
    """One of `MEANINGS`."""
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
    yield from _about_evidence(prior, regime, other=other, kind=kind, basis=basis)
    yield from _about_forecast(prior, basis, doubted=doubted)
    if deep is not None:
        yield from _about_deep(deep, disagrees=disagrees)
    yield from _about_improbable(prior)
    yield from _about_data(prior)


_REMEDY = (
    " nll will, and so will a weight with a floor (objective floored_dft); or choose a template whose tokens "
    "the model knows."
)


def _about_improbable(prior: Prior) -> Iterator[Caution]:
    """What objectives weighted by p hardly train; the remedy, which is one for both, is said once."""
    stops = prior.p_eos is None or prior.p_eos >= UNLIKELY
    if prior.p_eos is None:
        yield Caution(
            code="no_terminator",
            text="No target ends a turn: whatever the objective, the model will not learn when to stop.",
        )
    elif not stops:
        yield Caution(
            code="terminator_unlikely",
            text=f"The model gives the end of a turn p = {prior.p_eos:.2g}: objectives weighted by p, cadft "
            f"among them, learn late or never to stop here.{_REMEDY}",
        )
    if prior.p_template is not None and prior.p_template < UNLIKELY:
        yield Caution(
            code="template_unlikely",
            text=f"The model gives the template's own tokens p = {prior.p_template:.2g}: objectives weighted "
            f"by p, cadft among them, learn them late or never.{_REMEDY if stops else ''}",
        )


def _about_evidence(
    prior: Prior, regime: str, *, other: Collection[str], kind: str, basis: Domain
) -> Iterator[Caution]:
    if other:
        everything = prior.examples + prior.dropped >= prior.dataset["rows"]
        yield Caution(
            code="not_settled",
            text=f"{prior.examples} examples are too few to say which objective comes first (--details): it "
            f"could also be {' or '.join(sorted(other))}. The plan's runs stay the same. "
            + (
                "The dataset has no more."
                if everything
                else "Drop --limit, or use --exact, to measure more."
            ),
        )
    if regime == "model-weak":
        yield Caution(
            code="weak",
            text="If you have a stronger model with the same vocabulary, `advisor distill MODEL DATASET "
            "--teacher TEACHER --output_dir OUT` trains on the model's own answers, judged by the teacher. "
            "On the embedded models that was no better than nll: `advisor confirm MODEL DATASET --teacher "
            "TEACHER` compares the two.",
        )
    if kind == "unknown" and regime != "model-weak" and basis == "published":
        yield Caution(
            code="kind_unknown",
            text="Whether this is a base or an instruct model matters here, and its files do not say: "
            "give --model_kind base or instruct.",
        )


def _about_forecast(prior: Prior, basis: Domain, *, doubted: bool) -> Iterator[Caution]:
    low, high = MEASURED_SIZES
    size = prior.model["parameters"]
    if basis == "ladder":
        yield Caution(
            code="measured_small",
            text="What may be lost was measured on models under a million parameters that answer made-up "
            "problems letter by letter: on other data it may be more.",
        )
    elif basis == "user":
        yield Caution(
            code="own_records",
            text="The forecast rests on your own records of this dataset: trained or scored in another way, "
            "another objective may win.",
        )
    elif not low <= size <= high:
        yield Caution(
            code="outside_evidence",
            text="Results are published with a mean p for models of 1.5 to 8 billion parameters; "
            f"this one has {size:,}, and they may not hold for it.",
        )
    if doubted:
        yield Caution(
            code="forecast_disagrees",
            text="Published results and the forecast from mean p disagree on whether leaning on the prior "
            "helps here: only scored answers will tell.",
        )


def _about_data(prior: Prior) -> Iterator[Caution]:
    if prior.dispersion >= HETEROGENEOUS:
        yield Caution(
            code="heterogeneous",
            text=f"Examples differ widely (standard deviation of their mean p {prior.dispersion:.2f}): "
            "some may be noise, or of another task than the rest. `advisor validate MODEL DATASET --scores "
            "FILE` says how well each row fits the model, so that you can look at the worst.",
        )
    rows = prior.dataset["rows"]
    if rows < FEW_EXAMPLES:
        yield Caution(
            code="few_examples",
            text=f"The dataset has only {rows} examples: differences between objectives will be hard to see.",
        )
    seen = prior.examples + prior.dropped
    if prior.truncated > 0.05 * seen:
        yield Caution(
            code="truncated",
            text=f"{prior.truncated} of {seen} examples were cut at {prior.dataset['max_length']} tokens"
            + (f", and {prior.dropped} of these have no target left" if prior.dropped else "")
            + ": raise --max_length if the model's context allows.",
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
