"""Where the runs of a study are executed: here, one after another, or on Ray, as many as it has room for.

An executor takes specifications as it gets to them and gives back runs as they end; it writes nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from advisor.errors import InputError
from advisor.progress import span
from harness.records.runs import Run, RunSpec
from harness.runtime import time_limit
from harness.study.beginnings import Beginnings, wanted_by
from harness.study.execute import execute, failed
from harness.study.problem import Problem
from harness.study.study_options import StudyOptions
from harness.train.kept_beginning import remove

Executor = Callable[[Iterable[RunSpec], Problem], Iterator[Run]]
RETRIES = 3
"""Of a run whose process or node was lost; after that the run has failed."""


def one_by_one(specs: Iterable[RunSpec], problem: Problem) -> Iterator[Run]:
    """In this process, in the order given."""
    for spec in specs:
        yield execute(spec, problem)


def on_ray(
    specs: Iterable[RunSpec],
    problem: Problem,
    *,
    address: str | None = None,
    gpus: float | None = None,
) -> Iterator[Run]:
    """As Ray tasks, as many at a time as the cluster has room for while it grows and shrinks.

    What the runs have in common is sent to every node once, and read once in every process that runs several:
    one on CPUs, where Ray keeps its processes. A run whose process or node is lost is tried again, elsewhere
    where there is more than one node; its record is found under its specification, so that none counts twice.
    A process that is ended because its run hangs is lost as well: that run is not tried again, and named.
    A path of a model has to be one on every node. On one core a sum may round otherwise than on several: the
    same number of threads gives the same scores.

    Args:
        specs: asked for one by one, as there is room.
        problem: what they have in common.
        address: of the cluster; None: RAY_ADDRESS, else the cluster that runs here, else this machine alone.
        gpus: that a run takes, 1 or a fraction of one; None: one where there are any.

    Raises:
        InputError: no Ray, no cluster, no such GPU, or a node that cannot run what it is sent.
    """
    ray = _ray(address)
    each = _gpus_of_a_run(ray, problem, gpus)
    # Ray would try what hangs again as well, for as long each time.
    task = ray.remote(num_cpus=1, num_gpus=each, max_retries=0)(execute_on_a_node)
    shared, waiting = [ray.put(problem)], iter(specs)
    running: dict[Any, _Sent] = {}

    def send(spec: RunSpec, tries: int) -> None:
        running[task.remote(spec, shared)] = _Sent(spec=spec, tries=tries, at=time.monotonic())

    try:
        while True:
            room = _room(ray.cluster_resources(), each) - len(running)
            for spec in islice(waiting, max(0, room)):
                send(spec, 1)
            if not running:
                return
            ready = ray.wait(list(running), num_returns=1)[0][0]
            sent = running.pop(ready)
            run = _ended(ray, ready, sent, problem)
            if run is None:
                send(sent.spec, sent.tries + 1)
            else:
                yield run
    finally:
        for left in running:
            ray.cancel(left, force=True)


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """A run that is executed, or waits for its turn, somewhere."""

    spec: RunSpec
    """Of the run."""
    tries: int
    """How often it was sent, this time included."""
    at: float
    """When, `time.monotonic()`."""


def execute_on_a_node(spec: RunSpec, shared: Sequence[Any]) -> Run:
    """Run a specification in one of Ray's processes.

    Args:
        spec: of the run.
        shared: of one element, Ray's reference to the problem, in a list so that it comes as it is.
    """
    return execute(spec, _fetched(shared[0]))


@lru_cache(maxsize=1)
def _fetched(reference: Any) -> Problem:
    """A problem, with the teachers that runs before this one have loaded."""
    import ray

    found: Problem = ray.get(reference)
    return found


def _gpus_of_a_run(ray: Any, problem: Problem, asked: float | None) -> float:
    """What a run takes; 0 where it is to run on a CPU.

    Raises:
        InputError: more than any node has; Ray would wait for such a node without end.
    """
    found = [node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]]
    on_cpu = problem.loading.get("device") == "cpu"
    if asked is not None and (on_cpu or max(found, default=0) < asked):
        why = "--device cpu is given too" if on_cpu else "no node of the cluster has a GPU"
        raise InputError(f"--gpus {asked:g}: {why}: leave it out")
    if on_cpu:
        return 0
    return min(1, max(found, default=0)) if asked is None else asked


def _room(resources: Mapping[str, float], each: float) -> int:
    """How many runs a cluster has room for, at least one."""
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    return max(1, min(cpus, gpus * int(1 / each)) if each else cpus)


def _ended(ray: Any, ready: Any, sent: _Sent, problem: Problem) -> Run | None:
    """The run of a task that has ended; None: its process or node was lost, and it is to be sent again.

    Raises:
        InputError: the node could not even begin; what goes wrong in a run is in its record.
    """
    errors = ray.exceptions
    try:
        run: Run = ray.get(ready)
        return run
    except errors.RayTaskError as error:
        lines = str(error).strip().splitlines()
        if isinstance(error.cause, errors.RayError):  # what was sent is lost on the way
            return failed(sent.spec, problem, f"WorkerDied: {lines[-1]}")
        raise InputError(
            f"--executor ray: a node cannot run what it is sent ({lines[-1]}): install the same versions on "
            "every node (`advisor env` lists them)"
        ) from error
    except errors.RayError as error:
        if problem.limit and time.monotonic() - sent.at >= problem.limit + time_limit.GRACE:
            text = (
                f"it took more than {span(problem.limit)}, the limit of one run, and did not answer"
            )
            return failed(sent.spec, problem, f"{time_limit.TookTooLong.__name__}: {text}")
        if sent.tries <= RETRIES:
            return None
        return failed(sent.spec, problem, f"WorkerDied: {str(error).splitlines()[0]}")


def sharing(executor: Executor, planned: Sequence[RunSpec], folder: Path) -> Executor:
    """An executor whose runs go on from each other's beginnings, which are kept until nobody wants them.

    Args:
        executor: to which it is added; it is given back as it is where nobody wants any.
        planned: all that it will be given, or more.
        folder: of the beginnings.
    """
    wanted = wanted_by(planned)
    if not wanted:
        return executor

    def execute_all(specs: Iterable[RunSpec], problem: Problem) -> Iterator[Run]:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        shared = replace(problem, beginnings=Beginnings(folder=folder, wanted=wanted))
        ended = set()
        for run in executor(specs, shared):
            yield run
            ended.add(run.spec.id)
            for begun, takers in wanted.items():
                if takers.keys() <= ended:
                    remove(folder / begun)

    return execute_all


def _imported() -> Any:
    """Ray, without its usage reports; InputError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise InputError(
            "--executor ray: Ray is not installed: pip install 'objective-advisor[ray]'"
        ) from None
    return ray


def _ray(address: str | None) -> Any:
    """Ray, connected; quiet, and with our own way to end on a signal.

    Raises:
        InputError: it is not installed, or there is no cluster at the address.
    """
    ray = _imported()
    if ray.is_initialized():
        return ray
    try:
        with _signals_kept():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "none given"
        said = str(error).strip().splitlines()[0]
        raise InputError(
            f"--address {where}: no Ray cluster can be used there ({said}): start one with "
            "`ray start --head`, which prints its address"
        ) from error
    return ray


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray sets a handler of SIGTERM as it connects, which ends a program without a word."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def connected(options: StudyOptions, *, at_once: bool) -> Iterator[None]:
    """Within the block runs can be executed where they are to be, and what Ray itself says goes to stderr.

    A thread of Ray's prints on stdout, at any time, that a node was lost; but there a result is awaited.

    Args:
        options: where runs are executed.
        at_once: see that there is a cluster before any work; else when the first run is executed.

    Raises:
        InputError: there is none.
    """
    if options.executor != "ray":
        yield
        return
    ours = not _imported().is_initialized()
    with redirect_stdout(sys.stderr):
        try:
            if at_once:
                _ray(options.address)
            yield
        finally:
            if ours:
                _imported().shutdown()


def executor_of(options: StudyOptions) -> Executor:
    """The executor that is asked for, with its settings.

    Raises:
        InputError: settings of a cluster, and runs are not executed on one.
    """
    chosen = EXECUTORS[options.executor]
    return partial(chosen, **settings) if (settings := options.cluster) else chosen


EXECUTORS: dict[str, Executor] = {"local": one_by_one, "ray": on_ray}
"""By the name that the command line gives them."""
