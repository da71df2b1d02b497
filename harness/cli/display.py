"""What the commands print: tables on stdout, notes and progress on stderr.

Text that comes from a dataset is shown with control characters spelt out and never read as markup.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from advisor.advice.forecast import NLL
from advisor.advice.prior_words import measured, probability, statistics
from advisor.errors import printable
from advisor.progress import span
from harness.cli.console import SafeConsole

if TYPE_CHECKING:
    from advisor.advice.calibration import Cell
    from advisor.advice.recommend import Recommendation
    from advisor.data.dataset import SFTDataset
    from advisor.objectives.other_trainers import TrainerSettings
    from advisor.objectives.table import Objective
    from advisor.prior.deep import Deep
    from advisor.prior.intervals import Interval
    from advisor.prior.prior import Prior
    from advisor.prior.row_scores import ExampleScore
    from harness.records.target_sources import TargetSource

out = SafeConsole(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 110)
_FIRST_RANK = os.environ.get("RANK", "0") == "0"  # of those that torchrun or accelerate starts
err = SafeConsole(stderr=True, highlight=False, soft_wrap=True, quiet=not _FIRST_RANK)
LONG, EVERY = 5.0, 30.0
"""Seconds after which work is long enough for a line in a log, and seconds between two lines."""
_bars = contextlib.ExitStack()
"""Closes the bar that is shown, at the latest when the program ends, so that the terminal is left whole."""
atexit.register(_bars.close)


def arm_width(texts: Iterable[str]) -> int:
    """The least width of a column of arms, characters, so that a label breaks at its spaces alone."""
    return max((min(len(word), 24) for text in texts for word in text.split()), default=1)


def notes(lines: Iterable[str]) -> None:
    """What was chosen or assumed, on stderr."""
    for line in lines:
        err.print(Text(f"- {printable(line)}", style="dim"))


class Shown:
    """Shows how far some work is on stderr: a bar on a terminal, elsewhere a line now and then.

    An `advisor.progress.Progress`, and a context. In a log the first line comes when the work takes long,
    then one every half minute; the last says how far it came, of quick work only where `quick` is set.
    Without the context it ends with the last part.
    """

    def __init__(
        self, title: str, *, quick: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title, self.clock = title, clock
        self.worth = quick  # whether its end is worth a line
        self.due = clock() + LONG
        self.begun: tuple[float, int] | None = None  # when it was first told of, and how far it was
        self.place: tuple[int, int] | None = None  # None: nothing was told, or the end was said
        self.bar: tuple[Bar, TaskID] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Told the parts done and all parts."""
        self.begun = self.begun or (self.clock(), done)
        self.place = (done, total)
        if err.is_terminal:
            self._draw(done, total)
        elif done < total and self.clock() >= self.due:
            self.due, self.worth = self.clock() + EVERY, True
            self._say(f", {100 * done // total} %{self._left(done, total)}")
        if done >= total:
            self._end()

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, error: object, *rest: object) -> None:
        self.worth = self.worth and error is None
        self._end()

    def _draw(self, done: int, total: int) -> None:
        if self.bar is None:
            count = TextColumn("{task.completed:.0f} of {task.total:.0f}")
            columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
            bar = Bar(*columns, console=err, transient=True)
            _bars.close()  # rich shows one at a time
            _bars.callback(bar.stop)
            bar.start()
            self.bar = bar, bar.add_task(self.title)
        bar, task = self.bar
        bar.update(task, completed=done, total=total)

    def _end(self) -> None:
        if self.bar is not None:
            _bars.close()
        elif self.worth and self.place is not None:
            self._say("" if self.place[0] >= self.place[1] else " were enough")
        self.bar = self.place = None

    def _say(self, more: str) -> None:
        if self.place is not None:
            done, total = self.place
            err.print(Text(f"{self.title}: {done} of {total}{more}"))

    def _left(self, done: int, total: int) -> str:
        """About how long the rest takes at the pace so far; nothing before there is a pace."""
        since, before = self.begun or (0.0, done)
        if done <= before:
            return ""
        seconds = (self.clock() - since) / (done - before) * (total - done)
        return f", about {span(seconds)} left"


def tokenise(dataset: SFTDataset, rows: Sequence[int]) -> None:
    """Tokenise rows, and show how far that is."""
    step = 256
    with Shown("tokenising", quick=False) as told:
        for first in range(0, len(rows), step):
            dataset.tokenize(rows[first : first + step])
            told(min(first + step, len(rows)), len(rows))


def _facts(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def recommendation(
    answer: Recommendation, settings: Sequence[TrainerSettings] | None, *, pair: str
) -> None:
    """The plan and what may make it wrong; where settings are given, also what it rests on and those."""
    out.print(_facts([("pair", pair), *answer.facts()]))
    for warning in answer.warnings:
        out.print(
            Text.assemble(
                ("! ", "bold yellow"), printable(warning.text), (f" [{warning.code}]", "dim")
            )
        )
    out.print(Text.assemble(("\nnext: ", "bold"), answer.next_command(pair)))
    if settings is not None:
        _details(answer, settings)


def _details(answer: Recommendation, settings: Sequence[TrainerSettings]) -> None:
    """What single objectives are expected to do, the statistics, and the settings of other trainers."""
    out.print(Text(f"\n{answer.reason}"))
    out.print(_ranking_table(answer))
    for near in answer.nearest:
        out.print(Text(f"near: {cell(near)}", style="dim"))
    out.print()
    out.print(_prior_table(answer.prior))
    if answer.deep is not None:
        out.print(_deep_table(answer.deep))
        notes(answer.deep.notes)
    _settings(answer.recommended, settings)


_BASIS = {
    "ladder": "from cells of the ladder",
    "user": "from your own records",
    "published": "from mean p and published cells; the ranking is the rule's",
}


def _ranking_table(answer: Recommendation) -> Table:
    """The arms with their forecasts, and the cells most like the pair."""
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.title = f"Expected gain over nll, {_BASIS[answer.basis]}"
    for name in ("objective", "points", "95 % interval", "chance of being best"):
        table.add_column(name, justify="left" if name == "objective" else "right")
    for arm in answer.ranking:
        low, high = arm.interval
        gain = (f"{arm.predicted_gain:+.1f}", f"{low:+.0f} to {high:+.0f}")
        table.add_row(
            arm.objective, *(("0", "") if arm.objective == NLL else gain), f"{arm.p_best:.2f}"
        )
    return table


def cell(cell: Cell) -> str:
    """One line on a measured or published cell."""
    gains = ", ".join(f"{arm} {gain:+.1f}" for arm, gain in cell.gains.items())
    where = f"{cell.domain}, {cell.parameters:.2g} parameters, mean p {cell.mean_p:.2f}, {cell.decoding}"
    return printable(f"{cell.name} ({where}): {gains}")


def _prior_table(prior: Prior) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.title = measured(prior)
    for name in ("statistic", "value", ""):
        table.add_column(name, justify="right" if name == "value" else "left")
    for row in statistics(prior):
        table.add_row(*row)
    return table


def _deep_table(deep: Deep) -> Table:
    """The deep probe; a number that there is none of is a dash."""

    def cells(value: float | None, interval: Interval | None) -> tuple[str, str]:
        if value is None or interval is None:
            return "-", ""
        return f"{value:.2f}", f"95 % interval {interval[0]:.2f} to {interval[1]:.2f}; "

    rows = (
        (
            "recovery of p < 0.1",
            *cells(deep.recovery, deep.recovery_interval),
            f"{deep.improbable:,} held-out targets",
        ),
        (
            "coherence of p < 0.1",
            *cells(deep.coherence, deep.coherence_interval),
            f"{deep.coherence_examples} gradients of {deep.coherence_parameters} parameters",
        ),
        (
            "answers as demonstrated",
            *cells(deep.accuracy, deep.accuracy_interval),
            f"{deep.answers} at temperature {deep.temperature:g}, before the run",
        ),
        *_rates(deep),
        (
            "held-out NLL",
            f"{deep.nll_before:.2f} > {deep.nll_after:.2f}",
            "",
            "nats, before and after the run",
        ),
        ("p < 0.1 looks like", deep.reading or "-", "", "not calibrated"),
    )
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.title = (
        f"Deep probe: nll on {deep.training_rows} rows, {deep.steps} steps at {deep.learning_rate:g} "
        f"({deep.trained}), {deep.held_out_rows} rows held out, {deep.seconds:.1f} s"
    )
    for name in ("statistic", "value", ""):
        table.add_column(name, justify="right" if name == "value" else "left")
    for name, value, interval, basis in rows:
        table.add_row(name, value, interval + basis)
    return table


def _rates(deep: Deep) -> list[tuple[str, str, str, str]]:
    """What several answers to each prompt came to; no row where there are none."""
    found = deep.pass_rates
    if found is None:
        return []
    low, high = found.pass_at_k_interval
    return [
        (
            f"pass@{found.samples}",
            f"{found.pass_at_k:.2f}",
            f"95 % interval {low:.2f} to {high:.2f}; ",
            f"{found.samples} answers to {found.prompts} prompts",
        ),
        ("right now and then", f"{found.between:.2f}", "", "prompts, 5 to 95 % of the time"),
    ]


def _settings(objective: str, settings: Sequence[TrainerSettings]) -> None:
    out.print()
    out.print(Text(f"Settings for {objective}", style="bold"))
    for trainer in settings:
        version = f" ({trainer.version})" if trainer.version else ""
        out.print(Text(f"\n{trainer.trainer}{version}", style="bold"))
        out.print(Text(trainer.settings if trainer.supported else "no setting"))
        for note in trainer.notes:
            out.print(Text(f"  {note}", style="dim"))


def dataset(data: SFTDataset, example: int) -> None:
    """How a dataset was understood, and one example with its targets marked."""
    from advisor.data.describe import describe_example

    info, counts = data.info, data.counts
    out.print(
        _facts(
            (
                ("dataset", info.name + (f", split {info.split}" if info.split else "")),
                ("format", info.format),
                ("template", f"{info.template}: {printable(info.template_text)[:400]}"),
                ("max_length", str(info.max_length)),
                ("examples", f"{counts.examples:,} of {len(data):,} rows"),
                (
                    "truncated",
                    f"{counts.truncated:,}, of which {counts.shortened:,} lose the end of an answer",
                ),
                ("dropped", f"{counts.dropped:,} (no target left)"),
                ("turns left out", f"{counts.untrained_turns:,} (marked as no target)"),
                ("target tokens", f"{counts.target_tokens:,}"),
                ("weights", _weights(data)),
                ("merged", f"{counts.merged:,} (a token reaches across the start of a target)"),
            )
        )
    )
    notes((*data.notes, *data.dropped()))
    out.print(Text(f"\nExample {example}, targets between «»:", style="bold"))
    text = Text()
    for segment, weight in describe_example(data, example):
        shown = printable(segment)
        if weight not in (0, 1):
            shown = f"[{weight:g}] {shown}"
        text.append(f"«{shown}»" if weight else shown, style="bold green" if weight else "dim")
    out.print(text)


def _weights(data: SFTDataset) -> str:
    """Which weights the data give, and how many targets they take away."""
    counts = data.counts
    if not counts.weightless:
        return data.weights or "1 everywhere"
    share = counts.weightless / (counts.weightless + counts.target_tokens)
    lost = f"{counts.weightless:,} tokens, {share:.1%} of the targets, weigh 0 and are not trained"
    return f"{data.weights}; {lost}"


def worst_rows(scores: Iterable[ExampleScore]) -> None:
    """The least compatible rows with their numbers."""
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.title = "Least compatible rows, worst first (means over a row's target tokens)"
    for name in ("row", "targets", "mean p", "NLL, nats", "CLL, nats", "compatibility, sd"):
        table.add_column(name, justify="right")
    for score in scores:
        table.add_row(
            str(score.row),
            f"{score.target_tokens:,}",
            probability(score.p),
            f"{score.nll:.2f}",
            f"{score.cll:+.2f}",
            f"{score.compatibility:+.2f}",
        )
    out.print(table)


def targets(rows: Iterable[TargetSource]) -> None:
    """The table of target sources, the arms of `advisor confirm --objectives`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("written", "trains on", "needs", "source"):
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = (row.written, row.does, ", ".join(row.needs), row.source)
        table.add_row(*(Text(cell) for cell in cells))
    out.print(table)


def objectives(rows: Iterable[Objective]) -> None:
    """The table of objectives."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "also", "loss f(p)", "weight w(p)", "leaning", "status", "source"):
        table.add_column(column)
    for row in rows:
        cells = (
            row.label,
            ", ".join(row.aliases),
            row.formula,
            row.weight_formula,
            row.leaning,
            row.status,
            row.source,
        )
        table.add_row(*(Text(cell) for cell in cells))
    out.print(table)
    out.print(
        Text(
            "Several in turn: 'nll>neg_p(at=0.5)' is neg_p from half of the optimiser steps on. Keep the "
            "quotes, or the shell takes > for a redirection."
        )
    )
