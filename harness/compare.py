"""`advisor compare`: which arm is better, by how much, and whether that is more than noise.

Takes records of runs and lm-eval's logged samples, pairs arms document by document and seed by seed, and
holds each against a baseline and against the untouched base. Needs no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError, printable
from harness.arms import read_arms
from harness.measured import Measured, refuse_differing
from harness.pairing import Group, make_groups, paired
from harness.power import documents_needed, spread
from harness.records import Score
from harness.statistics import Difference, holm, paired_difference, verdict
from harness.study import BASE, NLL

if TYPE_CHECKING:
    from rich.console import Console

    from harness.pairing import Scores

STAY = "do not fine-tune"
"""Verdict of the base's row where every arm is worse than the base or equivalent to it."""
UNFIT = ("worse", "equivalent")
"""Verdicts against the base with which an arm is not worth its training."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm against one baseline on one task."""

    arm: str
    """Label of the arm."""
    baseline: str
    """Label of what it is compared with."""
    task: str
    """Name of the task, after the setting where there are several."""
    temperature: float | None
    """0 is greedy; None where nothing is generated."""
    difference: float
    """Arm less baseline, in points where scores lie between 0 and 1, else in their unit."""
    interval: tuple[float, float]
    """95 % confidence interval of the difference."""
    p_value: float
    """Holm-adjusted over the arms against this baseline on this task at this temperature."""
    verdict: str
    """"better", "worse", "equivalent" or "not resolved"; for a base that no arm may beat: STAY."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """Where an arm stands on one task."""

    arm: str
    """Label of the arm."""
    task: str
    """As in the rows."""
    temperature: float | None
    """As in the rows."""
    mean: float
    """Over seeds and documents, in the unit of the rows."""
    seeds: int
    """Runs."""
    documents: int
    """Of the first run."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Arms against a baseline and against the base."""

    baseline: str
    """Label of the baseline."""
    rows: tuple[Row, ...]
    """Per task and temperature, every arm against the baseline, then against the base."""
    levels: tuple[Level, ...]
    """Per task and temperature, every arm: the base first, then the baseline."""
    notes: tuple[str, ...]
    """What was chosen, left out, or differs between arms and should not."""

    def table(self) -> list[dict[str, Any]]:
        """The rows as dictionaries, for JSON."""
        return [{**dataclasses.asdict(row), "interval": list(row.interval)} for row in self.rows]


def compare(
    paths: Sequence[Path | str],
    *,
    baseline: str | None = None,
    margin: float = 1.0,
    task: str | None = None,
    temperature: float | None = None,
) -> Comparison:
    """Compare what is recorded under some paths.

    Args:
        paths: results folders, run records, lm-eval's output folders and its samples or results files.
        baseline: label of an arm; by default `nll`, or without one the first arm that is not the base.
        margin: difference that does not matter, in points.
        task: only this one.
        temperature: only this one, and what does not depend on it.

    Raises:
        InputError: nothing to compare, a broken file, an unknown arm or task.
    """
    measured, notes = read_arms(paths)
    wanted = [m for m in measured if _asked(m.score, task, temperature)]
    if not wanted:
        raise InputError(_nothing(measured, task, temperature))
    chosen = _baseline(wanted, baseline)
    rows, levels = [], []
    for group in make_groups(wanted, chosen):
        refuse_differing(group.members)
        found, said = _compare_group(group, chosen, margin)
        rows += found
        notes += said
        levels += [_level(group, arm) for arm in group.arms]
    if not rows:
        raise InputError(
            f"nothing to compare: {', '.join(dict.fromkeys(m.arm for m in wanted))} have no task, metric "
            "and temperature in common"
        )
    if all(m.arm != BASE for m in wanted):
        notes.append(
            f"no arm is called {BASE}: add the untouched model, to see whether to fine-tune at all"
        )
    return Comparison(
        baseline=chosen, rows=tuple(rows), levels=tuple(levels), notes=tuple(dict.fromkeys(notes))
    )


def render(comparison: Comparison, console: Console) -> None:
    """A table of the arms with both differences, and what follows for the base."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = {(row.task, row.temperature, row.arm, row.baseline): row for row in comparison.rows}
    known = {row.baseline for row in comparison.rows}
    against = [name for name in dict.fromkeys((comparison.baseline, BASE)) if name in known]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("task", "temperature", "arm", "documents x seeds", "score"):
        table.add_column(name, overflow="fold")
    for name in against:
        table.add_column(Text(printable(f"less {name}")))
    before: tuple[Any, ...] = ()
    for level in comparison.levels:
        group = (level.task, level.temperature)
        if before and group != before:
            table.add_section()
        head = ("", "") if group == before else (level.task, _heat(level.temperature))
        size, score = f"{level.documents} x {level.seeds}", f"{level.mean:.1f}"
        cells = [_cell(found.get((*group, level.arm, name))) for name in against]
        table.add_row(*(Text(printable(c)) for c in (*head, level.arm, size, score, *cells)))
        before = group
    console.print(table)
    for line in (*_advice(comparison), *comparison.notes):
        console.print(Text(printable(line)))


def _heat(temperature: float | None) -> str:
    return "-" if temperature is None else f"{temperature:g}"


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    low, high = row.interval
    text = "" if row.verdict == STAY else f", {row.verdict}"
    return f"{row.difference:+.1f} [{low:+.1f}, {high:+.1f}]{text}, p {row.p_value:.2g}"


def _advice(comparison: Comparison) -> list[str]:
    return [
        f"{row.task}, temperature {_heat(row.temperature)}: {STAY}: no arm is better than the untouched model"
        for row in comparison.rows
        if row.verdict == STAY
    ]


def _asked(score: Score, task: str | None, temperature: float | None) -> bool:
    same_task = task is None or score.task == task
    return same_task and (temperature is None or score.temperature in (temperature, None))


def _nothing(measured: Sequence[Measured], task: str | None, temperature: float | None) -> str:
    tasks = ", ".join(dict.fromkeys(m.score.task for m in measured)) or "none"
    heats = sorted({m.score.temperature for m in measured if m.score.temperature is not None})
    return (
        f"no test scores of task {task or 'any'} at temperature "
        f"{'any' if temperature is None else f'{temperature:g}'}: there are tasks {tasks} at temperatures "
        f"{', '.join(f'{heat:g}' for heat in heats) or 'none'}"
    )


def _baseline(measured: Sequence[Measured], asked: str | None) -> str:
    arms = list(dict.fromkeys(m.arm for m in measured))
    if asked is None:
        return NLL if NLL in arms else next((arm for arm in arms if arm != BASE), BASE)
    if asked not in arms:
        raise InputError(f"--baseline {asked}: the arms are {', '.join(arms)}")
    return asked


def _level(group: Group, arm: str) -> Level:
    runs = list(group.arms[arm].values())
    return Level(
        arm=arm,
        task=group.task,
        temperature=group.temperature,
        mean=group.scale * fmean(score.mean for score in runs),
        seeds=len(runs),
        documents=len(runs[0].documents),
    )


def _compare_group(group: Group, baseline: str, margin: float) -> tuple[list[Row], list[str]]:
    """Rows against the baseline and against the base, whose own row says whether to fine-tune at all."""
    rows, notes = _against(group, baseline, margin)
    if BASE not in group.arms:
        return rows, notes
    over_base, said = (rows, []) if baseline == BASE else _against(group, BASE, margin)
    if not over_base:
        return [], notes
    if not any(row.arm == BASE for row in rows):
        over_base = [*over_base, _mirror(max(over_base, key=lambda row: row.difference))]
    if baseline == BASE:
        rows = []
    unfit = all(row.verdict in UNFIT for row in over_base if row.baseline == BASE)
    found = [
        dataclasses.replace(row, verdict=STAY) if unfit and row.arm == BASE else row
        for row in (*rows, *over_base)
    ]
    return found, [*notes, *said]


def _mirror(row: Row) -> Row:
    """The same comparison seen from the other side."""
    low, high = row.interval
    turned = {"better": "worse", "worse": "better"}.get(row.verdict, row.verdict)
    return dataclasses.replace(
        row, arm=row.baseline, baseline=row.arm, difference=-row.difference,
        interval=(-high, -low), verdict=turned,
    )  # fmt: skip


def _against(group: Group, baseline: str, margin: float) -> tuple[list[Row], list[str]]:
    """One row per other arm; none where the baseline was not measured."""
    if baseline not in group.arms:
        return [], []
    pairs = {arm: paired(group, arm, baseline) for arm in group.arms if arm != baseline}
    # Scores stay in their own unit: where nothing varies, it is what says how little was seen.
    found = {arm: paired_difference(first, second) for arm, (first, second, _) in pairs.items()}
    adjusted = holm([difference.p_value for difference in found.values()])
    rows, notes = [], list[str]()
    for (arm, difference), p in zip(found.items(), adjusted, strict=True):
        row = _row(group, arm, baseline, difference, p, margin)
        first, second, whole = pairs[arm]
        if difference.documents < whole:
            notes.append(
                f"{group.task}: {arm} and {baseline} share {difference.documents} of {whole} documents"
            )
        if row.verdict == "not resolved":
            notes.append(
                _missing(group, row, (first, second), margin / group.scale, 0.05 / len(found))
            )
        rows.append(row)
    return rows, notes


def _row(
    group: Group, arm: str, baseline: str, difference: Difference, p: float, margin: float
) -> Row:
    low, high = difference.interval
    return Row(
        arm=arm,
        baseline=baseline,
        task=group.task,
        temperature=group.temperature,
        difference=group.scale * difference.estimate,
        interval=(group.scale * low, group.scale * high),
        p_value=p,
        verdict=verdict(difference, p, margin / group.scale),
    )


def _missing(
    group: Group, row: Row, pair: tuple[Scores, Scores], margin: float, alpha: float
) -> str:
    """What it would take to resolve a comparison down to the margin."""
    needed = documents_needed(margin, len(pair[0]), spread(*pair), alpha=alpha)
    what = "more seeds" if needed is None else f"about {needed:,} documents"
    return (
        f"{row.task}, temperature {_heat(row.temperature)}: {row.arm} against {row.baseline} is not "
        f"resolved; to find a difference of {group.scale * margin:g} takes {what}"
    )
