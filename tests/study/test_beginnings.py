"""Beginnings that arms share: the same bits with and without, whatever becomes of what is kept."""

import errno
import html
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import advisor
from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from advisor.model.load import load_model
from harness.cli.main import main
from harness.records.arm import arm_of
from harness.records.runs import Results, Run, RunSpec
from harness.study import confirm as confirming
from harness.study.beginnings import Beginnings, begins_as, folder_in, forget, wanted_by
from harness.study.confirm import confirm
from harness.study.executors import sharing
from harness.study.fit_arm import fit
from harness.study.problem import Problem
from harness.study.run_study import run_study
from harness.study.study import next_runs
from harness.study.study_options import StudyOptions
from harness.train.objective_trainer import ObjectiveTrainer
from tests.helpers.paths import ROOT
from tests.helpers.records import make
from tests.helpers.studies import PLAN, PROBLEM, flat, play, result_of, study_of
from tests.helpers.tiny import tiny_model, tiny_tokenizer

TRAINING = {
    "per_device_train_batch_size": "4", "num_train_epochs": "2", "lr_scheduler_type": "cosine",
    "warmup_steps": "0.1", "logging_steps": "2",
}  # fmt: skip
"""40 rows, 4 a step: two epochs of 10 steps."""
NLL, STAGED, SIBLING = "nll", "nll>neg_p(at=0.5)", "nll>cadft(1, at=0.5)"


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """A tiny model with dropout, so that the random numbers count, and rows for it."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model(attention_dropout=0.3, initializer_range=0.3).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    rows = [
        {"prompt": " ".join("abcd"[: 1 + i % 4]) + " ", "completion": " ".join("efghij"[i % 5 :])}
        for i in range(40)
    ]
    return Problem(
        model=str(folder), loading={}, train=load_dataset(rows, tokenizer), held_out=None, tasks=(),
        domain="user",
    )  # fmt: skip


@dataclass
class Trained:
    """What a training came to."""

    log: Any
    tokens: int
    began: Any
    weights: dict[str, torch.Tensor]

    def __eq__(self, other: object) -> bool:
        """To the last bit, whatever it took over."""
        assert isinstance(other, Trained)
        same = self.log == other.log and self.tokens == other.tokens
        pairs = zip(self.weights.items(), other.weights.items(), strict=True)
        return same and all(a == b and torch.equal(v, w) for (a, v), (b, w) in pairs)


def spec_of(method: str, **training: str) -> RunSpec:
    spec = make(arm=arm_of(method, learning_rate=1e-2), training={**TRAINING, **training}).spec
    return replace(spec, evaluation={"temperature": 0.0})


def trained(spec: RunSpec, problem: Problem) -> Trained:
    loaded, found = fit(spec, problem)
    weights = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    return Trained(log=list(found.steps), tokens=found.tokens, began=found.began, weights=weights)


@pytest.fixture(scope="module")
def alone(problem: Problem) -> Callable[[RunSpec], Trained]:
    """What a run comes to that shares nothing; trained once."""
    found: dict[str, Trained] = {}

    def train(spec: RunSpec) -> Trained:
        if spec.id not in found:
            found[spec.id] = trained(spec, problem)
        return found[spec.id]

    return train


@pytest.fixture(scope="module")
def kept_once(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("kept")
    trained(spec_of(NLL), shared(problem, folder, spec_of(STAGED)))
    return folder


@pytest.fixture
def checkpoint(kept_once: Path, tmp_path: Path) -> Path:
    """What NLL has kept for STAGED, in the folder of the test."""
    shutil.copytree(kept_once, tmp_path, dirs_exist_ok=True)
    [found] = kept(tmp_path)
    return found


def shared(problem: Problem, folder: Path, *specs: RunSpec) -> Problem:
    """The problem of runs that share their beginnings."""
    folder.mkdir(exist_ok=True)
    return replace(problem, beginnings=Beginnings(folder=folder, wanted=wanted_by(specs)))


def kept(folder: Path) -> list[Path]:
    """Checkpoints in a folder of beginnings."""
    return sorted(folder.glob("*/*/checkpoint-*"))


@pytest.mark.parametrize(
    ("then", "step", "training"),
    [
        ("neg_p(at=0.5)", 10, {}),  # between two epochs
        ("neg_p(at=0.7)", 14, {}),  # within one
        ("neg_p(at=0.2)", 4, {}),
        ("neg_p(at=0.72)", 14, {}),  # after 14.4 steps: one more is made as the first stage
        ("neg_p(at=0.55)>cadft(1, at=0.8)", 10, {}),
        ("cadft(1, at=0.7)", 14, {}),  # two passes a step
        ("threshold(30%, at=0.7)", 14, {}),  # measured on the model before training
        ("asft(at=0.7)", 14, {}),  # with a copy of the model before training
        ("neg_p(at=0.5)", 4, {"gradient_accumulation_steps": "2"}),
        ("neg_p(at=0.5)", 10, {"max_steps": "20", "weight_decay": "0.1"}),
        ("neg_p(at=0.7)", 14, {"padding_free": "true"}),
        (
            "neg_p(at=0.7)",
            14,
            {"packing": "true", "max_steps": "20", "per_device_train_batch_size": "1"},
        ),
        ("neg_p(at=0.7)", 14, {"use_peft": "true", "lora_dropout": "0.3", "lora_r": "4"}),
    ],
)
def test_a_training_that_goes_on_from_another_is_the_same_to_the_last_bit(
    problem: Problem, alone: Any, tmp_path: Path, then: str, step: int, training: dict[str, str]
) -> None:
    """Weights, log and tokens, of the one that takes and of the one that gives."""
    first, second = (spec_of(method, **training) for method in (NLL, f"nll>{then}"))
    together = shared(problem, tmp_path, second)
    gives, takes = (trained(spec, together) for spec in (first, second))
    assert gives == alone(first) and gives.began is None
    assert [path.name for path in kept(tmp_path)] == [f"checkpoint-{step}"]
    assert takes == alone(second) != alone(first)
    tokens = round(takes.tokens * step / takes.log[-1]["step"])
    assert takes.began == {"as": NLL, "step": step, "tokens": tokens}


def test_staged_arms_go_on_from_each_other(problem: Problem, alone: Any, tmp_path: Path) -> None:
    """Where no arm stays with the first stage, and as far as the earlier switch."""
    specs = [spec_of(method) for method in (STAGED, "nll>cadft(1, at=0.7)", SIBLING)]
    together = shared(problem, tmp_path, *specs)
    found = [trained(spec, together) for spec in specs]
    assert found == [alone(spec) for spec in specs]
    assert [one.began and one.began["step"] for one in found] == [None, 10, 10]
    assert [path.name for path in kept(tmp_path)] == ["checkpoint-10"]


def test_a_later_beginning_is_not_an_earlier_ones(
    problem: Problem, alone: Any, tmp_path: Path
) -> None:
    early, late = spec_of("nll>neg_p(at=0.2)"), spec_of("nll>neg_p(at=0.8)")
    together = shared(problem, tmp_path, early, late)
    trained(spec_of(NLL), together)
    first, last = kept(tmp_path)
    assert {first.name, last.name} == {"checkpoint-16", "checkpoint-4"}
    assert trained(early, together).began["step"] == 4
    shutil.rmtree(next(path for path in (first, last) if path.name == "checkpoint-4"))
    found = trained(early, together)
    assert found.began is None and found == alone(early)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_model(checkpoint: Path) -> None:
    tiny_model(hidden_size=32).save_pretrained(checkpoint)


def not_finite(checkpoint: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, path, metadata={"format": "pt"})


def another_runs(checkpoint: Path) -> None:
    (checkpoint / "place").write_text("of/another")


def swollen(checkpoint: Path) -> None:
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    (checkpoint / "trainer_state.json").write_text(json.dumps({**state, "log_history": 3}))


@pytest.mark.parametrize(
    "harm",
    [
        shutil.rmtree,
        lambda path: (path / "model.safetensors").unlink(),
        lambda path: (path / "optimizer.pt").unlink(),
        lambda path: (path / "scheduler.pt").unlink(),
        lambda path: (path / "rng_state.pth").unlink(),
        lambda path: (path / "place").unlink(),
        lambda path: torn(path / "model.safetensors"),
        lambda path: torn(path / "optimizer.pt"),
        lambda path: torn(path / "rng_state.pth"),
        lambda path: torn(path / "trainer_state.json"),
        other_model,
        not_finite,
        another_runs,
        swollen,
    ],
)
def test_whatever_is_wrong_with_a_beginning_it_is_trained(
    problem: Problem, alone: Any, tmp_path: Path, checkpoint: Path, harm: Callable[[Path], None]
) -> None:
    spec = spec_of(STAGED)
    harm(checkpoint)
    found = trained(spec, shared(problem, tmp_path, spec))
    assert found.began is None and found == alone(spec)
    assert not kept(tmp_path)  # nobody meets it again


def test_a_beginning_that_is_removed_while_it_is_read_is_trained(
    problem: Problem, alone: Any, tmp_path: Path, checkpoint: Path, monkeypatch: Any
) -> None:
    """Trainer would go on without the optimiser state, and say nothing."""
    spec = spec_of(STAGED)
    create = ObjectiveTrainer.create_scheduler

    def removed(self: Any, *rest: Any, **more: Any) -> Any:
        shutil.rmtree(checkpoint, ignore_errors=True)
        return create(self, *rest, **more)

    with monkeypatch.context() as patch:  # the weights are read, and the optimiser state is next
        patch.setattr(ObjectiveTrainer, "create_scheduler", removed)
        found = trained(spec, shared(problem, tmp_path, spec))
    assert found.began is None and found == alone(spec)


def test_an_error_after_the_beginning_is_the_runs_own(
    problem: Problem, tmp_path: Path, checkpoint: Path, monkeypatch: Any
) -> None:
    """It is not taken for a broken beginning and hidden by a second training."""
    spec = spec_of(STAGED)

    def fails(self: Any, *rest: Any) -> None:
        raise RuntimeError(f"in step {self.state.global_step}")

    monkeypatch.setattr(ObjectiveTrainer, "training_step", fails)
    with pytest.raises(RuntimeError, match="in step 10"):
        fit(spec, shared(problem, tmp_path, spec))
    assert checkpoint.is_dir()


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def nearly_full(*_: Any) -> Any:
    return SimpleNamespace(free=10_000)  # bytes: less than six times the weights


@pytest.mark.parametrize(
    ("function", "fails"),
    [("torch.save", full), ("os.fsync", full), ("shutil.disk_usage", nearly_full)],
)
def test_on_a_full_disk_each_arm_trains_its_own(
    problem: Problem,
    alone: Any,
    tmp_path: Path,
    monkeypatch: Any,
    caplog: Any,
    function: str,
    fails: Any,
) -> None:
    spec = spec_of(NLL)
    together = shared(problem, tmp_path, spec_of(STAGED))
    with monkeypatch.context() as patch:
        patch.setattr(function, fails)
        assert trained(spec, together) == trained(spec, together) == alone(spec)
    [line] = [record.getMessage() for record in caplog.records]
    assert str(tmp_path) in line and "No space left on device" in line and "\n" not in line
    assert not list(tmp_path.glob("*/*/*"))  # nor a part of one
    assert trained(spec, together) == alone(spec) and kept(tmp_path)


@pytest.mark.parametrize(
    ("training", "batches"),
    [
        ({"ignore_data_skip": "true"}, "4"),  # other rows after the switch
        ({"train_sampling_strategy": "group_by_length"}, "4"),  # rows in an order drawn on the way
        ({}, "2"),  # smaller ones, because memory was short
    ],
)
def test_what_is_not_exact_is_not_shared(
    problem: Problem, tmp_path: Path, training: dict[str, str], batches: str
) -> None:
    spec = spec_of(STAGED, **training)
    together = shared(problem, tmp_path, spec)
    trained(spec_of(NLL, **training), together)
    loaded = load_model(problem.model)
    assert together.beginnings is not None
    begin = together.beginnings.of(
        spec, {**spec.training, "per_device_train_batch_size": batches}, loaded
    )
    assert begin is None if training else (begin is not None and begin.found() is None)
    assert bool(kept(tmp_path)) is not bool(training)


def test_whoever_runs_first(problem: Problem, alone: Any, tmp_path: Path) -> None:
    specs = [spec_of(method) for method in (STAGED, NLL, SIBLING)]
    together = shared(problem, tmp_path, specs[0], specs[2])
    assert [trained(spec, together) for spec in specs] == [alone(spec) for spec in specs]


def test_nothing_is_kept_that_nobody_wants(problem: Problem, tmp_path: Path) -> None:
    """Not by a run without a successor, and not by a staged run for itself."""
    spec = spec_of(STAGED)
    together = shared(problem, tmp_path, spec)
    trained(replace(spec_of(NLL), seed=1), together)
    trained(spec, together)
    assert not kept(tmp_path)


def test_where_the_folder_is_not_shared_each_trains_its_own(
    problem: Problem, tmp_path: Path
) -> None:
    """As a node of a cluster without it: it makes none, for nobody would remove it."""
    spec, folder = spec_of(STAGED), tmp_path / "no"
    there = replace(problem, beginnings=Beginnings(folder=folder, wanted=wanted_by([spec])))
    assert trained(spec_of(NLL), there).began is None and trained(spec, there).began is None
    assert not folder.exists()


def test_who_begins_as_whom() -> None:
    study = study_of(objectives=(NLL, STAGED, "nll>neg_p(at=0.3)>cadft(1, at=0.6)", "dpo(0.5)"))
    arms = [arm_of(method, learning_rate=1e-3) for method in study.objectives]
    first, second, third, pairs = (study.spec(arm, 1) for arm in arms)
    assert begins_as(first) is begins_as(pairs) is begins_as(study.base()) is None
    found = begins_as(second)
    assert found is not None and found[0] == first and found[1] == 0.5
    assert wanted_by([first, second, third]) == {first.id: {second.id: 0.5, third.id: 0.3}}
    waits = study.spec(arm_of("nll>neg_p(at=auto)", learning_rate=1e-3), 1)
    assert begins_as(waits) is None  # it counts what no other run's checkpoint holds
    own = study.spec(arm_of("nll>neg_p(at=0.5)@own(8)", learning_rate=1e-3), 1)
    [(begun, _)] = [found for found in [begins_as(own)] if found]
    assert begun.arm.method == "nll@own(8)" and begun.id != first.id


SHARING = {"objectives": (NLL, "dft>nll(at=0.5)", STAGED, "neg_p"), "learning_rates": (1e-3, 1e-4)}


def test_what_goes_on_from_another_comes_after_it_and_soon() -> None:
    study = study_of(**SHARING, full=True)
    runs = play(study, lambda name, rate: flat(0.5))
    grid = [(s.arm.learning_rate, s.arm.method) for s in next_runs(study, runs[:1])]
    assert grid == [
        (rate, name) for rate in (1e-4, 1e-3) for name in (NLL, "neg_p", "dft>nll(at=0.5)", STAGED)
    ]
    for spec, run in ((begins_as(run.spec), run) for run in runs):
        before = [other.spec.id for other in runs[: runs.index(run)]]
        chosen = {other.spec.id for other in runs}
        assert spec is None or spec[0].id not in chosen or spec[0].id in before
    plain = study_of()
    assert next_runs(plain, []) == [plain.base(), *plain.grid()]


class Keeping:
    """An executor of made-up runs that keep a beginning where one is wanted, and note what is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[tuple[str, set[str]]] = []

    def __call__(self, specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        for spec in specs:
            there = {path.name for path in self.folder.glob("*")}
            self.seen.append((spec.id, there))
            if problem.beginnings and spec.id in problem.beginnings.wanted:
                (self.folder / spec.id / "trained").mkdir(parents=True, exist_ok=True)
            yield result_of(spec)


def test_a_beginning_goes_with_the_last_run_that_wants_it(problem: Problem, tmp_path: Path) -> None:
    study = study_of(objectives=(NLL, STAGED, SIBLING), learning_rates=(1e-3, 1e-4), seeds=(0,))
    planned, folder = (
        next_runs(study, play(study, lambda name, rate: flat(0.5))[:1]),
        tmp_path / "b",
    )
    keeping = Keeping(folder)
    ran = sharing(keeping, planned, folder)(planned, problem)
    assert [run.spec.id for run in ran] == [spec.id for spec in planned]
    there = {spec: names for spec, names in keeping.seen}
    for spec in planned:
        begin = begins_as(spec)
        assert there[spec.id] == ({begin[0].id} if begin else set())
    assert not list(folder.iterdir())
    plain = [spec for spec in planned if spec.arm.method == NLL]
    assert sharing(keeping, plain, folder) is keeping


def test_where_no_folder_can_be_made_a_study_runs_without(problem: Problem, tmp_path: Path) -> None:
    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        return map(result_of, specs)

    (tmp_path / "file").touch()
    planned = study_of(objectives=(NLL, STAGED)).grid()
    ran = sharing(executor, planned, tmp_path / "file")(planned, problem)
    assert [run.spec.id for run in ran] == [spec.id for spec in planned]


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_study_leaves_nothing_behind_but_another_ones(
    problem: Problem, tmp_path: Path, monkeypatch: Any, ends: str
) -> None:
    """Also what was kept before it was killed."""
    study = study_of(objectives=(NLL, STAGED), learning_rates=(1e-3,), seeds=(0, 1))
    folder = folder_in(tmp_path)
    killed = study.spec(arm_of(NLL, learning_rate=1e-3), 1)
    for name in (killed.id, "another", ".1a2b.gone"):
        (folder / name / "trained" / "checkpoint-3").mkdir(parents=True)
    keeping = Keeping(folder)

    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        for run in keeping(specs, problem):
            failed = ends == "badly" and run.spec.arm.method == STAGED
            yield replace(run, error="OSError: no room") if failed else run

    monkeypatch.setattr(confirming, "execute", lambda spec, problem: result_of(spec))
    monkeypatch.setattr("harness.study.executors.EXECUTORS", {"local": executor})
    monkeypatch.setattr("harness.study.run_study.make_plan", lambda *rest: PLAN)
    options = StudyOptions(results=str(tmp_path))
    if ends == "badly":
        with pytest.raises(InputError, match="no room"):
            run_study(study, problem, options)
    else:
        run_study(study, problem, options)
    assert any(names - {"another", killed.id, ".1a2b.gone"} for _, names in keeping.seen)
    assert [path.name for path in folder.iterdir()] == ["another"]
    shutil.rmtree(folder / "another")
    forget(study, folder)
    assert not folder.exists()


def test_a_study_without_stages_makes_no_folder(tmp_path: Path) -> None:
    def executor(specs: Iterable[RunSpec], problem: Any) -> Iterator[Run]:
        return map(result_of, specs)

    assert confirm(study_of(), PROBLEM, Results(tmp_path), PLAN, executor=executor).complete
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


STUDY = [
    *("ladder:strong", "--objectives", NLL, STAGED, SIBLING, "--learning_rates", "1e-3"),
    *("--seeds", "1", "--full", "--max_steps", "4", "--logging_steps", "1", "--limit", "6"),
    *("--temperature", "0", "--json"),
]
"""Of five runs: two begin as NLL does, for two steps."""


def records(folder: Path) -> dict[str, Run]:
    """By id, less what a run cost, and the state of the sources, which may change while tests run."""
    free: dict[str, Any] = {"seconds": 0.0, "peak_memory_bytes": 0, "planned": None, "began": None}
    found = {}
    for run in Results(folder).runs():
        here = replace(run.environment, commit=None, dirty=False)
        prior = {**(run.prior or {}), "seconds": 0.0}
        found[run.spec.id] = replace(run, **free, environment=here, prior=prior)
    return found


def began(folder: Path) -> dict[str, Any]:
    """By method, what was taken over, where something was."""
    return {run.spec.arm.method: run.began for run in Results(folder).runs() if run.began}


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with nothing shared."""
    folder: Path = tmp_path_factory.mktemp("apart")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.study.confirm.sharing", lambda executor, *_: executor)
        assert main(["confirm", *STUDY, "--results", str(folder)]) == 0
    assert not began(folder) and len(records(folder)) == 5
    return folder


@pytest.mark.slow
def test_a_study_says_the_same_with_and_without(apart: Path, tmp_path: Path, capsys: Any) -> None:
    """Protects a study's word: sharing changes no record, and everybody reads them."""
    assert main(["confirm", *STUDY, "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert records(tmp_path) == records(apart)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    lines = [f"{method} goes on from step 2 of the {NLL} run" for method in (STAGED, SIBLING)]
    assert [line for line in said.splitlines() if "goes on from" in line] == lines
    assert "Writing" not in said  # a bar of the library's
    found = began(tmp_path)
    assert set(found) == {STAGED, SIBLING} and all(one["as"] == NLL for one in found.values())
    tokens = [run.tokens for run in Results(tmp_path).runs()]
    assert all(one["step"] == 2 and 0 < one["tokens"] < max(tokens) for one in found.values())
    verdict = advisor.confirm(
        "ladder:strong", objectives=[STAGED, SIBLING], learning_rates=[1e-3], seeds=1, full=True,
        max_steps=4, logging_steps=1, limit=6, temperature=0.0, quiet=True, results=tmp_path,
    )  # fmt: skip
    assert {STAGED, SIBLING} <= {row.arm.label for row in verdict.rows}
    assert main(["compare", str(tmp_path), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert {STAGED, SIBLING} <= {row["arm"] for row in compared}
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path), "--output_path", str(page)]) == 0
    text = html.unescape(page.read_text(encoding="utf-8"))
    own = sum(tokens) - sum(one["tokens"] for one in found.values())
    assert STAGED in text and f"{own:,} tokens trained on" in text and "began.step: 2" in text


def confirming_in(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *words, "confirm", *STUDY, "--results", str(folder)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


KILLED = """
import os, signal, sys
from harness.cli.main import main
from harness.train.objective_trainer import ObjectiveTrainer

step = ObjectiveTrainer.training_step


def training_step(self, *rest):
    if self.objective.scheduled and self.state.global_step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *rest)


ObjectiveTrainer.training_step = training_step
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_study_that_is_killed_after_a_beginning_finds_it_again(
    apart: Path, tmp_path: Path
) -> None:
    """Protects what is paid once: a killed study goes on, ends with the same records and leaves nothing."""
    with confirming_in(tmp_path, "-c", KILLED) as killed:
        assert killed.wait(timeout=600) == -signal.SIGKILL
    assert {run.spec.arm.method for run in Results(tmp_path).runs()} == {"base", NLL}
    assert [path.name for path in kept(folder_in(tmp_path))] == ["checkpoint-2"]
    assert main(["confirm", *STUDY, "--results", str(tmp_path)]) == 0
    assert records(tmp_path) == records(apart)
    steps = {name: one["step"] for name, one in began(tmp_path).items()}
    assert steps == {STAGED: 2, SIBLING: 2}
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.slow
def test_two_processes_in_one_folder_do_not_disturb_each_other(apart: Path, tmp_path: Path) -> None:
    """Protects from a beginning that one process removes while another reads it."""
    both = [confirming_in(tmp_path, "-m", "advisor") for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=900)
        assert process.returncode == 0, said
    assert records(tmp_path) == records(apart)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
