"""One run of a study: load, fine-tune, score, and the record of it. The effects of `study.py` are here."""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from harness.evaluate.lm_eval import TaskNotLoaded
from harness.evaluate.scorers import evaluate
from harness.evaluate.scoring import CHAT, arguments_of
from harness.evaluate.user_scorer import ScorerFailed
from harness.records.arm import BASE, needs_teacher
from harness.records.runs import Look, Run, RunSpec, Score
from harness.runtime.environment import Environment
from harness.runtime.memory import largest_that_fits, smaller_batches
from harness.runtime.time_limit import TookTooLong, at_most
from harness.study.failures import MachineFault, NotScored, blamed, fault_behind, in_one_line
from harness.study.fit_arm import Fitted, fit
from harness.study.problem import Problem

DOCUMENTS_AT_A_TIME = 64
_OF_THE_MODEL = re.compile("probability tensor|device-side assert")
"""In an error of torch's: what was to be sampled from, or looked up, is no number or out of bounds."""


def execute(spec: RunSpec, problem: Problem, until: float | None = None) -> Run:
    """Run one specification; whatever goes wrong becomes the record's error, so that a study goes on.

    Args:
        spec: of the run.
        problem: what it trains on and is scored by.
        until: of a piece: share of the steps to train to, from where it was left; below 1 the run has no
            scores but those of its last look.
    """
    start = time.monotonic()
    _forget_peak()
    environment = Environment.here()
    scores: list[Score] = []
    guards: list[Score] = []
    looks = _Looks(spec, problem)
    found = Fitted()
    error = None
    with smaller_batches() as smaller:
        try:
            with at_most(problem.limit, name_of(spec)):
                if problem.teachers is not None and not needs_teacher(spec.arm):
                    problem.teachers.rest()
                along = problem.looks and until is None and spec.arm.objective != BASE
                loaded, found = fit(spec, problem, look=looks.take if along else None, until=until)
                environment = Environment.here(device=loaded.device, dtype=loaded.dtype)
                if until is None or until == 1:
                    scores = _scored(spec, problem, loaded)
                    guards = _guarded(lambda: _of_guards(spec, problem, loaded))
                else:
                    looks.take(until, loaded)
        except (Exception, TookTooLong) as failure:  # of a model, a trainer or a task: anything
            error = in_one_line(blamed(failure))
    return replace(
        failed(spec, problem, error or "", environment),
        prior=_prior(problem, found),
        steps=tuple(found.steps),
        held_out=found.held_out,
        scores=tuple(scores),
        seconds=time.monotonic() - start,
        tokens=found.tokens,
        began=found.began,
        curve=looks.curve,
        guards=tuple(guards),
        smaller_batches=smaller or None,
        peak_memory_bytes=_peak_memory(),
        error=error,
    )


class _Looks:
    """What a run scores before its end."""

    def __init__(self, spec: RunSpec, problem: Problem) -> None:
        self.spec, self.problem = spec, problem
        self.start = time.monotonic()
        self.found: dict[float, Look] = {}

    @property
    def curve(self) -> tuple[Look, ...]:
        """Of the last attempt, where memory took several."""
        return tuple(self.found[share] for share in sorted(self.found))

    def take(self, share: float, loaded: LoadedModel) -> None:
        """Score the development documents, once each."""
        scores = _guarded(lambda: _score(self.spec, self.problem, loaded, looking=True))
        now = time.monotonic()
        self.found[share] = Look(share=share, scores=tuple(scores), seconds=now - self.start)
        self.start = now


def failed(
    spec: RunSpec, problem: Problem, error: str, environment: Environment | None = None
) -> Run:
    """The record of a run of which nothing is left but its error."""
    return Run(
        spec=spec,
        environment=environment or Environment.here(),
        domain=problem.domain,
        prior=problem.prior,
        steps=(),
        held_out={},
        scores=(),
        seconds=0.0,
        tokens=0,
        peak_memory_bytes=0,
        error=error,
    )


def name_of(spec: RunSpec) -> str:
    """A run as a line names it."""
    rate = spec.arm.learning_rate
    return spec.arm.method + ("" if rate is None else f" lr {rate:g} seed {spec.seed}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Seconds that parts of a run take, from a trial."""

    loading: float
    """Once a run."""
    step: float
    """An optimiser step."""
    answer: float
    """One answer to one document."""


def trial(spec: RunSpec, problem: Problem, *, steps: int = 3, documents: int = 32) -> Trial:
    """Time a few steps and documents of a run; nothing is recorded.

    Raises:
        InputError: it takes longer than a run may.
    """
    try:
        with at_most(problem.limit, f"a trial of {name_of(spec)}"):
            return _timed(spec, problem, steps, documents)
    except TookTooLong as error:
        raise InputError(f"a trial of {name_of(spec)} was {error}: raise --run_limit") from None


def _timed(spec: RunSpec, problem: Problem, steps: int, documents: int) -> Trial:
    short = replace(spec, training={**spec.training, "max_steps": steps})
    once = {"repeats": 1, "development_repeats": 1}
    settings = {**spec.evaluation, "limit": documents, **once}
    of_use = settings["temperature"]
    short = replace(short, evaluation={**settings, "temperatures": [of_use]})
    times = [time.monotonic()]
    load_model(problem.model, **problem.loading)
    times.append(time.monotonic())
    loaded, _ = fit(short, replace(problem, held_out=None, checkpoints=None, trackers=None))
    times.append(time.monotonic())
    answers = sum(len(score.documents) for score in _score(short, problem, loaded))
    times.append(time.monotonic())
    loading, training, scoring = (b - a for a, b in pairwise(times))
    return Trial(
        loading=loading, step=max(0.0, training - loading) / steps, answer=scoring / max(1, answers)
    )


def _prior(problem: Problem, found: Fitted) -> Mapping[str, Any] | None:
    """What was measured on the untouched model, and what came of the targets."""
    more = found.of_targets
    return {**(problem.prior or {}), **more} if more else problem.prior


def _scored(spec: RunSpec, problem: Problem, loaded: LoadedModel) -> list[Score]:
    """The scores of a model.

    Raises:
        NotScored: a score is no number, or a task fails on what the model says.
        ScorerFailed: the user's scorer does, whatever the model.
    """
    return _guarded(lambda: _score(spec, problem, loaded))


def _guarded(score: Callable[[], list[Score]]) -> list[Score]:
    """Scores, where whatever goes wrong with them says whose fault it is.

    What is not known to be the model's, an error of torch's that says neither, is raised as it is: it may go
    well the next time.
    """
    try:
        return score()
    except ScorerFailed:
        raise
    except TaskNotLoaded as error:  # it was, before any run
        raise MachineFault(str(error)) from error
    except Exception as error:
        of_model = _OF_THE_MODEL.search(str(error)) is not None
        if not of_model and (isinstance(error, RuntimeError) or fault_behind(error) is not None):
            raise
        raise NotScored(in_one_line(error).removeprefix("ValueError: ")) from error


def _score(
    spec: RunSpec, problem: Problem, loaded: LoadedModel, *, looking: bool = False
) -> list[Score]:
    """Development documents at the temperature of use; test documents at every temperature.

    Answers sampled at the temperature of use are several, to documents of either part. `looking`, it is the
    development documents alone, one answer to each.
    """
    settings = spec.evaluation
    of_use = settings["temperature"]
    repeats = {"development": settings.get("development_repeats", 1), "test": settings["repeats"]}
    parts = [("development", (of_use,)), ("test", settings["temperatures"])]
    if looking:
        repeats, parts = {"development": 1}, parts[:1]
    scores = []
    for part, temperatures in parts:
        for temperature in temperatures:
            scores += score_part(
                spec,
                problem,
                loaded,
                part=part,
                temperature=temperature,
                repeats=repeats[part] if temperature == of_use and of_use > 0 else 1,
                generated_only=temperature != temperatures[0],  # the others do not depend on it
            )
    return scores


def score_part(
    spec: RunSpec,
    problem: Problem,
    loaded: LoadedModel,
    *,
    part: str,
    temperature: float,
    repeats: int,
    generated_only: bool = False,
) -> list[Score]:
    """Scores of one part of the documents at one temperature, as a run's are; see `evaluate`."""
    settings = spec.evaluation
    score = partial(
        evaluate,
        loaded.model,
        loaded.tokenizer,
        problem.tasks,
        temperature=temperature,
        repeats=repeats,
        limit=settings.get("limit"),
        **arguments_of(settings, problem.train.info),
        seed=spec.seed,
        part=part,
        include_path=problem.include_path,
        trust_remote_code=bool(problem.loading.get("trust_remote_code")),
        generated_only=generated_only,
    )
    return _in_batches(score, problem)


def _of_guards(spec: RunSpec, problem: Problem, loaded: LoadedModel) -> list[Score]:
    """All documents of every guard, one answer to each at the temperature of use; its own first score."""
    if not problem.guards:
        return []
    settings, info = spec.evaluation, problem.train.info
    chat: bool | str = bool(settings.get("guards_as_chats"))
    if chat and info.template in CHAT:
        chat = info.template_text
    score = partial(
        evaluate,
        loaded.model,
        loaded.tokenizer,
        problem.guards,
        temperature=settings["temperature"],
        limit=settings.get("limit"),
        apply_chat_template=chat,
        seed=spec.seed,
        part="all",
        include_path=problem.include_path,
        trust_remote_code=bool(problem.loading.get("trust_remote_code")),
    )
    return [replace(found, part="guard") for found in _in_batches(score, problem)]


def _in_batches(score: Callable[..., list[Score]], problem: Problem) -> list[Score]:
    """Scores from the largest batches of documents that fit into memory."""
    more = dict(problem.evaluation)
    largest = more.pop("batch_size", DOCUMENTS_AT_A_TIME)
    return largest_that_fits(lambda size: score(batch_size=size, **more), largest, "documents")


def _forget_peak() -> None:
    """Have `_peak_memory` tell of what comes; a process's own peak, on a CPU, stays that of all its runs."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory() -> int:
    """Peak of this run's memory on the GPU, else of resident memory of this process so far; bytes."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
