"""What comes after the fine-tunes of a study: which runs are starts, and what continuing them has come to.

Pure. A continuation is a record of its own: of the start's arm, with the settings of GRPO, the scores from
before it at share 0 of its curve, and those from after it as its scores; several answers to every test
document, of which pass@1 and pass@16 are taken without bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records.arm import BASE, NLL, Arm, labels
from harness.records.metrics import SHARE
from harness.records.runs import Run, RunSpec, Score
from harness.records.training_texts import texts_of
from harness.reinforce.grpo_settings import GROUP, PROMPTS, Then
from harness.statistics.paired import Difference, paired_difference
from harness.statistics.pass_at_k import LARGE_K, SAMPLES, Coverage, coverage, pass_at_k
from harness.study.study import Study, chosen_arms
from harness.study.study_options import GRPO

KS = (1, LARGE_K)
NARROWS = 1.0
"""rho_16 above which TailSFT is published to cover more."""


@dataclass(frozen=True, kw_only=True)
class Continued:
    """An arm before and after GRPO, on the same documents."""

    arm: Arm
    """What the start was trained with."""
    seeds: tuple[int, ...]
    """On which it was continued."""
    documents: int
    """Test documents over all tasks."""
    before: Mapping[int, float]
    """k -> pass@k, points."""
    after: Mapping[int, float]
    """Likewise."""
    change: Mapping[int, Difference]
    """k -> after less before, points."""


@dataclass(frozen=True, kw_only=True)
class Afterwards:
    """What continuing the starts of a study has come to."""

    rows: tuple[Continued, ...]
    """The untouched model first, then NLL, then the others."""
    coverage: Coverage | None
    """What plain fine-tuning loses and gains of pass@16; None where it was not among the starts."""
    failed: tuple[str, ...]
    """Starts whose continuation failed, a sentence each."""
    left: int
    """Starts that are still to be continued."""
    steps: int
    """Optimiser steps of GRPO, the same for every start."""

    @property
    def labels(self) -> dict[Arm, str]:
        """Every start to its text."""
        return labels(row.arm for row in self.rows)

    @property
    def lines(self) -> tuple[str, ...]:
        """What a reader has to know beside the table, a sentence or two each."""
        found = []
        if self.left:
            found.append(
                f"{self.left} start(s) are not continued yet: start the same command again."
            )
        found += self.failed
        if self.coverage is not None:
            found.append(coverage_in_words(self.coverage))
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "then": GRPO,
            "steps": self.steps,
            "starts": [_plain(row, self.labels[row.arm]) for row in self.rows],
            "coverage": None
            if self.coverage is None
            else {**asdict(self.coverage), "ratio": self.coverage.ratio},
            "failed": list(self.failed),
            "left": self.left,
        }


def starts_of(study: Study, runs: Sequence[Run]) -> list[RunSpec]:
    """The runs that are continued: the untouched model, every arm at its chosen rate on every seed that ran.

    Without NLL at a tenth of its rate. All arms come on one seed before any comes on the next.
    """
    done = {run.spec.id for run in runs}
    arms = [arm for arm in chosen_arms(study, runs) if not arm.control]
    tuned = [arm for arm in arms if arm.objective != BASE]
    specs = [study.base(), *(study.spec(arm, seed) for seed in study.seeds for arm in tuned)]
    return [spec for spec in specs if spec.id in done]


def continuation(start: RunSpec, then: Then) -> RunSpec:
    """The specification of a start's continuation, from that of the run that is continued."""
    of_use = float(start.evaluation["temperature"])
    heat = of_use if of_use > 0 else 1.0
    kept = {k: v for k, v in start.evaluation.items() if k != "development_repeats"}
    asked = {"temperature": heat, "temperatures": [heat], "repeats": then.samples}
    return replace(
        start,
        training=texts_of(then.settings),
        evaluation={**kept, **asked, "then": GRPO, "start": start.id},
    )


def afterwards_of(
    study: Study, runs: Sequence[Run], continued: Sequence[Run], *, again: Sequence[Run] = ()
) -> Afterwards | None:
    """What the continuations of a study's runs say; None where there is none.

    Args:
        study: whose runs are starts.
        runs: finished ones of it.
        continued: records of continuations, of this and other studies; of several budgets the one that most
            starts have had counts, then the largest.
        again: records of those that have failed and are no records for good: they are still to be made.
    """
    starts = starts_of(study, runs)
    known = {spec.id for spec in starts}
    budgets: dict[int, dict[str, Run]] = {}
    for run in continued:
        if (start := str(run.spec.evaluation.get("start"))) in known:
            budgets.setdefault(int(run.spec.training["max_steps"]), {})[start] = run
    if not budgets and not again:
        return None
    steps = (
        max(budgets, key=lambda budget: (len(budgets[budget]), budget))
        if budgets
        else int(again[0].spec.training["max_steps"])
    )
    found = budgets.get(steps, {})
    by_arm: dict[Arm, list[Run]] = {}
    for run in sorted(
        found.values(), key=lambda run: run.spec.seed
    ):  # on a disk they have no order
        if run.error is None:
            by_arm.setdefault(run.spec.arm.trained, []).append(run)
    ordered = sorted(by_arm, key=lambda arm: arm.order)
    return Afterwards(
        rows=tuple(_row(arm, by_arm[arm]) for arm in ordered),
        coverage=_coverage(by_arm),
        failed=tuple(
            f"GRPO from {run.spec.arm.method}, seed {run.spec.seed}, failed: {run.error}"
            for run in (*found.values(), *again)
            if run.error is not None
        ),
        left=len(starts) - len(found),
        steps=steps,
    )


def unfit(base: Run) -> str | None:
    """Why answers cannot be counted as passed, as the end of a refusal; None where they can."""
    for score in base.scores:
        if score.part != "test":
            continue
        if score.temperature is None:
            return f"{score.task} chooses among answers and generates none"
        if score.unit != SHARE or not score.higher_is_better:
            return f"{score.metric} of {score.task} is no share of right answers"
    return None


def in_words(study: Study, steps: int, base: Run) -> str:
    """What will be continued, and about how long that takes, before it is done."""
    number = 1 + (len(study.steps) or len(study.objectives) * len(study.seeds))
    answers = sum(len(score.documents) * len(score.values[0]) for score in base.scores)
    tests = {(s.task, len(s.documents)) for s in base.scores if s.part == "test"}
    documents = sum(count for _, count in tests)
    # An answer in training is drawn, read again and learnt from.
    each = 2 * SAMPLES * documents + 3 * GROUP * PROMPTS * steps
    minutes = number * each * base.seconds / max(1, answers) / 60
    return (
        f"then GRPO from at most {number} starts, {steps} steps of {GROUP * PROMPTS} answers each, and "
        f"{SAMPLES} answers to each of {documents} test documents before and after it: "
        f"at most about {minutes:.0f} min"
    )


def coverage_in_words(found: Coverage) -> str:
    """What plain fine-tuning loses and gains of pass@16, and what was published of that."""
    if not found.items:
        return "No test document had .05 < pass@16 < .95 before, so that there is no rho_16."
    rho = "no rho_16" if found.ratio is None else f"rho_16 {found.ratio:.2f}"
    text = (
        f"{rho}: on the {found.items} test documents with .05 < pass@16 < .95 before, plain fine-tuning lost "
        f"{100 * found.lost:.1f} points of pass@16 and gained {100 * found.gained:.1f}."
    )
    if found.ratio is None or found.ratio <= NARROWS:
        return text
    return (
        f"{text} Where it is above 1, tailsft covered more in 10 of 11 published settings of 7B parameters "
        "(arXiv:2608.25756); in none of 4 of our cells of 0.15M (docs/afterwards.md)."
    )


def _row(arm: Arm, runs: Sequence[Run]) -> Continued:
    tables = [(_answers(run.curve[0].scores), _answers(run.scores)) for run in runs]
    before, after, change = {}, {}, {}
    for k in KS:
        was, now = (
            np.array([100 * pass_at_k(both[when], k) for both in tables]) for when in (0, 1)
        )
        before[k], after[k] = float(was.mean()), float(now.mean())
        change[k] = paired_difference(now, was)
    return Continued(
        arm=arm,
        seeds=tuple(run.spec.seed for run in runs),
        documents=len(tables[0][0]),
        before=before,
        after=after,
        change=change,
    )


def _coverage(by_arm: Mapping[Arm, Sequence[Run]]) -> Coverage | None:
    """Of the first seed."""
    first = {arm.method: runs[0] for arm, runs in by_arm.items()}
    if not {BASE, NLL} <= first.keys():
        return None
    before, after = (_answers(first[name].curve[0].scores) for name in (BASE, NLL))
    return coverage(before, after)


def _answers(scores: Sequence[Score]) -> NDArray[np.float64]:
    """[documents of all tasks, answers]."""
    return np.concatenate([np.array(score.values) for score in scores])


def _plain(row: Continued, label: str) -> dict[str, Any]:
    return {
        "arm": label,
        "seeds": list(row.seeds),
        "documents": row.documents,
        **{
            f"pass@{k}": {
                "before": row.before[k],
                "after": row.after[k],
                "change": row.change[k].estimate,
                "interval": list(row.change[k].interval),
            }
            for k in KS
        },
    }
