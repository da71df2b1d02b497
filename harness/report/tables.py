"""The tables of the page: texts in rows, made of verdicts, comparisons and runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from harness.compare.compare import Comparison
from harness.plots import Estimate
from harness.records.arm import BASE, NLL, Arm, labels
from harness.records.metrics import POINTS, in_unit
from harness.records.runs import Run
from harness.report import facts
from harness.report.figures import rate_curves, task_ranks, task_scores
from harness.statistics.across_tasks import Aggregate
from harness.study.contrasts import FIGURES, Board, Row
from harness.study.forgetting import UNTOUCHED, guard_rows
from harness.study.from_records import Evidence
from harness.study.verdict import Verdict

VERDICT = "verdict"
"""Name of the column whose cells are marked."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of texts, perhaps in groups."""

    columns: tuple[str, ...]
    """Heads; the first column names the row."""
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    """(heading, rows); an empty heading is not shown."""
    caption: str = ""
    """What is in it."""


def mean_scores(verdict: Verdict) -> dict[Arm, float]:
    """Arm or baseline -> score over all its seeds; the row of a dropped arm has fewer of them."""
    found: dict[Arm, float] = {}
    for row in sorted(verdict.rows, key=lambda row: row.difference.seeds):
        found |= {row.arm: row.score, row.baseline: row.baseline_score}
    return found


def verdict_table(verdict: Verdict) -> Table:
    """Every comparison of a confirmation, by baseline."""
    means, groups = mean_scores(verdict), dict[Arm, list[Row]]()
    texts, unit = verdict.labels, verdict.rows[0].unit
    for row in verdict.rows:
        groups.setdefault(row.baseline, []).append(row)
    return Table(
        columns=("arm", VERDICT, "difference", "95 % interval", *FIGURES, "score"),
        groups=tuple(
            (
                f"Against {UNTOUCHED if arm.objective == BASE else texts[arm]}, "
                f"which scores {in_unit(means[arm], unit)}",
                tuple(_cells(row, texts, in_unit(row.score, row.unit)) for row in rows),
            )
            for arm, rows in groups.items()
        ),
        caption=f"{'Points out of 100' if unit == 'points' else f'Scores in {unit}'} on the test documents, "
        "at the temperature of use. Intervals and p are adjusted for the number of arms (Holm).",
    )


def guard_table(evidence: Evidence, margin: float | None) -> Table:
    """What every arm scores on tasks that nothing was trained for, by guard."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    rows = guard_rows(evidence, margin=margin)
    texts = labels([row.arm for row in rows])
    for row in rows:
        name = f"{row.task}, on which {UNTOUCHED} scores {in_unit(row.baseline_score, row.unit)}"
        groups.setdefault(name, []).append(_cells(row, texts, in_unit(row.score, row.unit)))
    return Table(
        columns=("arm", VERDICT, "difference", "95 % interval", *FIGURES, "score"),
        groups=tuple((name, tuple(found)) for name, found in groups.items()),
        caption=f"What is forgotten: tasks that nothing was trained for, against {UNTOUCHED}; they choose "
        "nothing. Intervals and p are adjusted for the number of arms (Holm).",
    )


def _cells(row: Row, texts: Mapping[Arm, str], *more: str) -> tuple[str, ...]:
    """What every table says of a row, and what one adds."""
    return (
        texts[row.arm],
        row.verdict,
        signed(row.difference.estimate, row.unit),
        interval(row.difference.interval, row.unit),
        *(write(row) for write in FIGURES.values()),
        *more,
    )


def comparison_table(comparison: Comparison) -> Table:
    """The rows of `advisor compare`, by task, temperature and baseline."""
    levels = {(level.arm, level.task, level.temperature): level for level in comparison.levels}
    groups: dict[str, list[tuple[str, ...]]] = {}
    texts = comparison.labels
    for row in comparison.rows:
        level = levels[row.arm, row.task, row.temperature]
        heat = "" if row.temperature is None else f", {facts.decoding(row.temperature)}"
        against = UNTOUCHED if row.baseline.objective == BASE else texts[row.baseline]
        groups.setdefault(f"{row.task}{heat}: against {against}", []).append(
            _cells(
                row, texts, in_unit(level.mean, row.unit), f"{level.documents:,} x {level.seeds}"
            )
        )
    return Table(
        columns=(
            "arm",
            VERDICT,
            "difference",
            "95 % interval",
            *FIGURES,
            "score",
            "documents x seeds",
        ),
        groups=tuple((name, tuple(rows)) for name, rows in groups.items()),
    )


def numbers(evidence: Evidence, verdict: Verdict) -> list[Table]:
    """The figures as tables."""
    temperatures = sorted({t for curve in verdict.curve.values() for t in curve})
    unit = verdict.rows[0].unit
    tables = [
        Table(
            columns=("arm", *(f"{t:g}" for t in temperatures)),
            groups=(("", tuple(
                (verdict.labels[arm], *(in_unit(curve[t], unit) for t in temperatures))
                for arm, curve in verdict.curve.items()
            )),),
            caption="Score on test documents by decoding temperature.",
        ),
        _estimates(task_scores(evidence), unit, "Score on test documents by task, with 95 % intervals."),
        _rate_table(evidence),
    ]  # fmt: skip
    if len(evidence.study.tasks) > 1:
        tables.append(_rank_table(task_ranks(evidence), evidence.board([])))
    return tables


def _estimates(scores: Mapping[str, Mapping[str, Estimate]], unit: str, caption: str) -> Table:
    arms = list(dict.fromkeys(arm for row in scores.values() for arm in row))
    rows = tuple(
        (arm, *(_estimate(row[arm], unit) if arm in row else "" for row in scores.values()))
        for arm in arms
    )
    return Table(columns=("arm", *scores), groups=(("", rows),), caption=caption)


def _estimate(estimate: Estimate, unit: str) -> str:
    score = in_unit(estimate.value, unit)
    if estimate.interval is None:
        return score
    low, high = (in_unit(end, unit) for end in estimate.interval)
    return f"{score} ({low} to {high})"


def _rate_table(evidence: Evidence) -> Table:
    curves, unit = rate_curves(evidence), evidence.board([]).unit
    rates = sorted({rate for curve in curves.values() for rate in curve})
    chosen = {arm.method: arm.learning_rate for arm in evidence.arms() if not arm.control}
    rows = tuple(
        (
            name,
            *(
                f"{in_unit(curve[rate].value, unit)}{' (kept)' if chosen.get(name) == rate else ''}"
                if rate in curve
                else ""
                for rate in rates
            ),
        )
        for name, curve in curves.items()
    )
    return Table(
        columns=("objective", *(f"{rate:g}" for rate in rates)),
        groups=(("", rows),),
        caption="Score on development documents by learning rate, first seed.",
    )


def _rank_table(ranks: Mapping[str, Aggregate], board: Board) -> Table:
    factor = board.scale if board.higher_is_better else -board.scale
    rows = tuple(
        (
            arm,
            f"{found.mean_rank:.2f}",
            in_unit(factor * found.iqm, board.unit),
            f"{found.improvement:.2f}",
            str(found.runs),
        )
        for arm, found in sorted(ranks.items(), key=lambda item: item[1].mean_rank)
    )
    return Table(
        columns=("arm", "mean rank", "interquartile mean", "P(better than nll)", "runs"),
        groups=(("", rows),),
        caption="All tasks together.",
    )


def run_table(evidence: Evidence) -> Table:
    """A line per run."""
    of_use, board = evidence.study.temperature, evidence.board([])
    rows = tuple(
        (
            run.spec.arm.method,
            "" if run.spec.arm.learning_rate is None else f"{run.spec.arm.learning_rate:g}",
            str(run.spec.seed),
            _mean(run, "development", of_use, board),
            _mean(run, "test", of_use, board),
            facts.duration(run.seconds),
            f"{run.tokens:,}",
            facts.size(run.peak_memory_bytes),
            run.spec.id,
        )
        for run in in_order(evidence.runs)
    )
    return Table(
        columns=(
            "objective",
            "learning rate",
            "seed",
            "development",
            "test",
            "time",
            "tokens",
            "memory",
            "run",
        ),
        groups=(("", rows),),
        caption=f"Scores are {board.unit} at the temperature of use.",
    )


def _mean(run: Run, part: str, temperature: float, board: Board) -> str:
    means = [s.mean for s in run.scores if s.part == part and s.temperature in (temperature, None)]
    return in_unit(board.scale * fmean(means), board.unit) if means else ""


def in_order(runs: Iterable[Run]) -> list[Run]:
    """The base, then NLL, then the others by objective, rate and seed."""

    def place(run: Run) -> tuple[bool, bool, str, float, int]:
        arm = run.spec.arm
        rate = arm.learning_rate or 0.0
        return arm.objective != BASE, arm.method != NLL, arm.method, rate, run.spec.seed

    return sorted(runs, key=place)


def signed(difference: float, unit: str = POINTS) -> str:
    """`+1.0`, with a true minus sign."""
    return in_unit(difference, unit, sign=True).replace("-", "\N{MINUS SIGN}")


def interval(ends: tuple[float, float], unit: str = POINTS) -> str:
    """`+1.0 to +2.0`."""
    return f"{signed(ends[0], unit)} to {signed(ends[1], unit)}"
