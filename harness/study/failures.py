"""Runs that failed: what of a study is out because of it, while the rest goes on.

A refusal is of an arm, whatever its learning rate; a training that diverges, a score that is no number, a
process that dies or a run that takes longer than it may is of one rate. Trouble of the machine, a full disk,
no network or a GPU that fails, or of a scorer of the user's, ends the study: it would take every arm, and
starting again goes on from there.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from advisor.errors import InputError, TrainingDiverged
from advisor.model.out_of_memory import is_out_of_memory
from harness.evaluate.user_scorer import ScorerFailed
from harness.records.arm import BASE, NLL
from harness.records.runs import Results, Run, RunSpec
from harness.runtime.time_limit import TookTooLong
from harness.study.study import Study


class NotScored(RuntimeError):
    """A trained model that could not be scored, or whose score is no number."""


class MachineFault(RuntimeError):
    """Trouble of the machine, in the words of the error that says so."""


OF_THE_ARM = ("ArmRefused", InputError.__name__)
"""Errors of a run after which its arm is out at every learning rate."""
CERTAIN = (TrainingDiverged.__name__, NotScored.__name__)
"""Errors that come again with the same specification: such a run is not tried twice."""
_SETTLED = (TrainingDiverged, NotScored, MachineFault, ScorerFailed, TookTooLong)
"""Errors that say themselves whose fault they are, whatever was raised on the way."""
_DEVICE = re.compile(
    r"\b(CUDA|HIP|XPU|cuDNN|NCCL)( driver)? error\b|Triton Error \[", re.IGNORECASE
)


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


def fault_behind(error: BaseException) -> BaseException | None:
    """What the machine lacks, in an error or in what it came of; None: nothing.

    That is a disk, a network, memory, or a GPU on which nothing runs any more.
    """
    from advisor.hub import HUB_ERRORS  # a third of a second

    cause: BaseException | None = error
    while cause is not None:
        of_device = isinstance(cause, RuntimeError) and _DEVICE.search(str(cause)) is not None
        if isinstance(cause, (OSError, *HUB_ERRORS)) or is_out_of_memory(cause) or of_device:
            return cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return None


def blamed(error: BaseException) -> BaseException:
    """The error that a record is to name: what the machine lacks, where that lies behind another one.

    A lack of memory keeps its name, for another arm may need less of it.
    """
    fault = None if isinstance(error, _SETTLED) else fault_behind(error)
    if fault is None:
        return error
    return fault if is_out_of_memory(fault) else MachineFault(in_one_line(fault))


@contextmanager
def read_before() -> Iterator[None]:
    """What a block reads could be read before any run: where it cannot be now, it is the machine's fault.

    Raises:
        MachineFault: in place of an InputError.
    """
    try:
        yield
    except InputError as error:
        raise MachineFault(str(error)) from error


def in_one_line(error: BaseException) -> str:
    """An exception as a record keeps it: its class, which says what is out, and its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


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
    if name == MachineFault.__name__:
        raise InputError(f"{arm.method} failed ({reason})")
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


def fails_again(run: Run) -> bool:
    """Whether a run that has failed would only fail again: else it is tried again, from where it was."""
    return (run.error or "").partition(": ")[0] in (*CERTAIN, *OF_THE_ARM)


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
