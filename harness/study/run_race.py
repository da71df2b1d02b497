"""A race carried out, piece by piece, until another is not worth its price; the effects of `race.py`.

What a piece scored is on the disk before the next begins, with its checkpoint, so that a kill loses at most
the piece at hand. Several processes on one folder share the work: each takes a lease on the run that it goes
on with, which ends with the process.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from advisor.advice.belief import Array, Belief
from advisor.advice.learnt_belief import shipped
from advisor.advice.mixture import Mixture
from advisor.files import publish, read_json
from harness.records.runs import Results, Run, RunSpec, Score, as_kept
from harness.statistics.paired import task_weights
from harness.study.confirm import (
    Event,
    Outcome,
    Plan,
    finished_runs,
    keep,
    known,
    later_than,
    seconds_of_parts,
)
from harness.study.execute import execute
from harness.study.failures import Failure, fails_again, is_out
from harness.study.problem import Problem
from harness.study.race import Costs, Place, stands
from harness.study.race_log import Told, note
from harness.study.study import Study, ending_of, part_mean, part_scores
from harness.train.pieces import seal

PIECES, LEASES, COSTS = "pieces", "leases", "race-costs.json"
"""In the folder of the records."""
PRICELESS = 1e3
"""What a point is worth in full runs, where runs are bought whatever they cost."""
WAIT = 2.0
"""Seconds before looking again, where another process has what is next."""


def race(
    study: Study,
    problem: Problem,
    results: Results,
    base: Run,
    *,
    point_cost: float = 1.0,
    until_decided: bool = False,
    budget: float | None = None,
    on_start: Callable[[RunSpec], None] = lambda spec: None,
    on_run: Callable[[Event], None] = lambda event: None,
    on_state: Callable[[Told], None] = lambda told: None,
) -> Outcome:
    """Carry a race out; started again, or in several processes, it goes on where it stands.

    Args:
        study: whose steps are the arms.
        problem: what they train on and are scored by.
        results: where all of it is kept.
        base: the run of the untouched model.
        point_cost: what a point is worth, in full runs.
        until_decided: buy whatever it costs until the leader is unlikely to lose more than five points.
        budget: seconds after which no further piece is begun, once a run is at its end.
        on_start: told a piece that begins.
        on_run: told a piece that has ended.
        on_state: told before every piece where the race stands.

    Raises:
        InputError: the machine is at fault: starting again goes on from there.
    """
    start = time.monotonic()
    arms = tuple(study.run_of(step) for step in study.steps)
    seconds = _costs(study, problem, base, results)
    costs = _priced(seconds, len(arms), PRICELESS if until_decided else point_cost)
    prior, documents = believed(study, problem, base)
    shares, failures, busy = shipped().at, dict[str, Failure](), set[int]()
    while True:
        done = {run.spec.id: run for run in finished_runs(study, results)}
        parts = {run.spec.id: run for run in results.parts()}
        failures |= known(study, results, done)
        out = [i for i, spec in enumerate(arms) if is_out(spec, failures)]
        right = _right(study, arms, done, parts, shares)
        state = stands(prior, shares, right, costs, documents=documents,
                       first=study.first_share, out=out, busy=busy,
                       until_decided=until_decided)  # fmt: skip
        told = Told(arms=arms, shares=shares, state=state, spent=time.monotonic() - start,
                    run_seconds=seconds.whole)  # fmt: skip
        late = budget is not None and told.spent > budget and len(done) > 1
        over = len(out) == len(arms) or ending_of(study, list(done.values())) is not None
        if late or over or state.piece is None:
            elsewhere = bool(busy) or _held_elsewhere(results, arms)
            if elsewhere and not late:
                time.sleep(WAIT)  # what another process is at may change what is worth doing
                busy.clear()
                continue
            _tell(told, results, on_state)
            return Outcome(study=study, runs=list(done.values()),
                           complete=not elsewhere and (over or state.piece is None),
                           left_out=tuple(failures.values()))  # fmt: skip
        spec, share = arms[state.piece.arm], shares[state.piece.share]
        with lease(results, spec) as mine:
            if not mine:
                busy.add(state.piece.arm)
                continue
            busy.clear()
            if _reached(spec, results, shares) > state.piece.share:
                continue  # another process was faster
            _tell(told, results, on_state)
            on_start(spec)
            failure, run = piece_of(study, problem, results, spec, share)
            if failure is not None:
                failures[spec.id] = failure
            left = told.run_seconds * (1 - share)
            on_run(Event(run, len(done) + (share == 1), 1 + len(arms), left,
                         failure.reason if failure else None))  # fmt: skip


def _tell(told: Told, results: Results, on_state: Callable[[Told], None]) -> None:
    """Note where a race stands, and tell who watches."""
    note(results.folder, told)
    on_state(told)


def plan_of_race(study: Study, problem: Problem, results: Results, base: Run) -> Plan:
    """What a race will do at most."""
    done = finished_runs(study, results)
    seconds = _costs(study, problem, base, results)
    left = 1 + len(study.steps) - len(done)
    tested = part_scores(study, base, "test").values()
    return Plan(
        runs=1 + len(study.steps),
        finished=len(done),
        seconds=left * seconds.whole,
        documents=sum(len(score.documents) for score in tested),
        detectable=None,
    )


def believed(study: Study, problem: Problem, base: Run) -> tuple[Belief | Mixture, int]:
    """What is believed before any piece, and the number of development documents."""
    prior = problem.prior or {}
    documents = sum(len(s.documents) for s in part_scores(study, base, "development").values())
    belief = shipped().belief(
        "sampled" if study.temperature > 0 else "greedy",
        accuracy=min(1.0, max(0.0, part_mean(study, base, "development"))),
        mean_p=float(prior["mean_p"]),
        parameters=float(prior["model"]["parameters"]),
    )
    return belief, documents


@contextmanager
def lease(results: Results, spec: RunSpec) -> Iterator[bool]:
    """Whether a run is this process's for now; nobody else's while the block runs."""
    folder = results.folder / LEASES
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{spec.id}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _held_elsewhere(results: Results, arms: Sequence[RunSpec]) -> bool:
    """Whether another process goes on with one of the arms."""
    for spec in arms:
        with lease(results, spec) as mine:
            if not mine:
                return True
    return False


def piece_of(
    study: Study, problem: Problem, results: Results, spec: RunSpec, share: float
) -> tuple[Failure | None, Run]:
    """Do one piece and keep what came of it."""
    before = next((run.curve for run in results.parts() if run.spec.id == spec.id), ())
    run = execute(spec, problem, until=share)
    run = replace(
        run,
        planned=study.planned(later_than(results.runs())),
        curve=(*before, *run.curve),
        seconds=run.seconds + sum(look.seconds for look in before),
    )
    run = as_kept(run)
    if run.error is not None or share == 1:
        failure = keep(run, results)
        if run.error is None or fails_again(run):
            forget(results, spec)
        return failure, run
    results.write_part(run)
    for place in (results.folder / PIECES / spec.id).glob("*"):
        seal(place)
    return None, run


def forget(results: Results, spec: RunSpec) -> None:
    """Remove what stands between the pieces of a run; its record has the curve."""
    shutil.rmtree(results.folder / PIECES / spec.id, ignore_errors=True)
    (results.folder / "parts" / f"{spec.id}.json").unlink(missing_ok=True)


def forget_all(study: Study, results: Results, left_out: Sequence[Failure] = ()) -> None:
    """Remove the checkpoints between the pieces of a race that has ended; what was scored stays.

    So do those of arms that failed and are tried again: what fails again has none any more.
    """
    failed = {(failure.method, failure.learning_rate) for failure in left_out}
    for step in study.steps:
        if (step.method, step.learning_rate) not in failed:
            shutil.rmtree(results.folder / PIECES / study.run_of(step).id, ignore_errors=True)


def parts_of(study: Study, results: Results) -> tuple[Run, ...]:
    """The runs of a race that were not taken to their ends."""
    arms = {study.run_of(step).id for step in study.steps}
    return tuple(run for run in results.parts() if run.spec.id in arms)


def _reached(spec: RunSpec, results: Results, shares: Sequence[float]) -> int:
    """Number of shares at which a run has been scored."""
    if results.find(spec) is not None:
        return len(shares)
    curve = next((run.curve for run in results.parts() if run.spec.id == spec.id), ())
    return max((shares.index(look.share) + 1 for look in curve), default=0)


def _right(
    study: Study,
    arms: Sequence[RunSpec],
    done: Mapping[str, Run],
    parts: Mapping[str, Run],
    shares: Sequence[float],
) -> dict[Place, Array]:
    """[documents] share of the right answers, by arm and share of the steps."""
    found: dict[Place, Array] = {}
    for arm, spec in enumerate(arms):
        run = done.get(spec.id) or parts.get(spec.id)
        if run is None:
            continue
        for look in run.curve:
            found[arm, shares.index(look.share)] = values_within(study, look.scores)
        if spec.id in done:
            own = part_scores(study, run, "development").values()
            found[arm, len(shares) - 1] = values_within(study, list(own))
    return found


def values_within(study: Study, scores: Sequence[Score]) -> Array:
    """[documents of all tasks] in a fixed order, times `task_weights`, about the mean over tasks.

    So their variance is of documents within their tasks: that tasks differ is no error of counting.
    """
    found = {score.task: score for score in scores}
    parts = [
        np.array(found[task].oriented)[np.argsort(found[task].documents)] for task in study.tasks
    ]
    within: Array = np.concatenate([own - own.mean() for own in parts])
    weights = task_weights([len(own) for own in parts])
    return weights * within + float(np.mean([own.mean() for own in parts]))


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """What the parts of a run take on this machine."""

    training: float
    """All steps, and loading the model."""
    look: float
    """Scoring the development documents once."""
    last: float
    """All scores at the end."""

    @property
    def whole(self) -> float:
        """A run with its scores at the end."""
        return self.training + self.last


def _priced(seconds: Seconds, arms: int, point_cost: float) -> Costs:
    whole = seconds.whole
    return Costs(
        training=(seconds.training / whole,) * arms,
        scoring=seconds.look / whole,
        last=seconds.last / whole,
        point_cost=point_cost,
    )


def _costs(study: Study, problem: Problem, base: Run, results: Results) -> Seconds:
    """Seconds by a trial, once: a race that is started again, or elsewhere, reckons with the same.

    They are kept under the id of the race's first run, which holds model, rows, tasks and training.
    """
    path = results.folder / COSTS
    own = study.run_of(study.steps[0]).id
    try:
        kept = read_json(path)
    except (OSError, ValueError):
        kept = {}
    with suppress(TypeError, LookupError):
        return Seconds(**kept[own])
    training, answer = seconds_of_parts(study, problem)
    answers = {part: sum(len(score.documents) * len(score.values[0]) for score in base.scores
                         if score.part == part) for part in ("development", "test")}  # fmt: skip
    looked = sum(len(s.documents) for s in part_scores(study, base, "development").values())
    found = Seconds(
        training=training,
        look=answer * looked,
        last=answer * (sum(answers.values()) + sum(len(s.documents) for s in base.guards)),
    )
    others = kept if isinstance(kept, dict) else {}
    text = json.dumps({**others, own: asdict(found)}) + "\n"
    publish(path, text.encode(), subject=str(path), remedy="give another --results folder")
    return found


def pieces_in(results: Path | str) -> Path:
    """Where the checkpoints between pieces stand, wherever a run is executed."""
    return Path(results).resolve() / PIECES
