"""`advisor decide`: of runs made elsewhere, which checkpoint to keep, and how sure that is.

Pure. All decodings of a checkpoint compete. The best arm on the documents that choose (the development ones;
all, where no part is given) is kept, with what `contrasts` says of it against the second, NLL and the
untouched model; test documents, which did not choose, are reported beside. What is said is what `confirm`
says: with one seed a checkpoint is ahead or behind, never better or worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.compare.common_documents import best_first, board_of, parts_of, values_of
from harness.compare.plan_file import Planned, missing
from harness.compare.score_tables import WHOLE
from harness.compare.scored_arm import Scored, as_data, text_of, texts_of
from harness.records.arm import BASE, NLL, Arm
from harness.records.metrics import in_unit
from harness.statistics.across_tasks import RESAMPLES
from harness.statistics.paired import paired_difference
from harness.statistics.power import documents_needed
from harness.study.contrasts import Board, Race, Row, contrasts, paired
from harness.study.forgetting import UNTOUCHED
from harness.study.verdict import at_the_edge

Action = Literal["keep", "stay", "run", "undecided"]
"""Keep a checkpoint; stay with the untouched model; run what the plan lacks first; score on another task."""
SCHEMA = 1
OPEN = ("not resolved", "equivalent")
"""Verdicts that are within noise, or too small to matter."""
AT_A_TIME = 100
"""Resamples that are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where an arm stands on some documents."""

    arm: Arm
    mean: float
    """Over tasks, seeds and documents, in the unit of the decision."""
    standard_error: float
    """Of the mean, from documents and, with several, from seeds."""
    seeds: tuple[int, ...]
    """Of its runs."""
    best_seed: int
    """Of the run with the best mean: the checkpoint to take, where the arm is kept."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Arms on some documents."""

    name: str
    """"development", "test" or "all"."""
    documents: int
    """That all arms share, over all tasks."""
    standings: tuple[Standing, ...]
    """Best first."""
    rows: tuple[Row, ...]
    """The best of those that choose, against the second, NLL at its best and the base at its best.

    Where the best is the base, against the best fine-tune too.
    """


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, and what that rests on."""

    action: Action
    text: str
    """What to do, in a sentence or two."""
    keep: Arm | None
    """What to use meanwhile or for good; None: the untouched model, whose scores were not given."""
    best: Arm
    """The best on the documents that choose; is kept unless test documents or the task speak against it."""
    chosen_on: Part
    """The documents that chose."""
    test: Part | None
    """Documents that did not choose."""
    chance: float
    """Share of resamples of the documents in which the same arm is the best."""
    within_noise: bool | None
    """Whether the best is not told from the second; None where there is none."""
    missing: tuple[Arm, ...]
    """Runs of the plan that are due and have no scores."""
    labels: Mapping[Arm, str]
    """Every arm to its text."""
    unit: str
    """Of scores and differences."""
    higher_is_better: bool
    notes: tuple[str, ...]
    """What was left out, and what would settle it."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        keep = (
            None if self.keep is None else {"label": self.labels[self.keep], **as_data(self.keep)}
        )
        return {
            "schema": SCHEMA,
            "action": self.action,
            "text": self.text,
            "keep": keep,
            "best": self.labels[self.best],
            "within_noise": self.within_noise,
            "chance_same": self.chance,
            "chance_other": round(1 - self.chance, 6),
            "unit": self.unit,
            "higher_is_better": self.higher_is_better,
            "chosen_on": self._part(self.chosen_on),
            "test": None if self.test is None else self._part(self.test),
            "missing": [as_data(arm) for arm in self.missing],
            "notes": list(self.notes),
        }

    def _part(self, part: Part) -> dict[str, Any]:
        return {
            "part": part.name,
            "documents": part.documents,
            "arms": [
                {"label": self.labels[one.arm], **as_data(one.arm), "score": one.mean,
                 "standard_error": one.standard_error, "seeds": list(one.seeds), "best_seed": one.best_seed}
                for one in part.standings
            ],
            "differences": [
                {"arm": self.labels[row.arm], "baseline": self.labels[row.baseline],
                 "difference": row.difference.estimate, "interval": list(row.difference.interval),
                 "p_value": row.adjusted_p, "verdict": row.verdict, "documents": row.difference.documents,
                 "seeds": row.difference.seeds}
                for row in part.rows
            ],
        }  # fmt: skip


def decide(
    scored: Sequence[Scored], planned: Sequence[Planned] = (), *, margin: float | None = None
) -> Decision:
    """Which arm to keep.

    Args:
        scored: runs of arms on parts of tasks.
        planned: runs that a plan means to make; empty where there is none.
        margin: difference that does not matter, in the unit of the scores; None: one point for shares.

    Raises:
        InputError: parts that do not fit together, arms without a task that others have, fewer than two
            documents in common.
    """
    name, choosing, testing = parts_of(scored)
    texts = texts_of(one.arm for one in sorted(scored, key=lambda one: one.arm.preference))
    board, sizes, notes = board_of(name, choosing, texts)
    arms = best_first(board)
    best, race = arms[0], Race(margin=margin)
    against = _rivals(arms)
    rows = {other: contrasts(board, arms, other, race) for other in against}
    part = _part(name, board, sizes, arms, [_of(rows[other], best) for other in against])
    test, more = _tested(testing, best, against, texts, race) if testing else (None, [])
    points = board.unit == "points" and board.higher_is_better
    lacking = missing(planned, {arm: board.mean(arm) if points else None for arm in arms})
    noisy = [row for row in part.rows[:1] if row.verdict in OPEN]
    needs = [_settled_by(board, row, texts, margin, len(arms)) for row in noisy]
    decision = Decision(
        action="keep",
        text="",
        keep=best,
        best=best,
        chosen_on=part,
        test=test,
        chance=_chance(board, sizes, best),
        within_noise=bool(noisy) if part.rows else None,
        missing=tuple(lacking),
        labels={**{arm: text_of(arm) for arm in lacking}, **texts},
        unit=board.unit,
        higher_is_better=board.higher_is_better,
        notes=(*notes, *more, *needs, *_without_base(arms)),
    )
    edge = at_the_edge(board, [row for family in rows.values() for row in family])
    return _acted(decision, edge, len(planned))


def _rivals(arms: Sequence[Arm]) -> list[Arm]:
    """What the best is held against: the second, NLL and the base at their best.

    The base is held against the best fine-tune before NLL: its own second temperature settles nothing.
    """
    best, *others = arms
    tuned = next((arm for arm in others if arm.objective != BASE), None)
    found = (
        *others[:1],
        tuned if best.objective == BASE else None,
        *(next((arm for arm in others if arm.method == name), None) for name in (NLL, BASE)),
    )
    return [arm for arm in dict.fromkeys(found) if arm is not None]


def _of(rows: Sequence[Row], arm: Arm) -> Row:
    return next(row for row in rows if row.arm == arm)


def _part(
    name: str, board: Board, sizes: Sequence[int], arms: Sequence[Arm], rows: Sequence[Row]
) -> Part:
    return Part(
        name=name,
        documents=sum(sizes),
        standings=tuple(_standing(board, sizes, arm) for arm in arms),
        rows=tuple(rows),
    )


def _standing(board: Board, sizes: Sequence[int], arm: Arm) -> Standing:
    values = values_of(board, arm)
    error = paired_difference(values, np.zeros(values.shape[1]), sizes=sizes).standard_error
    seeds = tuple(board.runs[arm])
    return Standing(
        arm=arm,
        mean=board.mean(arm),
        standard_error=board.scale * error,
        seeds=seeds,
        best_seed=seeds[int(values.mean(axis=1).argmax())],
    )


def _tested(
    scored: Sequence[Scored],
    best: Arm,
    against: Sequence[Arm],
    texts: Mapping[Arm, str],
    race: Race,
) -> tuple[Part | None, list[str]]:
    """The arms on test documents. No arm is chosen here, so that each comparison stands for itself."""
    there = {one.arm for one in scored}
    if best not in there:
        return None, [f"{texts[best]} has no scores on test documents"]
    board, sizes, notes = board_of("test", scored, texts)
    rows = [_of(contrasts(board, [best], other, race), best) for other in against if other in there]
    return _part("test", board, sizes, best_first(board), rows), notes


def _chance(board: Board, sizes: Sequence[int], best: Arm) -> float:
    """Share of bootstrap resamples of the documents, task by task, in which the same arm is the best.

    A resample in which several are counts for each of them in part.
    """
    arms = list(board.runs)
    values = np.array([values_of(board, arm).mean(axis=0) for arm in arms])
    rng, same = np.random.default_rng(0), 0.0
    for start in range(0, RESAMPLES, AT_A_TIME):
        several = min(AT_A_TIME, RESAMPLES - start)
        means = (_drawn(rng, several, sizes) @ values.T).round(9)
        leads = means == means.max(axis=1, keepdims=True)
        same += float((leads[:, arms.index(best)] / leads.sum(axis=1)).sum())
    return same / RESAMPLES


def _drawn(rng: np.random.Generator, several: int, sizes: Sequence[int]) -> NDArray[np.float64]:
    """How often each document is drawn, [resamples, documents]."""
    counts = [rng.multinomial(size, np.full(size, 1 / size), size=several) for size in sizes]
    return np.concatenate(counts, axis=1).astype(np.float64)


def _settled_by(
    board: Board, row: Row, texts: Mapping[Arm, str], margin: float | None, arms: int
) -> str:
    """What it would take to tell the best from the second, were they as different as they look."""
    names = f"{texts[row.arm]} and {texts[row.baseline]} are within noise"
    wanted = max(abs(row.gain), board.margin(margin) or 0.0) / board.scale
    if row.verdict == "equivalent":
        return f"{names}: they differ by less than matters"
    if wanted == 0:
        return names
    pair = paired(board, row.arm, row.baseline)
    alpha = 0.05 / max(1, arms - 1)
    needed = documents_needed(wanted, len(pair.first), pair.spread(), alpha=alpha)
    what = "more seeds" if needed is None else f"about {needed:,} documents"
    return f"{names}; a difference of {wanted * board.scale:.2g} {board.unit} takes {what}"


def _without_base(arms: Sequence[Arm]) -> list[str]:
    if any(arm.objective == BASE for arm in arms):
        return []
    return [f"no arm is called {BASE}: add the untouched model, to see whether to fine-tune at all"]


def _acted(found: Decision, edge: str | None, planned: int) -> Decision:
    """The decision with what to do."""
    action, keep, text = _kept(found)
    if edge is not None:
        action, keep, text = "undecided", _base(found), f"{edge}."
    if found.missing:
        names = ", ".join(found.labels[arm] for arm in found.missing)
        lack = f"{len(found.missing)} of {planned} runs"
        text = f"Run what is missing of the plan first, {lack}: {names}. So far: {text}"
        action = "run"
    return replace(found, action=action, keep=keep, text=text)


def undecided(found: Decision, text: str) -> Decision:
    """The decision where the task cannot tell the arms apart, as a text says."""
    return replace(found, action="undecided", keep=_base(found), text=text)


def _base(found: Decision) -> Arm | None:
    """The untouched model at its best."""
    arms = (one.arm for one in found.chosen_on.standings)
    return next((arm for arm in arms if arm.objective == BASE), None)


def _kept(found: Decision) -> tuple[Action, Arm | None, str]:
    """What to keep, as `confirm` does: the best, unless test documents have the base ahead of it."""
    base, best = _base(found), found.labels[found.best]
    top = found.chosen_on.standings[0]
    where = f"on {found.chosen_on.documents:,} {_kind(found.chosen_on)}"
    if found.best.objective == BASE:
        return _stay(found, where)
    tested = (
        [row for row in found.test.rows if row.baseline.objective == BASE] if found.test else []
    )
    if tested and tested[0].gain <= 0:
        return "stay", base, (
            f"Keep {UNTOUCHED}: {best}, the best {where}, is no better on the test documents, which did not "
            f"choose ({_said(tested[0], found.labels)})."
        )  # fmt: skip
    mean, error = (in_unit(x, found.unit) for x in (top.mean, top.standard_error))
    text = f"Keep {best}: {mean} {found.unit} {where} (standard error {error})"
    if found.chosen_on.rows:
        text += f"; {_said(found.chosen_on.rows[0], found.labels)}"
        text += ", within noise" if found.within_noise else ""
    over = [
        row
        for row in found.chosen_on.rows
        if row.baseline.objective == BASE and row.verdict in OPEN
    ]
    shown = "".join(f" That it is better than {UNTOUCHED} is not shown." for _ in over[:1])
    return "keep", found.best, f"{text}.{shown}{_on_test(found)}"


def _stay(found: Decision, where: str) -> tuple[Action, Arm | None, str]:
    """The untouched model leads: for good where that is told apart, else for now."""
    rows = [row for row in found.chosen_on.rows if row.baseline.objective != BASE]
    near = f" ({_said(rows[0], found.labels)})" if rows else ""
    if not rows:
        text = f"Keep {UNTOUCHED} for now: no fine-tune has scores {where}."
    elif rows[0].verdict in OPEN:
        text = f"Keep {UNTOUCHED} for now: none does better {where}{near}, within noise."
    else:
        text = f"Do not fine-tune: none is better than the base {where}{near}."
    tested = (
        [row for row in found.test.rows if row.baseline.objective != BASE] if found.test else []
    )
    if tested and tested[0].gain < 0 and tested[0].verdict not in OPEN:
        text += (
            f" On the test documents, which did not choose, it is behind "
            f"({_said(tested[0], found.labels)}): score more documents that choose."
        )
        return "undecided", _base(found), text
    return "stay", _base(found), text


def _on_test(found: Decision) -> str:
    """What the best scores on documents that did not choose, as a sentence; empty where there are none."""
    if found.test is None:
        return ""
    [own] = [one for one in found.test.standings if one.arm == found.best]
    against = f" ({_said(found.test.rows[0], found.labels)})" if found.test.rows else ""
    where = f"{found.test.documents:,} test documents, which did not choose"
    return f" On {where}, it scores {in_unit(own.mean, found.unit)}{against}."


def _kind(part: Part) -> str:
    return "documents" if part.name == WHOLE else f"{part.name} documents"


def _said(row: Row, labels: Mapping[Arm, str]) -> str:
    gain, low, high = row.shown
    return f"{gain} against {labels[row.baseline]}, 95 % interval {low} to {high}"
