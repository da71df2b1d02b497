"""What a study does while it runs, on stderr: a live table on a terminal, elsewhere a line per event.

There a run that takes long gets a line every half minute besides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import fmean

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from advisor.errors import printable
from harness.records.arm import BASE, NLL, TENTH, Arm, arm_of
from harness.records.metrics import POINTS, in_unit
from harness.records.runs import Run, RunSpec
from harness.study.confirm import Event
from harness.study.execute import name_of
from harness.study.race_log import Told
from harness.study.race_words import told_in_words
from harness.study.study import Study, board_unit

EVERY = 30.0
"""Seconds between two lines on what is running, where there is no table."""
COLUMNS = ("arm", "learning rate", "seeds done", "score", "state", "seconds")


@dataclass(kw_only=True)
class Line:
    """One arm at one learning rate."""

    seeds: list[int] = field(default_factory=list)
    """Finished."""
    scores: list[float] = field(default_factory=list)
    """Of the finished seeds, points or the metric's own unit."""
    unit: str = POINTS
    """Of the scores."""
    seconds: float = 0.0
    """Of the finished seeds, together."""
    running: list[int] = field(default_factory=list)
    """Seeds on the way."""
    refused: str = ""
    """Why it cannot be run."""
    failed: bool = False
    """Whether that is so at this rate alone."""
    reached: float = 0.0
    """Share of its steps after which a race has left it."""

    @property
    def state(self) -> str:
        """One or two words."""
        if self.refused:
            return "failed" if self.failed else "refused"
        if self.running:
            return "seed " + ", ".join(map(str, self.running))
        if self.seeds:
            return "done"
        return f"at {self.reached:.3g} of its steps" if self.reached else "waiting"


def score_of(run: Run) -> tuple[float, str]:
    """Mean test score of a run at the temperature of use, and its unit."""
    of_use = run.spec.evaluation["temperature"]
    decisive = [s for s in run.scores if s.part == "test" and s.temperature in (of_use, None)]
    units = board_unit(decisive)
    return units["scale"] * fmean(score.mean for score in decisive), units["unit"]


class Board:
    """The state of every arm, from what is reported to it."""

    def __init__(self, study: Study, finished: Sequence[Run]) -> None:
        grid = [
            arm_of(method, learning_rate=rate)
            for method in study.objectives
            for rate in study.rates_of(method)
        ]
        self.lines: dict[Arm, Line] = {arm: Line() for arm in (Arm(objective=BASE), *grid)}
        self.grid = set(study.learning_rates)
        self.caption = ""
        self.until = 0.0
        for run in finished:
            self._add(run)

    def start(self, spec: RunSpec) -> None:
        """A run has begun."""
        self._line(spec).running.append(spec.seed)

    def report(self, event: Event) -> None:
        """A run has ended."""
        line = self._line(event.run.spec)
        if event.run.spec.seed in line.running:
            line.running.remove(event.run.spec.seed)
        if event.refused:
            line.refused, line.failed = event.refused, not event.whole
        elif not event.run.scores:
            line.reached, line.seconds = event.run.curve[-1].share, event.run.seconds
        else:
            self._add(event.run)
        self.caption = f"{event.done} of at most {event.at_most} runs"
        self.until = time.monotonic() + event.seconds_left

    def _add(self, run: Run) -> None:
        line = self._line(run.spec)
        line.seeds.append(run.spec.seed)
        score, line.unit = score_of(run)
        line.scores.append(score)
        line.seconds = run.seconds if line.reached else line.seconds + run.seconds

    def _line(self, spec: RunSpec) -> Line:
        arm = spec.arm.trained
        if arm.method == NLL and arm.learning_rate not in self.grid:
            arm = replace(arm, control=TENTH)
        return self.lines.setdefault(arm, Line())

    def __rich__(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in COLUMNS:
            words = name in ("arm", "state")
            table.add_column(name, justify="left" if words else "right", overflow="fold")
        for arm, line in self.lines.items():
            score = in_unit(fmean(line.scores), line.unit) if line.scores else ""
            seeds = ", ".join(map(str, sorted(line.seeds))) if arm.objective != BASE else ""
            table.add_row(
                Text(printable(arm.label)),
                "" if arm.learning_rate is None else f"{arm.learning_rate:g}",
                seeds,
                score,
                line.state,
                f"{line.seconds:.0f}" if line.seeds else "",
            )
        if self.caption:
            left = max(0.0, self.until - time.monotonic()) / 60
            table.caption = f"{self.caption}; at most {left:.0f} min left"
        return table


class Reporter:
    """Told what happens; prints it or shows it."""

    def __init__(self, board: Board, console: Console, *, lines: bool) -> None:
        self.board, self.console, self.lines = board, console, lines
        self.running: dict[str, tuple[str, float]] = {}  # run id -> its name, and when it began
        self.told: set[str] = set()  # methods whose beginning was said to be another's

    def start(self, spec: RunSpec) -> None:
        """A run has begun."""
        self.board.start(spec)
        self.running[spec.id] = (name_of(spec), time.monotonic())

    def stand(self, told: Told) -> None:
        """Where a race stands."""
        self.console.print(Text(printable(told_in_words(told))))

    def tell(self) -> None:
        """Say what is running, and since when."""
        now = time.monotonic()
        texts = [f"{name} for {now - begun:.0f} s" for name, begun in list(self.running.values())]
        if texts:
            self.console.print(Text(printable(f"running: {', '.join(texts)}")))

    def report(self, event: Event) -> None:
        """A run has ended."""
        self.board.report(event)
        spec = event.run.spec
        self.running.pop(spec.id, None)
        if event.run.began and spec.arm.method not in self.told:
            self.told.add(spec.arm.method)
            text = "{} goes on from step {step} of the {as} run".format(
                spec.arm.method, **event.run.began
            )
            self.console.print(Text(printable(text)))
        if (ways := (event.run.prior or {}).get("cascade")) and not event.refused:
            text = "{own} rows the model's own answers, {guided} answered with the demonstration in context, "
            text += "{demonstration} demonstrations as they were"
            self.console.print(Text(printable(f"{name_of(spec)}: {text.format(**ways)}")))
        if event.refused:
            name = spec.arm.method if event.whole else name_of(spec)
            text = f"{name} is left out: {event.refused}"
        elif not event.run.scores:
            return  # a piece: `stand` says what came of it
        elif self.lines:
            text = (
                f"{event.done}/{event.at_most} {name_of(spec)}: {in_unit(*score_of(event.run))} "
                f"({event.run.seconds:.0f} s; at most {event.seconds_left / 60:.0f} min left)"
            )
        else:
            return
        self.console.print(Text(printable(text)))


@contextmanager
def every(seconds: float, tell: Callable[[], None]) -> Iterator[None]:
    """Calls `tell` every so many seconds while the block runs."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(seconds):
            tell()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def reporting(study: Study, finished: Sequence[Run], console: Console) -> Iterator[Reporter]:
    """A live table where the console is a terminal, lines where it is not."""
    board = Board(study, finished)
    if not console.is_terminal:
        reporter = Reporter(board, console, lines=True)
        with every(EVERY, reporter.tell):
            yield reporter
        return
    with Live(board, console=console, refresh_per_second=2):
        yield Reporter(board, console, lines=False)
