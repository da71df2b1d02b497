"""One section of the page: what a study, or a set of lm-eval's logs, says, as plain data for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.compare import Comparison
from harness.compare.plan_decision import PlanDecision
from harness.plots import Gain
from harness.records.arm import BASE, NLL
from harness.records.metrics import in_unit
from harness.records.runs import Run
from harness.report import facts
from harness.report.afterwards_view import afterwards_tables
from harness.report.figures import (
    Figure,
    comparison_figures,
    plan_figures,
    study_figures,
    trade_figures,
)
from harness.report.plan_view import plan_curve, plan_tables
from harness.report.run_view import RunView, name_of, view_of
from harness.report.tables import (
    Table,
    comparison_table,
    guard_table,
    in_order,
    mean_scores,
    numbers,
    run_table,
    verdict_table,
)
from harness.study.forgetting import UNTOUCHED
from harness.study.from_records import Evidence, settings_of
from harness.study.verdict import Verdict

UNFINISHED = "Not complete"
"""How the headline of a plan begins that is not at its end."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that failed."""

    name: str
    """Objective, rate, seed."""
    error: str
    """One line."""
    mended: bool
    """Whether a later attempt went well."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the page shows of one study."""

    title: str
    """Model, dataset, tasks, decoding."""
    headline: str
    """One sentence, its answer before the first colon."""
    scores: tuple[tuple[str, str, bool], ...] = ()
    """(name, score, whether it is the winner) of the few arms that matter most."""
    notes: tuple[str, ...] = ()
    """What is missing, and what to keep in mind."""
    tables: tuple[Table, ...] = ()
    """Shown open."""
    figures: tuple[Figure, ...] = ()
    """In the order of reading."""
    numbers: tuple[Table, ...] = ()
    """What the figures show, folded."""
    facts: tuple[facts.Fact, ...] = ()
    """How it was measured."""
    command: str = ""
    """That does it again."""
    overview: Table | None = None
    """Of the runs."""
    usual: str = ""
    """Settings and environment of most runs, one a line."""
    runs: tuple[RunView, ...] = ()
    """The runs, with what each has of its own."""
    failures: tuple[Failure, ...] = ()
    """Runs that failed."""


def study_section(
    evidence: Evidence,
    verdict: Verdict | None,
    comparison: Comparison | None,
    failed: Sequence[Run],
    published: Sequence[Gain] | None,
    *,
    title: str,
    margin: float | None,
    decision: PlanDecision | None = None,
) -> Section:
    """All of a study or a plan; what cannot be settled yet, as `advisor compare` makes it of the runs."""
    tables: tuple[Table, ...] = ()
    if decision is not None:
        tables = plan_tables(decision)
    elif verdict is not None:
        tables = (verdict_table(verdict),)
    elif comparison is not None:
        tables = (comparison_table(comparison),)
    if (verdict is not None or decision is not None) and evidence.study.guards:
        tables += (guard_table(evidence, margin),)
    judged = decision or verdict
    afterwards = None if judged is None else judged.afterwards
    tables += afterwards_tables(afterwards)
    usual, runs = view_of(in_order((*evidence.runs, *failed)))
    return Section(
        title=title,
        headline=headline(evidence, verdict, decision),
        scores=() if verdict is None else _scores(verdict),
        notes=tuple(_notes(evidence, verdict, failed, decision)),
        tables=tables,
        figures=(
            *plan_figures(evidence, decision),
            *study_figures(evidence, verdict, published, margin),
            *([] if verdict is None and decision is None else trade_figures(evidence, margin)),
        ),
        numbers=_numbers(evidence, verdict, decision),
        facts=tuple(facts.measured(evidence)),
        command=facts.command(evidence, afterwards) if evidence.study.objectives else "",
        overview=run_table(evidence) if evidence.runs else None,
        usual=usual,
        runs=runs,
        failures=tuple(_failure(run, evidence) for run in failed),
    )


def _numbers(
    evidence: Evidence, verdict: Verdict | None, decision: PlanDecision | None
) -> tuple[Table, ...]:
    """The figures as tables."""
    if decision is not None:
        return plan_curve(decision)
    return () if verdict is None else tuple(numbers(evidence, verdict))


def comparison_section(comparison: Comparison, *, margin: float | None) -> Section:
    """What `advisor compare` says of lm-eval's logs."""
    found = [row for row in comparison.rows if row.verdict != "not resolved"]
    headline = f"{len(found)} of {len(comparison.rows)} comparisons resolved: against {comparison.baseline}"
    over_base = any(row.baseline.objective == BASE for row in comparison.rows)
    if over_base and comparison.baseline != BASE:
        headline += f" and {UNTOUCHED}"
    return Section(
        title="Logged samples of lm-eval",
        headline=f"{headline}.",
        notes=comparison.notes,
        tables=(comparison_table(comparison),),
        figures=tuple(comparison_figures(comparison, margin)),
    )


def titles_of(studies: Sequence[Evidence]) -> list[str]:
    """What each study is on; where some are alike, the settings and seeds that tell them apart."""
    titles = [title_of(one) for one in studies]
    found = dict(enumerate(titles))
    for title in set(titles):
        alike = [i for i, other in enumerate(titles) if other == title]
        for i, words in zip(alike, settings_of([studies[i] for i in alike]), strict=True):
            found[i] = f"{title} · {words}" if words else title
    return list(found.values())


def title_of(evidence: Evidence) -> str:
    """Model, dataset, tasks and decoding."""
    study = evidence.study
    model, data = facts.short(study.model), facts.short(study.dataset)
    if study.split is not None:
        data += f", split {study.split}"
    pair = model if study.dataset == study.model else f"{model} on {data}"
    return f"{pair} · {', '.join(study.tasks)} · {facts.decoding(study.temperature)}"


def headline(
    evidence: Evidence, verdict: Verdict | None, decision: PlanDecision | None = None
) -> str:
    """The verdict, the decision of a plan, or why there is none."""
    if decision is not None:
        begin = "" if decision.complete else f"{UNFINISHED}: "
        return f"{begin}{decision.headline}"
    return f"Not settled: {evidence.obstacle()}." if verdict is None else verdict.headline


def _scores(verdict: Verdict) -> tuple[tuple[str, str, bool], ...]:
    """The winner, NLL, its best rival where it wins, NLL at its best temperature and the base."""
    means, texts = mean_scores(verdict), verdict.labels
    others = [row for row in verdict.against(NLL) if not row.arm.control]
    nll = next(
        arm for arm in means if arm.method == NLL and not arm.control and arm.decoding is None
    )
    base = next(arm for arm in means if arm.objective == BASE)
    rival = max(others, key=lambda row: row.gain).arm if others and verdict.winner == nll else None
    cooler = next((arm for arm in means if arm.decoding is not None), None)
    shown = dict.fromkeys(arm for arm in (verdict.winner, nll, rival, cooler, base) if arm)
    unit = verdict.rows[0].unit
    return tuple(
        (UNTOUCHED if arm == base else texts[arm], in_unit(means[arm], unit), arm == verdict.winner)
        for arm in shown
    )


def _notes(
    evidence: Evidence,
    verdict: Verdict | None,
    failed: Sequence[Run],
    decision: PlanDecision | None,
) -> list[str]:
    notes = []
    if decision is not None:
        notes += [text for text in (decision.forgets,) if text]
        notes += [decision.place, *decision.decision.notes, *evidence.study.left_out]
    if verdict is not None and verdict.incomplete:
        notes.append(
            f"{verdict.incomplete}: the verdict may still change. The command below goes on where it stopped."
        )
    if verdict is None and evidence.runs and not (decision and decision.complete):
        notes.append("The command below goes on where it stopped.")
    if verdict is not None and all(row.difference.seeds == 1 for row in verdict.rows):
        notes.append(
            "One seed: these are differences of checkpoints, ahead or behind; of objectives they say nothing."
        )
    if dropped := dict.fromkeys(row.arm for row in verdict.rows if row.dropped) if verdict else {}:
        arms = ", ".join(verdict.labels[arm] for arm in dropped) if verdict else ""
        notes.append(f"Stopped early by racing, being clearly behind: {arms}. Their p counts as 1.")
    if verdict is not None:
        notes += [text for text in (verdict.remark, *verdict.out) if text]
    judged = decision or verdict
    if judged is not None and judged.afterwards is not None:
        notes += judged.afterwards.lines
    open_failures = [run for run in failed if run.spec.id not in evidence.done]
    if open_failures:
        notes.append(f"{len(open_failures)} failed: see the end of this section.")
    return notes


def _failure(run: Run, evidence: Evidence) -> Failure:
    error = " ".join((run.error or "").split())
    return Failure(name=name_of(run), error=error, mended=run.spec.id in evidence.done)
