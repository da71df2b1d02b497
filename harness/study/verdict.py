"""What the runs of a study say: every arm against NLL and against the untouched base, and one sentence.

Pure. The rows are those of `contrasts`; here they are put together into what to do. Where
the model will be sampled, NLL at its own best temperature is a control: a gain over NLL at the temperature
of use that this closes is sharpening, which costs nothing at decoding time.

A verdict says no more than the data:

- With one seed a checkpoint may be kept, the one that the development documents chose; nothing is better or
  worse, because another seed of the same objective may score 10 points more or less.
- "Do not fine-tune" takes an interval of every arm's gain over the base below the smallest that matters.
- Where all arms and the base are at the floor or the ceiling, the task cannot tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from advisor.errors import InputError
from harness.records.arm import BASE, NLL, Arm, labels
from harness.records.metrics import in_unit
from harness.records.runs import Run
from harness.statistics.power import Spread, sizes_that_settle
from harness.statistics.telling import EDGE
from harness.study.afterwards import Afterwards
from harness.study.contrasts import Board, Paired, Race, Row, contrasts, paired
from harness.study.forgetting import UNTOUCHED, guard_rows, said_of
from harness.study.from_records import Evidence
from harness.study.study import Study, in_the_race, open_rates, part_mean, same_documents

CLOSED = ("worse", "equivalent")
"""Verdicts on the winner against NLL at a lower temperature that make its gain sharpening."""
ASSUMED_SEED_SD = 0.07
"""Standard deviation over seeds of a paired mean where there is one seed: 5 points for each arm."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer of a confirmation."""

    headline: str
    """One or two sentences; the first says so where the study is not complete."""
    winner: Arm
    """What to use; the base where no arm is shown to be better than it."""
    fine_tune: bool | None
    """Whether fine-tuning is worth it; None where that is not resolved."""
    sharpening: bool
    """Whether NLL decoded at its best temperature is shown to do as well as the winner, or better."""
    incomplete: str | None
    """What is still to be run, as a sentence without its full stop; None where the study is complete."""
    undecided: str | None
    """Why the task cannot tell arms apart at all; None where it can."""
    rows: tuple[Row, ...]
    """Every comparison."""
    curve: Mapping[Arm, Mapping[float, float]]
    """Per arm, mean test score by temperature, in the unit of the rows."""
    open_rates: Mapping[Arm, tuple[float, ...]]
    """Learning rates that were not told apart (`study.open_rates`), the one in use first."""
    out: tuple[str, ...]
    """Arms and rates that came to nothing, a sentence each."""
    race: Race
    """What the rows were made with, for further comparisons of the same study."""
    guards: tuple[Row, ...] = ()
    """Every arm against the untouched model on every guard; empty without guards."""
    afterwards: Afterwards | None = None
    """What continuing the arms has come to; None where they are not continued."""

    def __str__(self) -> str:
        """The headline, every comparison, and what it leaves open, a line each."""
        rows = map(self._line, (*self.rows, *self.guards))
        return "\n".join(filter(None, (self.headline, *rows, self.remark, *self.out)))

    def _line(self, row: Row) -> str:
        """A comparison in a line."""
        score, baseline = (in_unit(x, row.unit) for x in (row.score, row.baseline_score))
        gain, low, high = row.shown
        where = f" on the guard {row.task}" if row in self.guards else ""
        return (
            f"{self.labels[row.arm]} {score}, {self.labels[row.baseline]} {baseline}{where}: "
            f"{gain} ({low} to {high}), {row.verdict}"
        )

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))

    @property
    def labels(self) -> dict[Arm, str]:
        """Every arm and baseline to its text."""
        named = (arm for row in self.rows for arm in (row.arm, row.baseline))
        return labels((*self.curve, *named))

    def against(self, method: str) -> list[Row]:
        """The rows against NLL or the base at the temperature of use."""
        return [
            row
            for row in self.rows
            if row.baseline.method == method and row.baseline.decoding is None
        ]

    @property
    def remark(self) -> str:
        """What the choice of learning rates leaves open, in a sentence; empty where nothing."""
        if not self.open_rates:
            return ""
        some = "; ".join(
            f"{arm.method} {' / '.join(f'{rate:g}' for rate in rates)}"
            for arm, rates in self.open_rates.items()
        )
        return (
            f"Learning rates that the development documents do not tell apart, the one in use first: {some}. "
            "What is said of these arms is said of that rate."
        )


def settle(study: Study, runs: Sequence[Run], *, margin: float | None = None) -> Verdict:
    """Compare the arms of a study.

    Args:
        study: what was asked.
        runs: finished ones; there is no `Evidence.obstacle`.
        margin: the difference that does not matter, in the unit of the scores; None: one point for shares,
            none for other units.

    Raises:
        InputError: runs that were scored on different documents.
    """
    same_documents(study, runs)
    evidence = Evidence(study=study, runs=tuple(runs))
    arms = evidence.arms()
    base, nll = (
        next(a for a in arms if a.method == name and not a.control) for name in (BASE, NLL)
    )
    board = evidence.board(arms)
    looks = max(1, len(study.seeds) - 1)
    race = Race(margin=margin, dropped=_dropped(evidence), looks=looks)
    others = [arm for arm in arms if arm not in (base, nll)]
    against_nll = contrasts(board, others, nll, race)
    against_base = contrasts(board, [arm for arm in arms if arm != base], base, race)
    curve = {arm: _curve(evidence, arm) for arm in arms}
    control: list[Row] = []
    if (cooler := _sharpened(study, nll, curve[nll], board)) is not None:
        control = contrasts(evidence.board([*others, cooler]), others, cooler, race)
    found = _Findings(
        evidence=evidence,
        board=board,
        nll=nll,
        base=base,
        against_nll=against_nll,
        control=control,
        against_base=against_base,
        margin=board.margin(margin),
    )
    conclusion = _conclude(found)
    guards = guard_rows(evidence, margin=margin)
    text = " ".join(filter(None, (conclusion.text, said_of(conclusion.winner, guards))))
    incomplete = evidence.incomplete()
    return Verdict(
        headline=f"{incomplete}: {text}" if incomplete else text,
        winner=conclusion.winner,
        fine_tune=conclusion.fine_tune,
        sharpening=conclusion.sharpening,
        incomplete=incomplete,
        undecided=found.undecided,
        rows=(*against_nll, *control, *against_base),
        curve=curve,
        open_rates=open_rates(study, runs),
        out=study.left_out,
        race=race,
        guards=guards,
    )


@dataclass(frozen=True, kw_only=True)
class _Findings:
    """The rows of a study and what they rest on."""

    evidence: Evidence
    board: Board
    nll: Arm
    base: Arm
    against_nll: Sequence[Row]
    control: Sequence[Row]
    """Against NLL at its best temperature."""
    against_base: Sequence[Row]
    margin: float | None

    @property
    def one_seed(self) -> bool:
        """Whether no comparison rests on more than one seed."""
        return all(row.difference.seeds == 1 for row in self.against_base)

    @property
    def undecided(self) -> str | None:
        """Why the task cannot tell arms apart, as a sentence; None where it can."""
        text = at_the_edge(self.board, (*self.against_nll, *self.against_base))
        return f"{text} (--tasks, --metric)." if text else None


def at_the_edge(board: Board, rows: Sequence[Row]) -> str | None:
    """Why a task cannot tell arms apart, less its full stop: all are at the floor or ceiling; else None.

    Args:
        board: of all arms, the untouched model among them or not.
        rows: comparisons of them: where one is told apart, the task can.
    """
    means = [board.mean(arm) for arm in board.runs]
    low, high = min(means), max(means)
    edge = EDGE * board.scale
    at_floor, at_ceiling = high <= edge, low >= board.scale - edge
    told = any(row.verdict in ("better", "worse", "ahead", "behind") for row in rows)
    if board.unit != "points" or told or not (at_floor or at_ceiling):
        return None
    hard = at_floor if board.higher_is_better else at_ceiling
    base = any(arm.objective == BASE for arm in board.runs)
    return (
        f"The task cannot tell the arms apart: all of them{f' and {UNTOUCHED}' if base else ''} score "
        f"between {low:.1f} and {high:.1f} points. Score on {'an easier' if hard else 'a harder'} task or "
        "with another metric"
    )


@dataclass(frozen=True, kw_only=True)
class _Conclusion:
    """What to do."""

    text: str
    winner: Arm
    fine_tune: bool | None
    sharpening: bool = False


def _conclude(found: _Findings) -> _Conclusion:
    if found.undecided is not None:
        return _Conclusion(text=found.undecided, winner=found.base, fine_tune=None)
    if found.one_seed:
        return _keep(found)
    over_base = [row for row in found.against_base if row.verdict == "better"]
    if not over_base:
        return _stay(found)
    better = [row for row in found.against_nll if row.verdict == "better"]
    best = max(better, key=_goodness).arm if better else found.nll
    if all(row.arm != best for row in over_base):
        best = max(over_base, key=_goodness).arm
    return _use(found, next(row for row in over_base if row.arm == best))


def _goodness(row: Row) -> float:
    return row.score if row.higher_is_better else -row.score


def _use(found: _Findings, over_base: Row) -> _Conclusion:
    """The winner with what it gains."""
    arm, unit = over_base.arm, over_base.unit
    gain = f"{over_base.shown[0]} {unit} over {UNTOUCHED}"
    if arm == found.nll:
        return _Conclusion(text=f"Use nll: {_rest(found)} ({gain}).", winner=arm, fine_tune=True)
    row = next(row for row in found.against_nll if row.arm == arm)
    if row.verdict != "better":
        text = (
            f"Use {arm.label}: {gain}; that it is better than nll is not shown ({_measured(row)})."
        )
        return _Conclusion(text=text, winner=arm, fine_tune=True)
    over_nll, low, high = row.shown
    text = f"Use {arm.label}: {over_nll} {unit} over nll (95 % interval {low} to {high}; {gain})."
    closes = [row for row in found.control if row.arm == arm]
    sharpening = any(row.verdict in CLOSED for row in closes)
    for row in closes:
        if row.verdict in CLOSED:
            text += f" It is sharpening: {row.baseline.label} does as well."
        elif row.verdict != "better":
            text += f" That it is more than sharpening, over {row.baseline.label}, is not shown."
    return _Conclusion(text=text, winner=arm, fine_tune=True, sharpening=sharpening)


def _rest(found: _Findings) -> str:
    """What is said of the other objectives where NLL is used."""
    rest = [row for row in found.against_nll if not row.arm.control]
    if not rest:
        return "no other objective was run"
    if all(row.verdict == "worse" for row in rest):
        return "the others are worse"
    if all(row.verdict == "worse" or (row.dropped and row.gain < 0) for row in rest):
        return "the others are worse, or were far behind after one seed"
    return "no other objective is shown to be better"


def _keep(found: _Findings) -> _Conclusion:
    """With one seed: the checkpoint that the development documents chose, and what the test ones say."""
    evidence, study = found.evidence, found.evidence.study
    more = "the seeds that are due compare" if len(study.seeds) > 1 else "--seeds 3 compares"
    seeds = f"One seed compares checkpoints, not objectives: {more} objectives."
    runs = {arm: evidence.done[study.spec(arm, study.seeds[0]).id] for arm in found.board.runs
            if study.seeds[0] in found.board.runs[arm]}  # fmt: skip
    try:
        scores = {arm: part_mean(study, run, "development") for arm, run in runs.items()}
    except InputError:
        text = f"Nothing is kept: the runs have no scores on development documents to choose by. {seeds}"
        return _Conclusion(text=text, winner=found.base, fine_tune=None)
    best = max(scores, key=lambda arm: scores[arm])
    if best == found.base:
        text = f"Keep {UNTOUCHED}: no checkpoint does better on the development documents. {seeds}"
        return _Conclusion(text=_below(found, text), winner=best, fine_tune=None)
    row = next(row for row in found.against_base if row.arm == best)
    kept = best if row.gain > 0 else found.base
    what = (
        f"{UNTOUCHED}: {best.label} scores"
        if kept == found.base
        else f"the checkpoint of {best.label}:"
    )
    gain, low, high = row.shown
    text = (
        f"Keep {what} {gain} {row.unit} against {UNTOUCHED} on the test documents "
        f"(95 % interval {low} to {high})"
    )
    if row.verdict == "not resolved":
        text += f", which {_needed(found, row)}"
    return _Conclusion(
        text=_below(found, f"{text.rstrip('.')}. {seeds}"),
        winner=kept,
        fine_tune=True if row.verdict == "ahead" else None,
    )


def _stay(found: _Findings) -> _Conclusion:
    """Where no arm is shown to be better than the base: not worth it, or not resolved."""
    still = [row for row in found.against_base if not _closed(found, row)]
    most = max(found.against_base, key=lambda row: row.gain_interval[1])
    if not still and found.margin is not None:
        text = (
            f"Do not fine-tune: no arm gains as much as {_amount(found.margin, most.unit)} over {UNTOUCHED} "
            f"(at most {in_unit(most.gain_interval[1], most.unit, sign=True)}, {most.arm.label})."
        )
        return _Conclusion(text=_below(found, text), winner=found.base, fine_tune=False)
    top = max(still or found.against_base, key=lambda row: row.gain_interval[1])
    low, high = (in_unit(end, top.unit, sign=True) for end in top.gain_interval)
    text = (
        f"Not resolved: the gain of {top.arm.label} over {UNTOUCHED} lies in [{low}, {high}] "
        f"{top.unit}, which {_needed(found, top)} Until then keep {UNTOUCHED}."
    )
    return _Conclusion(text=_below(found, text), winner=found.base, fine_tune=None)


def _closed(found: _Findings, row: Row) -> bool:
    """Whether an arm's gain over the base is shown to be below the smallest that matters.

    The interval of one seed is of a checkpoint: for the objective's the seeds' assumed part is added.
    """
    if found.margin is None:
        return False
    if row.verdict == "equivalent":
        return True
    high = row.gain_interval[1]
    if row.difference.seeds == 1:
        if row.unit != "points":
            return False
        error = row.difference.standard_error
        width = (high - row.gain) / error
        high = row.gain + width * math.hypot(error, found.board.scale * ASSUMED_SEED_SD)
    return high < found.margin


def _amount(number: float, unit: str) -> str:
    return f"{number:g} {unit.removesuffix('s') if number == 1 else unit}"


def _below(found: _Findings, text: str) -> str:
    """The sentence, after one that says so where every arm lies below the base."""
    if any(row.gain >= 0 for row in found.against_base):
        return text
    best = max(found.against_base, key=lambda row: row.gain)
    where = "below" if best.higher_is_better else "above"
    least = f"{in_unit(-best.gain, best.unit)} {best.unit}"
    return (
        f"Every arm scores {where} {UNTOUCHED} (the best, {best.arm.label}, by {least}). {text} "
        "Try a lower learning rate or fewer steps, and see with `advisor validate` that the data are read in "
        "the form that the task asks for."
    )


def _needed(found: _Findings, row: Row) -> str:
    """How much would settle a gain of the size that was seen, or of the smallest that matters."""
    if len(found.board.runs[row.arm]) == 1 and row.unit != "points":
        return "more seeds would settle."  # how far they differ in this unit is not known
    pair = paired(found.board, row.arm, row.baseline)
    wanted = max(abs(row.gain), found.margin or 0.0) / found.board.scale
    size = sizes_that_settle(
        wanted, row.difference.seeds, _seen(pair), alpha=0.05 / len(found.against_base)
    )
    if size is None:
        return "no number of documents and seeds within reach would settle."
    return f"about {size[0]:,} documents x {size[1]} seeds would settle."


def _seen(pair: Paired) -> Spread:
    """The spread of a pair; with one seed the seeds' part is assumed, since it cannot be seen."""
    found = pair.spread()
    return replace(found, seed=ASSUMED_SEED_SD) if len(pair.first) == 1 else found


def _measured(row: Row) -> str:
    gain, low, high = row.shown
    return f"{gain} {row.unit}, 95 % interval {low} to {high}"


def _sharpened(study: Study, nll: Arm, curve: Mapping[float, float], board: Board) -> Arm | None:
    """NLL at the temperature up to the one of use that suits it best; None where that is the one of use."""
    sign = 1.0 if board.higher_is_better else -1.0
    cooler = [t for t in curve if t <= study.temperature]
    best = max(cooler, key=lambda t: (sign * curve[t], t == study.temperature))
    return None if best == study.temperature else replace(nll, decoding=best)


def _curve(evidence: Evidence, arm: Arm) -> dict[float, float]:
    temperatures: Sequence[float] = evidence.study.evaluation["temperatures"]
    return {t: evidence.board([arm], temperature=t).mean(arm) for t in temperatures}


def _dropped(evidence: Evidence) -> frozenset[Arm]:
    """The arms that racing dropped; one that has fewer seeds because the budget ended is none of them."""
    study, done = evidence.study, evidence.done
    rivals = [arm for arm in evidence.arms() if arm.objective != BASE]
    found = set()
    for arm in rivals:
        seeds = evidence.seeds(arm)
        unfinished = not study.full and arm.method != NLL and len(seeds) < len(study.seeds)
        if unfinished and arm not in in_the_race(study, rivals, done, seeds):
            found.add(arm)
    return frozenset(found)
