"""One section of the page: what a study, or a set of lm-eval's logs, says, as plain data for the template."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.compare import STAY, Comparison
from harness.plots import Gain
from harness.records import Run
from harness.report import facts
from harness.report.figures import CONTROL, Figure, comparison_figure, study_figures
from harness.report.tables import (
    UNTOUCHED,
    Table,
    comparison_table,
    in_order,
    mean_scores,
    numbers,
    run_table,
    verdict_table,
)
from harness.studies import Evidence
from harness.study import BASE, NLL
from harness.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run as it is shown."""

    name: str
    """Objective, rate, seed."""
    id: str
    """Of the specification."""
    settings: str
    """The specification, JSON."""
    environment: str
    """JSON."""
    outcome: str
    """What was measured besides scores, JSON."""


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
    """(name, points, whether it is the winner) of the few arms that matter most."""
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
    runs: tuple[RunView, ...] = ()
    """Settings and environment of each."""
    failures: tuple[Failure, ...] = ()
    """Runs that failed."""


def study_section(
    evidence: Evidence,
    verdict: Verdict | None,
    comparison: Comparison | None,
    failed: Sequence[Run],
    elsewhere: Sequence[Gain],
    *,
    title: str,
    margin: float,
) -> Section:
    """All of a study; where it cannot be settled yet, what `advisor compare` makes of its runs instead."""
    tables: tuple[Table, ...] = ()
    if verdict is not None:
        tables = (verdict_table(verdict),)
    elif comparison is not None:
        tables = (comparison_table(comparison),)
    shown = (*evidence.runs, *failed)
    return Section(
        title=title,
        headline=headline(evidence, verdict),
        scores=() if verdict is None else _scores(verdict),
        notes=tuple(_notes(evidence, verdict, failed)),
        tables=tables,
        figures=tuple(study_figures(evidence, verdict, elsewhere, margin)),
        numbers=() if verdict is None else tuple(numbers(evidence, verdict)),
        facts=tuple(facts.measured(evidence)),
        command=facts.command(evidence) if evidence.study.objectives else "",
        overview=run_table(evidence) if evidence.runs else None,
        runs=tuple(_view(run) for run in in_order(shown)),
        failures=tuple(_failure(run, evidence) for run in failed),
    )


def comparison_section(comparison: Comparison, *, margin: float) -> Section:
    """What `advisor compare` says of lm-eval's logs."""
    stay = {row.task for row in comparison.rows if row.verdict == STAY}
    found = [row for row in comparison.rows if row.verdict in ("better", "worse")]
    headline = f"{len(found)} of {len(comparison.rows)} comparisons resolved: against {comparison.baseline}"
    if any(row.baseline == BASE for row in comparison.rows) and comparison.baseline != BASE:
        headline += f" and {UNTOUCHED}"
    notes = [
        f"{task}: no arm is better than {UNTOUCHED}; do not fine-tune for it."
        for task in sorted(stay)
    ]
    return Section(
        title="Logged samples of lm-eval",
        headline=f"{headline}.",
        notes=(*notes, *comparison.notes),
        tables=(comparison_table(comparison),),
        figures=(comparison_figure(comparison, margin),),
    )


def titles_of(studies: Sequence[Evidence]) -> list[str]:
    """What each study is on; where some are alike, the settings and seeds that tell them apart."""
    titles = [title_of(one) for one in studies]
    settings = [{**one.study.training, "seeds": len(one.study.seeds)} for one in studies]
    found = []
    for title, own in zip(titles, settings, strict=True):
        alike = [other for i, other in enumerate(settings) if titles[i] == title]
        telling = [x for x in own if len({repr(other.get(x)) for other in alike}) > 1]
        words = ", ".join(f"{name} {own[name]}" for name in telling)
        found.append(f"{title} · {words}" if words else title)
    return found


def title_of(evidence: Evidence) -> str:
    """Model, dataset, tasks and decoding."""
    study = evidence.study
    data = study.dataset if study.split is None else f"{study.dataset}, split {study.split}"
    pair = study.model if study.dataset == study.model else f"{study.model} on {data}"
    return f"{pair} · {', '.join(study.tasks)} · {facts.decoding(study.temperature)}"


def headline(evidence: Evidence, verdict: Verdict | None) -> str:
    """The verdict, or why there is none."""
    return f"Not settled: {evidence.obstacle()}." if verdict is None else verdict.headline


def _scores(verdict: Verdict) -> tuple[tuple[str, str, bool], ...]:
    """The winner, NLL, its best rival where it wins, NLL at its best temperature and the base, points."""
    means = mean_scores(verdict)
    others = [row.arm for row in verdict.rows if row.baseline == NLL and row.arm != CONTROL]
    rival = max(others, key=means.__getitem__, default=None) if verdict.winner == NLL else None
    cooler = next((name for name in means if name.startswith(f"{NLL} at ")), None)
    shown = dict.fromkeys(name for name in (verdict.winner, NLL, rival, cooler, BASE) if name)
    return tuple(
        (UNTOUCHED if name == BASE else name, f"{means[name]:.1f}", name == verdict.winner)
        for name in shown
    )


def _notes(evidence: Evidence, verdict: Verdict | None, failed: Sequence[Run]) -> list[str]:
    study, notes = evidence.study, []
    left = evidence.left() if verdict is not None else []
    if left:
        notes.append(
            f"Not complete: {len(left)} more {'run is' if len(left) == 1 else 'runs are'} due, and the "
            "verdict may still change. The command below goes on where it stopped."
        )
    if verdict is None and evidence.runs:
        notes.append("The command below goes on where it stopped.")
    if verdict is not None and len(study.seeds) == 1:
        notes.append(
            "One seed: this is a difference of two checkpoints, not yet of two objectives."
        )
    if dropped := dict.fromkeys(row.arm for row in verdict.rows if row.dropped) if verdict else {}:
        arms = ", ".join(dropped)
        notes.append(f"Stopped early by racing, being clearly behind: {arms}. Their p counts as 1.")
    if verdict is not None and verdict.remark:
        notes.append(verdict.remark)
    open_failures = [run for run in failed if run.spec.id not in evidence.done]
    if open_failures:
        notes.append(f"{len(open_failures)} failed: see the end of this section.")
    return notes


def _name(run: Run) -> str:
    spec = run.spec
    rate = (
        ""
        if spec.learning_rate is None
        else f", learning rate {spec.learning_rate:g}, seed {spec.seed}"
    )
    return spec.objective + rate


def _view(run: Run) -> RunView:
    outcome = {
        "held_out": dict(run.held_out),
        "seconds": run.seconds,
        "tokens": run.tokens,
        "peak_memory_bytes": run.peak_memory_bytes,
        "last_step": dict(run.steps[-1]) if run.steps else {},
        "error": run.error,
    }
    return RunView(
        name=_name(run),
        id=run.spec.id,
        settings=_json(dataclasses.asdict(run.spec)),
        environment=_json(dataclasses.asdict(run.environment)),
        outcome=_json(outcome),
    )


def _failure(run: Run, evidence: Evidence) -> Failure:
    error = " ".join((run.error or "").split())
    return Failure(name=_name(run), error=error, mended=run.spec.id in evidence.done)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)
