"""Where the runs of a study are executed: here, one after another, or on Ray, as many as it has room for.

An executor takes specifications as it gets to them and gives back runs as they end; it writes nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from advisor.errors import InputError
from harness.records.runs import Run, RunSpec
from harness.study.beginnings import Beginnings, wanted_by
from harness.study.execute import execute, failed
from harness.study.problem import Problem
from harness.train.kept_beginning import remove

Executor = Callable[[Iterable[RunSpec], Problem], Iterator[Run]]


def one_by_one(specs: Iterable[RunSpec], problem: Problem) -> Iterator[Run]:
    """In this process, in the order given."""
    for spec in specs:
        yield execute(spec, problem)


def on_ray(specs: Iterable[RunSpec], problem: Problem) -> Iterator[Run]:
    """As Ray tasks, each on one GPU, or on one CPU core where there is none.

    The cluster is the one of RAY_ADDRESS, else this machine. A path of a model has to be one on every node.
    On one core a sum may round otherwise than on several: the same number of threads gives the same scores.

    Raises:
        InputError: Ray is not installed.
    """
    ray = _ray()
    room = ray.cluster_resources()
    gpus = int(room.get("GPU", 0))
    task = ray.remote(num_cpus=1, num_gpus=min(1, gpus))(execute)
    shared, waiting = ray.put(problem), iter(specs)
    running: dict[Any, RunSpec] = {}
    try:
        while True:
            for spec in islice(waiting, max(1, gpus or int(room.get("CPU", 1))) - len(running)):
                running[task.remote(spec, shared)] = spec
            if not running:
                return
            ready = ray.wait(list(running), num_returns=1)[0][0]
            spec = running.pop(ready)
            try:
                yield ray.get(ready)
            except ray.exceptions.RayError as error:
                yield failed(spec, problem, f"WorkerDied: {str(error).splitlines()[0]}")
    finally:
        for left in running:
            ray.cancel(left, force=True)


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


def _ray() -> Any:
    """Ray, connected; quiet, and without its usage reports."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise InputError(
            "--executor ray: Ray is not installed: pip install 'objective-advisor[ray]'"
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    return ray


EXECUTORS: dict[str, Executor] = {"local": one_by_one, "ray": on_ray}
"""By the name that the command line gives them."""
