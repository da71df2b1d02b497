"""What a person is told of a plan, a fact a line: a word that it begins with, and a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from advisor.advice.plan import FEW_DOCUMENTS, LIKELY, Alternative, ArmRun, Plan
from advisor.progress import span

if TYPE_CHECKING:
    from advisor.advice.calibration import Cell
    from advisor.advice.machines import Elsewhere
    from advisor.prior.pass_rates import PassRates
    from advisor.prior.prior import Prior

GAUGE = 20
"""Characters of the gauge of mean p."""
NUMBERS = {1: "one run", 2: "two runs", 3: "three runs"}
ALL_LOSE = (
    "If no run beats the untouched model, keep that one, and look at the rows and at its answers."
)
GLOSSES = {
    "p_anneal": "begins as nll, ends as -p",
    "cadft": "-p, and examples that fit badly count less",
    "p_pow": "between nll and -p",
}
"""What objectives of a plan do, for whom their names say nothing."""
NEAR = 0.15
"""Difference of mean p up to which a published comparison is near."""


def facts(
    plan: Plan,
    prior: Prior,
    *,
    regime: str,
    temperature: float,
    published: Sequence[Cell],
    rates: PassRates | None = None,
) -> list[tuple[str, str]]:
    """Every line of the plan, in order.

    Args:
        plan: what to run, and what is expected of it.
        prior: what was measured.
        regime: "model-strong", "model-intermediate" or "model-weak".
        temperature: of use.
        published: comparisons of -p with NLL that models of this kind have.
        rates: what several answers of the untouched model came to, where they were sampled.
    """
    rows = [
        ("knows", _knows(prior, regime)),
        ("decode", _decode(temperature, plan.cooler)),
        ("plan", _plan(plan)),
        *((f"  run {i}", _glossed(run)) for i, run in enumerate(plan.runs, 1)),
        ("then", f"{plan.choose_by}."),
        ("cost", _cost(plan)),
        ("may lose", _loss(plan)),
        *(("cheaper", _other(other)) for other in (plan.cheaper,) if other),
        *(("dearer", _other(other)) for other in (plan.dearer,) if other),
        ("no scores", _alone(plan)),
        ("all lose", ALL_LOSE),
    ]
    if not plan.measured and published:
        rows.append(("published", _published(published, prior.mean_p)))
    if rates is not None:
        rows.append(("or RL", rates.words))
    return rows


def _knows(prior: Prior, regime: str) -> str:
    low, high = prior.mean_p_interval
    filled = round(GAUGE * prior.mean_p)
    gauge = "#" * filled + "." * (GAUGE - filled)
    return (
        f"[{gauge}] mean p of a target token {prior.mean_p:.2f} ({low:.2f} to {high:.2f}): {regime}"
    )


def _decode(temperature: float, cooler: float) -> str:
    if temperature == 0:
        return "greedily (temperature 0)"
    return (
        f"at temperature {temperature:g}. If you may decode greedily, do: in {cooler:.0%} of the measured "
        "pairs nll, decoded greedily, scored at most 2 points less than the best run at temperature 1."
    )


def _plan(plan: Plan) -> str:
    sure = [run for run in plan.runs if run.below is None]
    text = NUMBERS.get(len(sure), f"{len(sure)} runs")
    return f"{text}, and another if these score low" if len(plan.runs) > len(sure) else text


def _glossed(run: ArmRun) -> str:
    gloss = GLOSSES.get(run.objective.partition("(")[0])
    return f"{_run(run)} ({gloss})" if gloss else _run(run)


def _run(run: ArmRun) -> str:
    text = f"{run.objective} at a learning rate of {run.learning_rate:g}"
    if run.targets != "demonstrations":
        text += f" on {run.targets}"
    return (
        text if run.below is None else f"{text}, only if no run so far scores {run.below:g} or more"
    )


def _cost(plan: Plan) -> str:
    text = f"about {_time(plan.minutes)} on this machine, {_bytes(plan.disk)} of disk"
    return text if plan.elsewhere is None else f"{text}; {_elsewhere(plan.elsewhere)}"


def _elsewhere(found: Elsewhere) -> str:
    if found.minutes is None:
        device = "" if found.devices == 1 else " of a device"
        spread = (
            "" if found.needed > found.devices * found.memory
            else ", or spread it with FSDP2 (`torchrun ... -m advisor train`)"
        )  # fmt: skip
        return (
            f"it does not fit on {found.machine}: weights, gradients and Adam's moments take "
            f"{_bytes(found.needed)} of {_bytes(found.memory)}{device}, so train an adapter there "
            f"(--use_peft){spread}"
        )
    return (
        f"about {_time(found.minutes)} on {found.machine} if all of it is kept busy, by its data sheet, "
        "within a factor of two or so"
    )


def _loss(plan: Plan) -> str:
    text = (
        f"{plan.regret:.1f} points on average against the best of all runs that were tried on {plan.cells} "
        f"measured pairs of {plan.models}, more than 5 on {plan.chance_over_5:.0%} of them"
    )
    if not plan.measured:
        return f"{text}. Whether it carries over to this pair is not known."
    if plan.documents < FEW_DOCUMENTS:
        return (
            f"{text}: not decided, since only {plan.documents} documents choose between the runs, where the "
            "measured pairs had 100. With fewer than 50 it loses more: name more of them with --tasks"
        )
    return f"{text}: {'decided' if plan.decided else 'not decided'}, which takes less than {LIKELY:.0%}"


def _other(other: Alternative) -> str:
    runs = f"{other.runs:.2g} run{'s' if other.runs != 1 else ''}"
    loss = f"{other.regret:.1f} points on average, more than 5 on {other.chance_over_5:.0%}"
    return f"--plan {other.name}: {runs}, about {_time(other.minutes)}, {loss}"


def _alone(plan: Plan) -> str:
    text = f"If you cannot score answers, make one run: {_run(plan.alone)}"
    if plan.alone_regret is None:
        return text
    return f"{text}; alone it loses {plan.alone_regret:.1f} points on average"


def _published(cells: Sequence[Cell], mean_p: float) -> str:
    """How often leaning on the prior won where it was published, and where mean p was near."""
    instruct = all(cell.kind == "instruct" for cell in cells)
    models = "instruct models" if instruct else "base models, or models of a kind not told"
    near = [cell for cell in cells if cell.mean_p is not None and abs(cell.mean_p - mean_p) <= NEAR]
    text = f"leaning on the prior beat nll in {_won(cells)} published comparisons with {models}"
    if not near:
        return f"{text}; none of them tells a mean p near {mean_p:.2f}"
    return f"{text}; in {_won(near)} with a mean p within {NEAR:g} of {mean_p:.2f}"


def _won(cells: Sequence[Cell]) -> str:
    return f"{sum(cell.gains['neg_p'] > 0 for cell in cells)} of {len(cells)}"


def _time(minutes: float) -> str:
    return span(max(1.0, 60 * minutes))


def _bytes(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number / 1e3:.3g} kB"
