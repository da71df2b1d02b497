"""Trackers hear what the log says of every training, each under a name of its own."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from transformers import TrainerCallback
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
)

from advisor.errors import InputError
from harness.cli.main import main
from harness.records.runs import Results
from harness.train.trackers import (
    Trackers,
    lead_to,
    name_of,
    name_single,
    own_run,
    split,
    trackers_of,
)

OURS = {"nll", "mean_p", "entropy", "share_p_below_0.1", "loss", "learning_rate"}


class Double(TrainerCallback):
    """A tracker that keeps what it is told, by the name of the run."""

    told: ClassVar[dict[str, list[dict[str, float]]]] = {}

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.told.setdefault(args.run_name, []).append(dict(kwargs["logs"]))


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, float]]]:
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "double", Double)
    monkeypatch.setattr(Double, "told", {})
    return Double.told


def test_a_training_tells_its_measures_under_a_name_that_says_what_it_is(
    double: dict[str, list[dict[str, float]]], tmp_path: Path
) -> None:
    words = ["train", "ladder:weak", "--objective", "dft", "--output_dir", str(tmp_path / "out")]
    quick = [
        "--max_steps",
        "2",
        "--logging_steps",
        "1",
        "--learning_rate",
        "1e-3",
        "--save_strategy",
        "no",
    ]
    assert main([*words, *quick, "--report_to", "double"]) == 0
    [(name, logs)] = double.items()
    assert name.startswith("dft @ 0.001, ladder:weak, 20")
    assert set(logs[0]) >= OURS


def test_the_runs_of_a_plan_are_told_apart_by_their_records(
    double: dict[str, list[dict[str, float]]], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    words = ["confirm", "ladder:weak", "--plan", "one", "--temperature", "0", "--limit", "2"]
    quick = ["--max_steps", "2", "--logging_steps", "1", "--results", str(results)]
    assert main([*words, *quick, "--report_to", "double", "--project", "mine"]) == 0
    [run] = [run for run in Results(results).runs() if run.spec.arm.method != "base"]
    [(name, logs)] = double.items()  # the timing of a few steps is no run
    assert (
        name
        == f"p_anneal(0, 1, 0, 1) @ {run.spec.arm.learning_rate:g}, ladder:weak, seed 0, {run.spec.id}"
    )
    assert set(logs[0]) >= OURS
    assert not {"report_to", "project"} & set(run.spec.training)  # the same run without a tracker


def test_what_belongs_to_trackers_is_kept_apart() -> None:
    given = {"report_to": "tensorboard", "project": "p", "trackio_space_id": "s", "max_steps": 2}
    assert split(given) == ({"max_steps": 2}, {k: v for k, v in given.items() if k != "max_steps"})
    assert trackers_of({}, Path("results")) is None
    assert trackers_of({"report_to": "none"}, Path("results")) is None


def test_a_tracker_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--report_to nowhere: "):
        trackers_of({"report_to": "nowhere"}, Path("results"))


def test_names_hold_no_paths_and_a_name_that_was_given_stays() -> None:
    assert name_of("dft", 1e-5, "/a/b/m-7B", "d/rows.jsonl") == "dft @ 1e-05, m-7B on rows.jsonl"
    for report_to, given, begins in (
        (["wandb"], None, "nll @ 0.1, m on d, 20"), (["wandb"], "mine", "mine"), ([], None, None)
    ):  # fmt: skip
        config = SimpleNamespace(report_to=report_to, run_name=given, learning_rate=0.1)
        name_single(config, "nll", "m", "d")
        assert config.run_name is begins is None or config.run_name.startswith(begins)


def test_tensorboard_writes_beside_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorBoardCallback, "__init__", lambda self: None)
    board = TensorBoardCallback()
    trainer = SimpleNamespace(callback_handler=SimpleNamespace(callbacks=[Double(), board]))
    lead_to(trainer, Trackers(settings={}, folder=Path("results/tensorboard"), run="a, 1"))
    assert board.logging_dir == str(Path("results/tensorboard/a, 1"))


@pytest.mark.parametrize("open_before", [False, True])
def test_a_run_of_wandb_ends_with_its_training(
    open_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = SimpleNamespace(run="theirs" if open_before else None)
    wandb.finish = lambda: setattr(wandb, "run", None)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with own_run(["wandb"]):
        wandb.run = wandb.run or "ours"
    assert wandb.run == ("theirs" if open_before else None)
