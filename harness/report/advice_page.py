"""A recommendation alone as a page: `advisor recommend ... -o FILE.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from advisor.advice.calibration import Cell
from advisor.advice.forecast import NLL
from advisor.advice.plan import Plan
from advisor.advice.prior_words import measured, statistics
from advisor.advice.recommend import Recommendation
from advisor.progress import span
from harness.records.arm import DEMONSTRATIONS
from harness.report import facts
from harness.report.figures import advice_figures
from harness.report.filled import fill, write_page
from harness.report.tables import Table, interval, signed

IN_TABLES = ("knows", "plan", "cheaper", "dearer")
"""Lines of the answer that the page has as figures and tables; the runs are others."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an answer does not know of itself: what was typed, and when."""

    model: str
    """As it was typed."""
    dataset: str
    """Likewise."""
    next: str
    """The command that carries the plan out."""
    commands: Sequence[str]
    """That give the answer again, in their order."""
    measured: str | None
    """The day on which the prior was measured, ISO 8601; None where that is not known."""
    written: date
    """The day of the page."""
    versions: Mapping[str, str]
    """Of Python and the libraries."""


def write_advice(path: Path, found: Recommendation, asked: Asked) -> None:
    """Write the page.

    Raises:
        InputError: it cannot be written.
    """
    write_page(path, advice_page(found, asked))


def advice_page(found: Recommendation, asked: Asked) -> str:
    """The page: the plan first, then what it rests on, and the commands."""
    said = {name: text for name, text in found.facts() if not name.startswith(" ")}
    plan = found.plan
    return fill(
        "advice.html",
        title=_title(found, asked),
        headline=f"Make {said['plan']}",
        lead=said["then"],
        scores=_figures_of(found),
        next=asked.next,
        warnings=found.warnings,
        words=[(name, text) for name, text in said.items() if name not in (*IN_TABLES, "then")],
        tables=(_runs(plan), _plans(plan)),
        figures=advice_figures(found),
        reason=found.reason,
        numbers=(_statistics(found), _ranking(found), *_cells(found)),
        facts=_measured(found, asked),
        commands=asked.commands,
        written=asked.written.isoformat(),
    )


def _title(found: Recommendation, asked: Asked) -> str:
    model, dataset = facts.short(asked.model), facts.short(asked.dataset)
    pair = model if model == dataset else f"{model} on {dataset}"
    return f"{pair} · {facts.decoding(found.temperature)} · {asked.written.isoformat()}"


def _figures_of(found: Recommendation) -> list[tuple[str, str]]:
    """The four numbers that matter most, each with what it is."""
    plan = found.plan
    where = "" if plan.measured else f", measured on {plan.models}"
    return [
        (f"{found.prior.mean_p:.2f}", f"mean p of a target token: {found.regime}"),
        (_time(plan.minutes), "on the machine that measured, about"),
        (f"{plan.regret:.1f}", f"points it may lose on average{where}"),
        (f"{plan.chance_over_5:.0%}", "chance that it loses more than 5 points"),
    ]


def _time(minutes: float) -> str:
    return span(max(1.0, 60 * minutes))


def _runs(plan: Plan) -> Table:
    rows = tuple(
        (
            run.objective + ("" if run.targets == DEMONSTRATIONS else f" on {run.targets}"),
            f"{run.learning_rate:g}",
            "in any case" if run.below is None else f"if none so far scores {run.below:g} or more",
        )
        for run in plan.runs
    )
    return Table(
        columns=("objective", "learning rate", "made"),
        groups=(("", rows),),
        caption="The runs, in the order in which they are made.",
    )


def _plans(plan: Plan) -> Table:
    sure = sum(run.below is None for run in plan.runs)
    runs = f"{sure}" if sure == len(plan.runs) else f"{sure} or {len(plan.runs)}"
    own = (plan.name, runs, _time(plan.minutes), f"{plan.regret:.1f}", f"{plan.chance_over_5:.0%}")
    cheaper, dearer = (
        [(x.name, f"{x.runs:.2g}", _time(x.minutes), f"{x.regret:.1f}", f"{x.chance_over_5:.0%}")]
        if x is not None
        else []
        for x in (plan.cheaper, plan.dearer)
    )
    return Table(
        columns=("--plan", "runs", "time", "points lost", "over 5 lost"),
        groups=(("", (*cheaper, own, *dearer)),),
        caption=f"This plan ({plan.name}) and the next cheaper and dearer one: points lost on average "
        f"against the best of all runs that were tried on {plan.cells} measured pairs, and the share of the "
        "pairs on which it was more than 5.",
    )


def _statistics(found: Recommendation) -> Table:
    return Table(
        columns=("statistic", "value", "remark"),
        groups=(("", tuple(statistics(found.prior))),),
        caption=measured(found.prior),
    )


def _ranking(found: Recommendation) -> Table:
    rows = tuple(
        (
            arm.objective,
            "0" if arm.objective == NLL else signed(arm.predicted_gain),
            "" if arm.objective == NLL else interval(arm.interval),
            f"{arm.p_best:.2f}",
        )
        for arm in found.ranking
    )
    return Table(
        columns=("objective", "points over nll", "95 % interval", "chance of being best"),
        groups=(("", rows),),
        caption="What single objectives are expected to gain over nll; the plan does not rest on it.",
    )


def _cells(found: Recommendation) -> list[Table]:
    """The evidence: what was measured or published on pairs that are alike."""
    captions = {
        "Pairs with the most similar mean p and size, measured or published.": found.nearest,
        "Published comparisons with models of this kind.": found.published,
    }
    return [
        Table(
            columns=("pair", "from", "parameters", "mean p", "decoding", "points over nll"),
            groups=(("", tuple(map(_cell, cells))),),
            caption=caption,
        )
        for caption, cells in captions.items()
        if cells
    ]


def _cell(cell: Cell) -> tuple[str, ...]:
    gains = ", ".join(f"{arm} {signed(gain)}" for arm, gain in cell.gains.items())
    mean_p = "" if cell.mean_p is None else f"{cell.mean_p:.2f}"
    where = cell.source or cell.domain
    return cell.name, where, f"{cell.parameters:.2g}", mean_p, cell.decoding, gains


def _measured(found: Recommendation, asked: Asked) -> list[facts.Fact]:
    """What a reader needs to judge the answer or to have it again."""
    prior = found.prior
    kept = (prior.truncated, "cut to the greatest length"), (prior.dropped, "without a target")
    rows = [f"{number:,} rows {what}" for number, what in kept if number]
    device = (prior.model.get("device"), prior.model.get("dtype"))
    known = [
        *facts.of_pair(asked.model, asked.dataset, prior.to_dict()),
        ("Rows left out or cut", ", ".join(rows)),
        ("Kind of model", found.kind),
        ("Decoding", facts.decoding(found.temperature)),
        ("Measured on", asked.measured or "a day that the file of the prior does not tell"),
        ("Device", ", ".join(str(part) for part in device if part)),
        ("Software", "; ".join(f"{name} {version}" for name, version in asked.versions.items())),
    ]
    return [(name, text) for name, text in known if text]
