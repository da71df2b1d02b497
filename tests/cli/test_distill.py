"""`advisor distill` as a user meets it: trained, resumed after a kill, refusals in one line."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.cli.main import main
from tests.helpers.processes import kill_once
from tests.helpers.tiny import tiny_model, tiny_tokenizer

QUICK = [
    *("--max_steps", "3", "--per_device_train_batch_size", "4", "--learning_rate", "1e-3"),
    *("--max_completion_length", "5", "--logging_steps", "1", "--disable_tqdm", "true"),
    *("--report_to", "none"),
]


@pytest.fixture
def data(write: Any) -> Path:
    rows = [
        {"prompt": " ".join("abcde"[: 1 + i % 5]), "completion": " f", "kind": "xy"[i % 2]}
        for i in range(40)
    ]
    path: Path = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    folder = tmp_path / "teacher"
    tiny_model(initializer_range=0.5).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def words(student: Path, data: Path, out: Path, *flags: str) -> list[str]:
    return ["distill", str(student), str(data), "--output_dir", str(out), *QUICK, *flags]


def distilled(student: Path, data: Path, out: Path, *flags: str) -> dict[str, torch.Tensor]:
    assert main(words(student, data, out, *flags)) == 0
    weights: dict[str, torch.Tensor] = load_file(out / "model.safetensors")
    return weights


def test_distils_with_two_teachers(
    model_folder: Path, teacher: Path, data: Path, tmp_path: Path
) -> None:
    before = load_file(model_folder / "model.safetensors")
    after = distilled(
        model_folder, data, tmp_path / "out", "--teacher", f"x={teacher}", "--teacher",
        f"y={model_folder}", "--route", "kind", "--method", "fire", "--fire-percentile", "30",
    )  # fmt: skip
    assert any((after[name] - before[name]).abs().max() > 1e-4 for name in before)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "percentile=30.0" in card and "teachers: 2" in card


def test_evaluates_on_a_split_and_trains_as_without(
    model_folder: Path, teacher: Path, data: Path, tmp_path: Path
) -> None:
    splits = tmp_path / "splits"
    splits.mkdir()
    lines = data.read_text().splitlines(keepends=True)
    (splits / "train.jsonl").write_text("".join(lines))
    (splits / "test.jsonl").write_text("".join(lines[:7]))
    flags = ("--split", "train", "--teacher", str(teacher), "--method", "fire")
    alone = distilled(model_folder, splits, tmp_path / "alone", *flags)
    evaluated = distilled(model_folder, splits, tmp_path / "out", *flags, "--eval_split", "test")
    assert all(torch.equal(evaluated[name], value) for name, value in alone.items())
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert len([entry for entry in history if entry.get("eval_loss", 0) > 0.01]) == 1


@pytest.fixture(scope="module")
def checkpoints(model_folder: Path, tmp_path_factory: Any) -> Path:
    """What a training with FiRe left, beside its data and its teacher."""
    folder: Path = tmp_path_factory.mktemp("fire")
    rows = [{"prompt": "a b", "completion": " c", "kind": "x"} for _ in range(16)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny_model(initializer_range=0.5).save_pretrained(folder / "teacher")
    tiny_tokenizer().save_pretrained(folder / "teacher")
    flags = ["--teacher", str(folder / "teacher"), *FIRE, "--save_steps", "1"]
    assert main(words(model_folder, folder / "data.jsonl", folder / "out", *flags)) == 0
    return folder


FIRE = ("--method", "fire", "--fire_alpha", "0")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--teacher", "TEACHER"], "made with --method fire, not with --method opd: .*give --method fire"),
        (["--teacher", "TEACHER", "--method", "fire"], "with --fire_alpha 0, not with --fire_alpha 1"),
        (["--teacher", "TEACHER", *FIRE, "--form", "sampled"], "with --form full, not with --form sampled"),
        (["--teacher", "TEACHER", *FIRE, "--beta", "0.5"], "made with --beta 1, not with --beta 0.5"),
        (["--teacher", "x=TEACHER", *FIRE, "--route", "kind"], "made without --route, .*leave --route out"),
        (["--teacher", "STUDENT", *FIRE], "made with --teacher of fingerprint"),
        (["--teacher", "TEACHER", *FIRE, "--use_peft", "true"], "made without --use_peft"),
    ],
)  # fmt: skip
def test_going_on_with_another_method_is_refused(
    capsys: Any, model_folder: Path, checkpoints: Path, flags: list[str], says: str
) -> None:
    places = {"TEACHER": str(checkpoints / "teacher"), "STUDENT": str(model_folder)}
    for name, place in places.items():
        flags = [flag.replace(name, place) for flag in flags]
    data, out = checkpoints / "data.jsonl", checkpoints / "out"
    resume = ("--resume_from_checkpoint", "true")
    before = sorted(out.rglob("*"))
    assert main(words(model_folder, data, out, *flags, *resume)) == 2
    errors = [e for e in capsys.readouterr().err.splitlines() if e.startswith("advisor: error")]
    assert len(errors) == 1 and re.search(says, errors[0]), errors
    assert "checkpoint-3 was made" in errors[0] and sorted(out.rglob("*")) == before


@pytest.mark.parametrize("scope", ["--fire_filter_scope", "--fire_weight_scope"])
def test_a_cut_is_compared_where_rollouts_are_weighed_within_it(
    capsys: Any, model_folder: Path, teacher: Path, data: Path, tmp_path: Path, scope: str
) -> None:
    flags = ("--teacher", str(teacher), "--method", "fire", "--max_steps", "1", "--save_steps", "1")
    cut = ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2")
    again = (
        "--resume_from_checkpoint",
        "true",
        "--max_steps",
        "2",
        "--lr_scheduler_type",
        "constant",
    )
    distilled(model_folder, data, tmp_path, *flags, *again[-2:], scope, "micro_batch")
    assert (
        main(words(model_folder, data, tmp_path, *flags, *again, scope, "micro_batch", *cut)) == 2
    )
    said = capsys.readouterr().err
    assert "was made with a forward of 4 rows, not with a forward of 2 rows" in said


def test_going_on_as_before_is_not_refused(
    model_folder: Path, checkpoints: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(checkpoints / "teacher", moved)
    flags = ("--teacher", str(moved), *FIRE, "--resume_from_checkpoint")
    data, folder = checkpoints / "data.jsonl", checkpoints / "out" / "checkpoint-2"
    again = distilled(model_folder, data, tmp_path / "out", *flags, str(folder))
    whole = load_file(checkpoints / "out" / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in whole.items())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--fire_alpha", "2"], "--method fire"),
        (["--eval_strategy", "steps"], "--eval_split"),
        (["--eval_split", "test"], "leave out --eval_split"),
        (["--resume_from_checkpoint", "nowhere"], "nowhere: no checkpoint"),
        (["--output_dir", "/dev/null/out"], "--output_dir /dev/null/out: "),
        (["--teacher", "another"], "--route"),
        (["--route", "sort"], "no such column"),
        (["--max_completion_lengt", "3"], "did you mean --max_completion_length"),
        (["--teacher_model_name_or_path", "a"], "--teacher"),
        (["--per_device_train_batch_size", "64"], "fewer than the 64"),
        (["--use_vllm", "true"], "vLLM is not available"),
    ],
)
def test_refusals_are_one_line(
    capsys: Any, model_folder: Path, teacher: Path, data: Path, tmp_path: Path, flags: list[str],
    says: str,
) -> None:  # fmt: skip
    capsys.readouterr()
    code = main(words(model_folder, data, tmp_path, "--teacher", str(teacher), *flags))
    errors = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("advisor: error")
    ]
    assert code == 2 and len(errors) == 1 and says in errors[0], errors


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--form", "sampled", "--beta", "0.5"], "--beta 1"),
        (["--form", "sampled", "--top_p", "0.5"], "--top_p 0.5"),
        (["--temperature", "0"], "--temperature 0"),
        (["--temperature", "nan"], "--temperature nan"),
        (["--max_completion_length", "0"], "1 token or more"),
        (["--report_to", "wandb"], "--report_to wandb: "),
    ],
)
def test_settings_are_refused_before_any_work(
    capsys: Any, tmp_path: Path, flags: list[str], says: str
) -> None:
    command = words(Path("nowhere"), Path("nothing"), tmp_path, "--teacher", "nobody", *flags)
    assert main(command) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and says in errors[0]


def test_going_on_with_other_prompts_is_refused(
    capsys: Any, model_folder: Path, checkpoints: Path
) -> None:
    other = checkpoints / "other.jsonl"
    other.write_text((checkpoints / "data.jsonl").read_text().replace("a b", "b a"))
    flags = ("--teacher", str(checkpoints / "teacher"), *FIRE, "--resume_from_checkpoint", "true")
    assert main(words(model_folder, other, checkpoints / "out", *flags)) == 2
    assert "made with DATASET of fingerprint" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_and_resumed_equals_never_stopped(
    model_folder: Path, teacher: Path, data: Path, tmp_path: Path
) -> None:
    """Protects distillations that are cut off: killed and resumed, they end where they would have."""
    flags = [
        *("--teacher", str(teacher), "--method", "fire", "--max_steps", "40", "--save_steps", "5"),
        *("--gradient_accumulation_steps", "2"),
    ]
    whole = distilled(model_folder, data, tmp_path / "whole", *flags)
    cut = words(model_folder, data, tmp_path / "cut", *flags)
    process = subprocess.Popen(
        [sys.executable, "-m", "advisor", *cut],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kill_once(process, lambda: list((tmp_path / "cut").glob("checkpoint-*/trainer_state.json")))
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    resumed = distilled(
        model_folder, data, tmp_path / "cut", *flags, "--resume_from_checkpoint", "true"
    )
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=1e-6)
