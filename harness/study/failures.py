"""Runs that failed: what of a study is out because of it, while the rest goes on.

A refusal is of an arm, whatever its learning rate; a training that diverges, a score that is no number, a
process that dies or a run that takes longer than it may is of one rate. Trouble of the machine, a full disk
or no network, or of a scorer of the user's, ends the study: it would take every arm, and starting again goes
on from there.
"""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from advisor.errors import InputError, TrainingDiverged
from harness.evaluate.user_scorer import ScorerFailed
from harness.records.arm import BASE, NLL
from harness.records.runs import Results, Run, RunSpec
from harness.runtime.time_limit import TookTooLong
from harness.study.study import Study


class NotScored(RuntimeError):
    """A trained model that could not be scored, or whose score is no number."""


OF_THE_ARM = ("ArmRefused", InputError.__name__)
"""Errors of a run after which its arm is out at every learning rate."""
CERTAIN = (TrainingDiverged.__name__, NotScored.__name__)
"""Errors that come again with the same specification: such a run is not tried twice."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that failed, and what of the study is out."""

    method: str
    """Of the arm (`Arm.method`)."""
    learning_rate: float | None
    """None where the arm is out at every rate."""
    seed: int
    """On which it failed."""
    reason: str
    """One sentence."""

    @property
    def line(self) -> str:
        """One sentence for the reader."""
        rate = "" if self.learning_rate is None else f" at learning rate {self.learning_rate:g}"
        return f"{self.method}{rate} is left out: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def failure_of(run: Run) -> Failure | None:
    """What is out because of a run; None where it is finished.

    Raises:
        InputError: the untouched model could not be run, or the machine or the user's scorer is at fault.
    """
    if run.error is None:
        return None
    name, _, reason = run.error.partition(": ")
    kind = getattr(builtins, name, None)
    arm = run.spec.arm
    of_machine = isinstance(kind, type) and issubclass(kind, OSError)
    if arm.objective == BASE or of_machine or name == ScorerFailed.__name__:
        raise InputError(f"{arm.method} failed ({run.error})")
    whole = name in OF_THE_ARM
    return Failure(
        method=arm.method,
        learning_rate=None if whole else arm.learning_rate,
        seed=run.spec.seed,
        reason=reason if whole or name in (*CERTAIN, TookTooLong.__name__) else run.error,
    )


def known_failures(results: Results, done: Collection[str]) -> Iterable[tuple[RunSpec, Failure]]:
    """Failures in a folder of records that would only come again.

    Args:
        results: the folder.
        done: ids of finished runs: where a retry went well, that counts.
    """
    for run in results.failed():
        name = (run.error or "").partition(": ")[0]
        if name not in CERTAIN or run.spec.id in done or run.spec.arm.objective == BASE:
            continue
        if (failure := failure_of(run)) is not None:
            yield run.spec, failure


def without(study: Study, failures: Collection[Failure]) -> Study:
    """What is left of a study.

    Raises:
        InputError: NLL is not, with which everything is compared.
    """
    refused = {f.method for f in failures if f.learning_rate is None}
    rates = {(f.method, f.learning_rate) for f in failures if f.learning_rate is not None}
    rest = study.without(refused).without_rates(rates)
    rest = replace(rest, left_out=tuple(dict.fromkeys(f.line for f in failures)))
    if NLL in study.objectives and NLL not in rest.objectives and not study.steps:
        reasons = dict.fromkeys(f.line for f in failures if f.method == NLL)
        raise InputError(
            f"{NLL}, with which every arm is compared, could not be run at any learning rate: "
            f"{'; '.join(reasons)}: give other --learning_rates"
        )
    return rest


def is_out(spec: RunSpec, failures: Mapping[str, Failure]) -> bool:
    """Whether a run need not be started, after these failures, by the id of the failed run."""
    return any(
        spec.arm.method == f.method and f.learning_rate in (None, spec.arm.learning_rate)
        for f in failures.values()
    )
