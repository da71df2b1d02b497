"""Where runs are executed, and what is seen while they run; both on made-up runs, Ray on a tiny study."""

import builtins
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from advisor.errors import InputError
from harness.cli.live import COLUMNS, reporting
from harness.cli.main import main
from harness.records.runs import Results, Run, RunSpec
from harness.runtime import time_limit
from harness.study import confirm as confirming
from harness.study import executors
from harness.study.confirm import Event, confirm
from harness.study.executors import (
    RETRIES,
    connected,
    execute_on_a_node,
    executor_of,
    on_ray,
    one_by_one,
)
from harness.study.from_records import evidence_of
from harness.study.study import next_runs
from harness.study.study_options import StudyOptions
from tests.helpers.paths import ROOT
from tests.helpers.studies import (
    PLAN,
    PROBLEM,
    flat,
    plan_of,
    play,
    prior_leaning_wins,
    result_of,
    run_of,
    study_of,
    truth_of_the_plan,
)


def test_records_are_read_once_however_many_runs(tmp_path: Path, monkeypatch: Any) -> None:
    study, results = study_of(), Results(tmp_path)
    read: list[int] = []
    whole = Results.runs
    monkeypatch.setattr(Results, "runs", lambda self: read.append(1) or whole(self))

    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        return map(result_of, specs)

    outcome = confirm(study, PROBLEM, results, PLAN, executor=executor)
    assert outcome.complete and len(read) == 1
    wanted = {run.spec.id for run in play(study, prior_leaning_wins)}
    assert (
        {run.spec.id for run in outcome.runs} == wanted == {run.spec.id for run in whole(results)}
    )


def test_runs_may_end_in_any_order(tmp_path: Path) -> None:
    def backwards(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        return map(result_of, reversed(list(specs)))

    outcome = confirm(study_of(), PROBLEM, Results(tmp_path), PLAN, executor=backwards)
    ids = {run.spec.id for run in outcome.runs}
    assert outcome.complete and ids == {run.spec.id for run in play(study_of(), prior_leaning_wins)}


def test_an_arm_that_is_refused_is_left_out(tmp_path: Path) -> None:
    asked, events = [], []

    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        for spec in specs:
            asked.append(spec.arm.method)
            run = result_of(spec)
            error = "ArmRefused: nothing" if spec.arm.method == "neg_p" else None
            yield replace(run, error=error)

    outcome = confirm(
        study_of(), PROBLEM, Results(tmp_path), PLAN, executor=executor, on_run=events.append
    )
    assert outcome.complete and outcome.study.objectives == ("nll", "threshold(0.2)")
    assert asked.count("neg_p") == 1  # not at the other learning rates, not on other seeds
    assert [event.refused for event in events if event.refused] == ["nothing"]
    assert [failure.line for failure in outcome.left_out] == ["neg_p is left out: nothing"]
    assert outcome.study.left_out == ("neg_p is left out: nothing",)
    assert next_runs(outcome.study, outcome.runs) == []


@pytest.mark.parametrize(
    ("arm", "error"),
    [
        ("base", "RuntimeError: boom"),
        ("neg_p", "OSError: No space left on device"),
        ("neg_p", "ScorerFailed: a judge that does not answer"),
    ],
)
def test_trouble_of_the_machine_ends_the_study_in_one_line(
    tmp_path: Path, arm: str, error: str
) -> None:
    """A full disk would take every arm; what has run is kept. So does a base that cannot be scored."""

    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        for spec in specs:
            run = result_of(spec)
            yield replace(run, error=error) if spec.arm.method == arm else run

    with pytest.raises(InputError, match=rf"{arm} failed \({error}\); its record is .*failed"):
        confirm(study_of(), PROBLEM, Results(tmp_path), PLAN, executor=executor)
    kept = {run.spec.arm.method for run in Results(tmp_path).runs()}
    assert kept == ({"base", "nll"} if arm != "base" else set())


def test_a_spent_budget_starts_no_more_runs(tmp_path: Path, monkeypatch: Any) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(confirming.time, "monotonic", lambda: float(next(clock)))

    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        return map(result_of, specs)

    study = study_of()
    outcome = confirm(study, PROBLEM, Results(tmp_path), PLAN, executor=executor, budget=1.0)
    grid = 1 + len(study.objectives) * len(study.learning_rates)
    assert not outcome.complete and len(outcome.runs) == grid  # enough to say something


def test_within_the_budget_a_run_is_begun_that_may_end_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of 20 minutes begin after 0 and 20 of 30 minutes, as the help says; none after 40."""
    clock, begun = [0.0], list[float]()
    monkeypatch.setattr(confirming.time, "monotonic", lambda: clock[0])
    results, plan = Results(tmp_path), plan_of()
    results.write(run_of(plan.base(), flat(0.3)))

    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        for spec in specs:
            begun.append(clock[0])
            clock[0] += 1200.0
            right = truth_of_the_plan(spec.arm.method, spec.arm.learning_rate)
            yield replace(run_of(spec, right), seconds=1200.0)

    outcome = confirm(plan, PROBLEM, results, PLAN, executor=executor, budget=1800.0)
    assert begun == [0.0, 1200.0] and not outcome.complete


def test_the_last_plan_counts_also_where_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where `report` rebuilds the study before, and says that nothing is left of the new arm."""
    results, arms = Results(tmp_path), ("nll", "neg_p")
    for objectives, clock in ((arms, 2000.0), ((*arms, "threshold(0.2)"), 1000.0)):
        monkeypatch.setattr(confirming.time, "time", lambda clock=clock: clock)
        study = study_of(objectives=objectives, seeds=(0,))
        confirm(study, PROBLEM, results, PLAN, executor=lambda specs, _: map(result_of, specs))
    [evidence] = evidence_of(results.runs())
    assert set(evidence.study.objectives) == {*arms, "threshold(0.2)"}


def test_runs_of_other_grids_and_seeds_in_the_folder_are_not_counted(tmp_path: Path) -> None:
    results, study = Results(tmp_path), study_of(learning_rates=(1e-3,), seeds=(0, 1))
    own = play(study, prior_leaning_wins)
    others = play(study_of(learning_rates=(3e-4,), seeds=(0, 1, 2)), prior_leaning_wins)
    more_seeds = [run for run in play(study_of(), prior_leaning_wins) if run.spec.seed == 2]
    for run in (*own, *others, *more_seeds):
        results.write(run)
    assert any(run.spec.arm.learning_rate == 1e-3 for run in more_seeds)  # of this grid
    assert {run.spec.arm.learning_rate for run in own if run.spec.arm.method == "nll"} == {
        1e-3,
        1e-4,
    }
    found = confirming.finished_runs(study, results)
    assert len(found) == len(own) and {r.spec.id for r in found} == {r.spec.id for r in own}
    without = study.without(["neg_p"])
    assert {r.spec.arm.method for r in confirming.finished_runs(without, results)} == {
        "base",
        *without.objectives,
    }


def shown(console: Console, finished: int = 0) -> str:
    study = study_of(objectives=("nll", "[bold]x\x1b[31m"))
    done = play(study, lambda name, rate: flat(0.5 if name == "nll" else 0.25))
    with reporting(study, done[:finished], console) as reporter:
        reporter.start(done[finished].spec)
        reporter.report(Event(done[finished], 7, 20, 300.0))
        reporter.start(done[finished + 1].spec)
        reporter.report(Event(done[finished + 1], 8, 20, 240.0, "it cannot"))
        reporter.start(done[finished + 2].spec)
    file: Any = console.file
    return str(file.getvalue())


def test_lines_where_it_is_no_terminal() -> None:
    text = shown(Console(file=io.StringIO(), width=120), 1)
    first, second = text.splitlines()
    run = play(study_of(), lambda name, rate: flat(0.5))[1]
    values = next(s.values for s in run.scores if s.part == "test" and s.temperature == 1.0)
    score = f"{100 * np.mean(values):.1f}"
    assert first == f"7/20 nll lr 0.0001 seed 0: {score} (1 s; at most 5 min left)"
    assert second == "nll is left out: it cannot"


def test_what_takes_long_is_said_until_it_has_ended() -> None:
    study = study_of(objectives=("nll",))
    done = play(study, lambda name, rate: flat(0.5))
    console = Console(file=io.StringIO(), width=120)
    with reporting(study, [], console) as reporter:
        reporter.tell()
        reporter.start(done[1].spec)
        reporter.tell()
        reporter.report(Event(done[1], 1, 20, 300.0))
        reporter.tell()
    file: Any = console.file
    first, second = str(file.getvalue()).splitlines()
    assert first == "running: nll lr 0.0001 seed 0 for 0 s" and second.startswith("1/20 nll lr")


@pytest.mark.parametrize("terminal", [False, True])
def test_that_an_arm_goes_on_from_another_is_said_once(terminal: bool) -> None:
    study = study_of(objectives=("nll", "nll>neg_p(at=0.5)"), seeds=(0,))
    began = {"as": "nll", "step": 30, "tokens": 400}
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal, color_system=None)
    with reporting(study, [], console) as reporter:
        for run in play(study, lambda name, rate: flat(0.5)):
            staged = ">" in run.spec.arm.method
            reporter.report(Event(replace(run, began=began if staged else None), 1, 9, 0.0))
    file: Any = console.file
    said = str(file.getvalue())
    assert said.count("nll>neg_p(at=0.5) goes on from step 30 of the nll run\n") == 1
    assert said.count("goes on") == 1


def test_a_live_table_on_a_terminal() -> None:
    text = shown(Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None), 1)
    table = text[text.rindex("arm  ") :]
    assert all(name in table for name in COLUMNS)
    rows = [line.split() for line in table.splitlines()]
    base = next(row for row in rows if row[:1] == ["base"])
    assert base[-2] == "done"
    assert any(row[:3] == ["nll", "0.0001", "0"] and row[-2:] == ["done", "1"] for row in rows)
    assert any(row[:2] == ["nll", "0.001"] and row[-1] == "refused" for row in rows)
    hostile = [line for line in table.splitlines() if "[bold]x" in line]
    assert len(hostile) == 2 and "\x1b[31m" not in table and "seed 0" in hostile[0]
    assert "8 of at most 20 runs; at most 4 min left" in table


def test_without_ray_one_line_names_the_extra(monkeypatch: Any) -> None:
    real = builtins.__import__

    def no_ray(name: str, *rest: Any, **more: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_ray)
    with pytest.raises(InputError, match=r"objective-advisor\[ray\]"):
        next(on_ray([], PROBLEM))


class RayError(Exception):
    """As Ray's: a process, a node or what was sent is lost."""


class RayTaskError(RayError):
    """As Ray's: what a task raised, with its cause."""

    def __init__(self, text: str, cause: Exception) -> None:
        super().__init__(text)
        self.cause = cause


class MadeUpRay:
    """What the executor asks of Ray, on nodes of which only the resources are known; tasks end in order."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, *nodes: dict[str, float], connected: bool = True) -> None:
        self.alive, self.connected = list(nodes), connected
        self.ends: Callable[[RunSpec], Run] = result_of
        self.begins: Callable[..., None] = lambda **settings: None
        self.options: dict[str, Any] = {}
        self.tasks: dict[object, RunSpec] = {}
        self.at_once: list[int] = []
        self.cancelled = self.ended = 0

    def is_initialized(self) -> bool:
        return self.connected

    def init(self, **settings: Any) -> None:
        self.begins(**settings)
        self.connected = True

    def shutdown(self) -> None:
        self.ended += 1

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self.alive] + [
            {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}}
        ]

    def cluster_resources(self) -> dict[str, float]:
        return {
            name: sum(node.get(name, 0) for node in self.alive)
            for name in ("CPU", "GPU")
            if any(name in node for node in self.alive)
        }

    def put(self, value: Any) -> object:
        return value

    def remote(self, **options: Any) -> Any:
        self.options = options
        return lambda function: SimpleNamespace(remote=self.begun)

    def begun(self, spec: RunSpec, shared: list[Any]) -> object:
        assert len(shared) == 1  # in a list: Ray would read it for every run
        task = object()
        self.tasks[task] = spec
        self.at_once.append(len(self.tasks))
        return task

    def wait(self, tasks: list[object], num_returns: int) -> tuple[list[object], list[object]]:
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task: object) -> Run:
        return self.ends(self.tasks.pop(task))

    def cancel(self, task: object, force: bool) -> None:
        self.cancelled += 1


@pytest.fixture
def made_up(monkeypatch: Any) -> Callable[..., MadeUpRay]:
    def there_is(*nodes: dict[str, float], **more: Any) -> MadeUpRay:
        ray = MadeUpRay(*nodes, **more)
        monkeypatch.setitem(sys.modules, "ray", ray)
        return ray

    return there_is


SPECS = study_of().grid()
COMMON: Any = SimpleNamespace(teachers=None, loading={}, domain="user", prior=None, limit=None)
ON_CPU: Any = SimpleNamespace(**{**vars(COMMON), "loading": {"device": "cpu"}})
WITH_GPUS = {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "problem", "asked", "gpus", "at_once"),
    [
        ([WITH_GPUS], COMMON, None, 1, 2),
        ([WITH_GPUS], COMMON, 0.5, 0.5, 4),
        ([WITH_GPUS], ON_CPU, None, 0, 6),
        ([{"CPU": 2.0, "GPU": 2.0}], COMMON, 0.3, 0.3, 2),
        ([{"CPU": 2.0}, WITH_GPUS], COMMON, 1, 1, 2),
        ([{"CPU": 2.0}, {"CPU": 1.0}], COMMON, None, 0, 3),
    ],
)
def test_a_run_takes_a_gpu_a_fraction_of_one_or_a_core(
    made_up: Any, nodes: Any, problem: Any, asked: float | None, gpus: float, at_once: int
) -> None:
    ray = made_up(*nodes)
    found = list(on_ray(SPECS, problem, gpus=asked))
    assert [run.spec.id for run in found] == [spec.id for spec in SPECS]
    assert ray.options == {"num_cpus": 1, "num_gpus": gpus, "max_retries": 0}
    assert max(ray.at_once) == at_once


@pytest.mark.parametrize(
    ("node", "problem", "says"),
    [({"CPU": 2.0}, COMMON, "no node"), (WITH_GPUS, ON_CPU, "--device cpu")],
)
def test_a_gpu_that_no_run_can_have_is_refused(
    made_up: Any, node: Any, problem: Any, says: str
) -> None:
    """Ray would wait for one without end."""
    ray = made_up(node)
    with pytest.raises(InputError, match=rf"--gpus 0\.5: {says}"):
        next(on_ray(SPECS, problem, gpus=0.5))
    assert not ray.at_once


def test_what_hangs_on_a_node_is_named_and_not_tried_again(
    made_up: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks where a run that its process was ended for costs four limits, and is said to have died."""
    clock = [0.0]
    monkeypatch.setattr(executors.time, "monotonic", lambda: clock[0])
    ray, tries = made_up({"CPU": 1.0}), list[RunSpec]()

    def ends(spec: RunSpec) -> Run:
        tries.append(spec)
        hangs = spec is SPECS[1]
        clock[0] += 3600.0 + time_limit.GRACE if hangs else 60.0
        if hangs or tries == [SPECS[0]]:  # the first is killed once, after a minute
            raise RayError("The worker died unexpectedly.")
        return result_of(spec)

    ray.ends = ends
    runs = list(on_ray(SPECS, SimpleNamespace(**{**vars(COMMON), "limit": 3600.0})))
    assert tries.count(SPECS[0]) == 2 and tries.count(SPECS[1]) == 1
    failed = {run.spec.id: run.error for run in runs if run.error}
    says = "TookTooLong: it took more than 60 min, the limit of one run, and did not answer"
    assert failed == {SPECS[1].id: says}


def test_a_cluster_may_grow_and_shrink(made_up: Any) -> None:
    ray = made_up({"CPU": 1.0})
    sizes = iter((3.0, 3.0, 1.0, 1.0, 1.0, 1.0))

    def ends(spec: RunSpec) -> Run:
        ray.alive = [{"CPU": next(sizes)}]
        return result_of(spec)

    ray.ends = ends
    assert len(list(on_ray(SPECS, COMMON))) == len(SPECS) == 6
    assert ray.at_once == [1, 1, 2, 3, 3, 1]


def test_what_a_node_loses_has_failed_and_what_it_lacks_is_refused(made_up: Any) -> None:
    ray = made_up({"CPU": 2.0})
    died = RayError("The node died.\nIts log says more.")
    lost: dict[str, list[Exception]] = {
        SPECS[0].id: [died] * (RETRIES + 1),
        SPECS[1].id: [RayTaskError("traceback\nObjectLostError: gone", RayError("gone"))],
        SPECS[2].id: [died] * RETRIES,
    }

    def ends(spec: RunSpec) -> Run:
        if lost.get(spec.id):
            raise lost[spec.id].pop(0)
        return result_of(spec)

    ray.ends = ends
    errors = {run.spec.id: run.error for run in on_ray(SPECS, COMMON)}
    assert [errors[spec.id] for spec in SPECS[:3]] == [
        "WorkerDied: The node died.", "WorkerDied: ObjectLostError: gone", None,
    ]  # fmt: skip
    last = "ModuleNotFoundError: No module named 'harness'"
    lost[SPECS[0].id] = [RayTaskError(f"traceback\n{last}", ModuleNotFoundError("harness"))]
    with pytest.raises(InputError, match=f"a node cannot run what it is sent .{last}.: install"):
        list(on_ray(SPECS, COMMON))
    assert ray.cancelled == 1


def test_a_process_of_a_node_reads_the_problem_once(made_up: Any, monkeypatch: Any) -> None:
    """Its teachers are loaded once there, as here."""
    ray, read = made_up(), []

    def fetched(reference: object) -> list[object]:
        read.append(reference)
        return [reference]

    ray.get = fetched
    monkeypatch.setattr("harness.study.executors.execute", lambda spec, problem: (spec, problem))
    one, other = object(), object()
    found: list[Any] = [execute_on_a_node(spec, [one]) for spec in SPECS]
    assert read == [one] and all(problem is found[0][1] for _, problem in found)
    execute_on_a_node(SPECS[0], [other])
    assert read == [one, other]


def test_our_own_way_to_end_on_a_signal_stays(made_up: Any) -> None:
    """Ray's handler would end the program without a word, with the exit code 15."""
    ray = made_up({"CPU": 1.0}, connected=False)
    ray.begins = lambda **settings: signal.signal(signal.SIGTERM, lambda *rest: sys.exit(15))
    before = signal.getsignal(signal.SIGTERM)
    list(on_ray(SPECS[:1], COMMON))
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_cluster_that_is_not_there_is_refused_in_a_line(made_up: Any, monkeypatch: Any) -> None:
    ray = made_up(connected=False)
    asked: list[Any] = []

    def begins(address: str | None, **settings: Any) -> None:
        asked.append(address)
        raise ConnectionError("Failed to connect\nto it")

    ray.begins = begins
    monkeypatch.setenv("RAY_ADDRESS", "there:2")
    options = StudyOptions(executor="ray", address="here:1")
    for said, address in (("here:1", "here:1"), ("there:2", None)):
        refused = pytest.raises(
            InputError, match=f"--address {said}: no Ray cluster .*connect.: start"
        )
        with refused, connected(replace(options, address=address), at_once=True):
            raise AssertionError("there is a cluster")
    assert asked == ["here:1", None]


@pytest.mark.parametrize("before", [False, True])
def test_what_ray_says_is_no_part_of_the_answer(made_up: Any, capsys: Any, before: bool) -> None:
    """A thread of it prints that a node was lost; who was connected before stays so."""
    ray = made_up({"CPU": 1.0}, connected=before)
    for at_once in (True, False):
        with connected(StudyOptions(executor="ray"), at_once=at_once):
            sys.stdout.write("(raylet) a node was lost\n")
            assert ray.connected or not at_once
        sys.stdout.write("the answer\n")
    assert capsys.readouterr().out.splitlines() == ["the answer"] * 2
    assert ray.ended == (0 if before else 1)
    with connected(StudyOptions(), at_once=True):
        sys.stdout.write("the answer\n")
    assert capsys.readouterr().out == "the answer\n"


def test_settings_of_a_cluster_go_with_one() -> None:
    assert StudyOptions(executor="ray", address="a:1", gpus=0.5).cluster == {
        "address": "a:1", "gpus": 0.5,
    }  # fmt: skip
    for options in (StudyOptions(address="a:1"), StudyOptions(gpus=1.0)):
        with pytest.raises(InputError, match="runs are executed here: add --executor ray"):
            executor_of(options)
    assert executor_of(StudyOptions()) is one_by_one


QUICK = [
    *(
        "confirm",
        "ladder:strong",
        "--objectives",
        "neg_p",
        "--learning_rates",
        "1e-3",
        "--seeds",
        "1",
    ),
    *("--max_steps", "2", "--limit", "6", "--temperature", "0", "--json"),
]
STAGED = ("nll>neg_p(at=0.5)", "nll>cadft(1, at=0.5)")
ON_TWO_WORKERS = """
import sys, ray
from harness.cli.main import main
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=40)
code = main(sys.argv[1:])
ray.shutdown()
raise SystemExit(code)
"""


@pytest.mark.slow
def test_ray_gives_the_records_that_this_process_gives(capsys: Any, tmp_path: Path) -> None:
    """Protects studies on a cluster: Ray's workers give the records that one process gives.

    Where they run at once, a staged arm finds no beginning, or that of another.
    """
    pytest.importorskip("ray", reason="the extra ray is not installed")
    quick = [*QUICK, "--objectives", *STAGED, "--logging_steps", "1"]
    words = [*quick, "--executor", "ray", "--results", str(tmp_path / "ray")]
    root = str(ROOT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_WORKERS, *words], env=environment, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    capsys.readouterr()
    assert main([*quick, "--results", str(tmp_path / "local")]) == 0
    assert json.loads(done.stdout) == json.loads(capsys.readouterr().out)
    ours, theirs = (
        {run.spec.id: run for run in Results(tmp_path / name).runs()} for name in ("local", "ray")
    )
    assert ours.keys() == theirs.keys() and len(ours) == 5
    for key, run in ours.items():
        assert run.scores == theirs[key].scores and run.tokens == theirs[key].tokens
    assert not list((tmp_path / "ray").rglob("*.part"))
    assert [path.name for path in (tmp_path / "ray").iterdir()] == ["runs"]
