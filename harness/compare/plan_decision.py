"""The runs of a plan that `confirm` has carried out, decided on as `advisor decide` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.compare.decide import Decision, decide, undecided
from harness.compare.measured import Measured
from harness.compare.scored_arm import Scored
from harness.compare.untold import untold
from harness.records.arm import Arm, labels
from harness.records.runs import Run, Score
from harness.study.afterwards import Afterwards
from harness.study.checkpoint_folders import best_of, folder_of
from harness.study.contrasts import Row
from harness.study.failures import Failure
from harness.study.forgetting import guard_rows, said_of
from harness.study.from_records import Evidence
from harness.study.race_log import Standing, standings
from harness.study.run_study import Confirmed
from harness.study.study import Study, board_unit
from harness.study.study_options import RACE

PARTS = ("development", "test")


@dataclass(frozen=True, kw_only=True)
class PlanDecision:
    """What a plan has come to."""

    decision: Decision
    """Which run to keep, or the untouched model, and how sure that is."""
    plan: str | None
    """Its name."""
    best_checkpoint: Path | None
    """Where the best fine-tune lies, whether it is to be used or not; None where none was made."""
    curve: Mapping[Arm, Mapping[float, float]]
    """By run, temperature -> mean test score, points or the metric's own unit."""
    along: Mapping[Arm, Mapping[float, float]]
    """By run, share of its steps -> mean development score; those of a race as far as they went."""
    standings: tuple[Standing, ...]
    """Of a race, what was believed before every piece and at the end."""
    complete: bool
    """Whether nothing is left to run."""
    left_out: tuple[Failure, ...]
    """What failed."""
    guards: tuple[Row, ...] = ()
    """Every run against the untouched model on every guard; empty without guards."""
    afterwards: Afterwards | None = None
    """What continuing the runs has come to; None where they are not continued."""

    @property
    def headline(self) -> str:
        """What to do, in a sentence or two."""
        return self.decision.text

    @property
    def fine_tune(self) -> bool:
        """Whether to use a fine-tune rather than the untouched model."""
        return self.decision.action == "keep"

    @property
    def checkpoint(self) -> Path | None:
        """The fine-tune to use; None where the untouched model is better, or nothing is on the disk."""
        best = self.best_checkpoint
        return best if best is not None and self.fine_tune and best.is_dir() else None

    @property
    def forgets(self) -> str:
        """What the run that is kept loses on the guards, in a sentence; empty where none is, or no guards."""
        keep = self.decision.keep
        return said_of(keep.trained, self.guards) if keep is not None and self.fine_tune else ""

    def __str__(self) -> str:
        forgets = [self.forgets] if self.forgets else []
        lines = [
            self.headline,
            *forgets,
            *self.decision.notes,
            *(failure.line for failure in self.left_out),
        ]
        if not self.complete:
            lines.append("Not complete: started again, it goes on where it stopped.")
        return "\n".join([*lines, self.place])

    @property
    def place(self) -> str:
        """Where the best fine-tune lies, in words."""
        if self.best_checkpoint is None:
            return "no fine-tune was made"
        if not self.best_checkpoint.is_dir():
            return f"not found on this machine: {self.best_checkpoint}"
        name = "kept" if self.fine_tune else "the best fine-tune, all the same"
        return f"{name}: {self.best_checkpoint}"

    def progress(self) -> dict[str, Mapping[float, float]]:
        """`along`, by the texts of all its arms side by side."""
        return {text: self.along[arm] for arm, text in labels(self.along).items()}

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        labels = self.decision.labels
        return {
            **self.decision.to_dict(),
            "headline": self.headline,
            "fine_tune": self.fine_tune,
            "plan": self.plan,
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "best_checkpoint": None if self.best_checkpoint is None else str(self.best_checkpoint),
            "complete": self.complete,
            "curve": {
                labels[arm]: {f"{heat:g}": score for heat, score in found.items()}
                for arm, found in self.curve.items()
            },
            "along": {
                text: {f"{share:g}": score for share, score in found.items()}
                for text, found in self.progress().items()
            },
            "guards": [_of_guard(row) for row in self.guards],
            "left_out": [failure.to_dict() for failure in self.left_out],
            **({"afterwards": self.afterwards.to_dict()} if self.afterwards else {}),
        }


def decision_of(
    found: Confirmed, results: Path, *, margin: float | None = None
) -> PlanDecision | None:
    """The decision on the finished runs of a plan; None where no fine-tune is finished, but was due.

    Where the task cannot tell the runs apart, the decision is that: nothing is kept.

    Args:
        found: of a study with steps.
        results: folder of the records.
        margin: difference that does not matter, in the unit of the scores; None: one point for shares.

    Raises:
        InputError: the runs were scored on different documents or by different metrics.
    """
    best, reason = best_of(found.study, found.runs), untold(found.study, found.runs)
    if best is None and reason is None:
        return None
    decision = decide(_scored(found.study, found.runs), margin=margin)
    scale = board_unit([score for run in found.runs for score in run.scores])["scale"]
    return PlanDecision(
        decision=decision if reason is None else undecided(decision, reason),
        plan=found.study.plan,
        best_checkpoint=None if best is None else folder_of(results, best.spec),
        curve={_arm(found.study, run): _curve(run, scale) for run in found.runs},
        along=_along(found, scale),
        standings=_standings(found.study, results),
        complete=found.complete,
        left_out=found.left_out,
        guards=guard_rows(Evidence(study=found.study, runs=found.runs), margin=margin),
        afterwards=found.afterwards,
    )


def _standings(study: Study, results: Path) -> tuple[Standing, ...]:
    """How a race stood on its way: the lines of this one, where a folder holds several."""
    own = {study.run_of(step).id for step in study.steps}
    lines = standings(results) if study.plan == RACE else ()
    return tuple(line for line in lines if line.leader in own)


def _of_guard(row: Row) -> dict[str, Any]:
    return {
        "guard": row.task,
        "arm": row.arm.label,
        "score": row.score,
        "untouched": row.baseline_score,
        "difference": row.difference.estimate,
        "interval": list(row.difference.interval),
        "verdict": row.verdict,
    }


def failed(found: Confirmed) -> str:
    """What is said where no fine-tune of a plan has come to an end."""
    reasons = "; ".join(failure.line for failure in found.left_out)
    return f"no fine-tune of the plan has come to an end{': ' if reasons else ''}{reasons}"


def _arm(study: Study, run: Run) -> Arm:
    return replace(run.spec.arm, decoding=study.temperature)


def _scored(study: Study, runs: Sequence[Run]) -> list[Scored]:
    """Scores at the temperature of use; the untouched model's without a rate."""
    return [
        Scored(
            arm=_arm(study, run),
            measured=Measured(
                setting="", arm=run.spec.arm.label, seed=run.spec.seed, score=score, conditions={}
            ),
        )
        for run in runs
        for score in _of_use(study, run)
    ]


def _of_use(study: Study, run: Run) -> list[Score]:
    return [
        score
        for score in run.scores
        if score.part in PARTS
        and score.task in study.tasks
        and score.temperature in (study.temperature, None)
    ]


def _along(found: Confirmed, scale: float) -> dict[Arm, dict[float, float]]:
    """Only runs that were scored along the way."""
    curves: dict[Arm, dict[float, float]] = {}
    for run in (*found.runs, *found.parts):
        if run.curve:
            curve = {look.share: scale * _mean(look.scores) for look in run.curve}
            if own := [s for s in _of_use(found.study, run) if s.part == PARTS[0]]:
                curve[1.0] = scale * _mean(own)
            curves[run.spec.arm] = curve
    return curves


def _mean(scores: Sequence[Score]) -> float:
    return sum(score.mean for score in scores) / len(scores)


def _curve(run: Run, scale: float) -> dict[float, float]:
    """Temperature -> mean over tasks of the test score."""
    found: dict[float, list[float]] = {}
    for score in run.scores:
        if score.part == "test" and score.temperature is not None:
            found.setdefault(score.temperature, []).append(scale * score.mean)
    return {heat: sum(scores) / len(scores) for heat, scores in sorted(found.items())}
