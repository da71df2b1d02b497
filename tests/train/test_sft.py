"""`advisor train` as a user meets it: full and LoRA, resumed after a kill, refusals in one line."""

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
import yaml
from safetensors.torch import load_file

from advisor.data.dataset import load_dataset
from advisor.model.load import load_model
from advisor.objectives.table import get_objective
from harness.cli.main import main
from harness.train.checkpoints import newest_checkpoint
from harness.train.sft import build_trainer
from tests.helpers.processes import kill_once
from tests.helpers.settings import read_settings
from tests.helpers.tiny import tiny_model, tiny_tokenizer

QUICK = [
    *("--max_steps", "3", "--per_device_train_batch_size", "4", "--learning_rate", "1e-3"),
    *("--logging_steps", "1", "--disable_tqdm", "true", "--report_to", "none"),
]


@pytest.fixture
def data(write: Any) -> Path:
    rows = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6])} for i in range(40)]
    path: Path = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return path


def trained(model: Path, data: Path, out: Path, *flags: str) -> dict[str, torch.Tensor]:
    assert main(["train", str(model), str(data), "--output_dir", str(out), *QUICK, *flags]) == 0
    name = "adapter_model.safetensors" if "--use_peft" in flags else "model.safetensors"
    weights: dict[str, torch.Tensor] = load_file(out / name)
    return weights


def test_trains_saves_and_says_with_what(model_folder: Path, data: Path, tmp_path: Path) -> None:
    before = load_file(model_folder / "model.safetensors")
    flags = ["--objective", "threshold(10%)", "--measure_prior"]
    after = trained(model_folder, data, tmp_path / "out", *flags)
    assert any((after[name] - before[name]).abs().max() > 1e-4 for name in before)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Objective" in card and "threshold(" in card and "mean probability" in card
    assert load_model(tmp_path / "out").parameters == load_model(model_folder).parameters


def test_lora_trains_an_adapter(model_folder: Path, data: Path, tmp_path: Path) -> None:
    found = {}
    for objective in ("nll", "dft", "nll>dft"):
        flags = ["--objective", objective, "--use_peft", "--lora_r", "4"]
        found[objective] = trained(model_folder, data, tmp_path / objective, *flags)
    after = found["nll>dft"]
    assert after and all("lora" in name for name in after)
    for other in ("nll", "dft"):
        assert any((found[other][name] - value).abs().max() > 1e-5 for name, value in after.items())
    assert any(value.abs().max() > 0 for name, value in after.items() if "lora_B" in name)


@pytest.mark.parametrize(
    "objective",
    ["cadft", "asft", "iw_sft_token", "eaft", "nll>cadft", "nll>asft", "nll>threshold(10%)"],
)
def test_objectives_that_need_more_than_the_batch(
    model_folder: Path, data: Path, tmp_path: Path, objective: str
) -> None:
    assert trained(model_folder, data, tmp_path, "--objective", objective)


def test_settings_may_stand_in_a_yaml_file(
    model_folder: Path, data: Path, tmp_path: Path, write: Any
) -> None:
    config = write(
        "c.yaml",
        yaml.safe_dump({"objective": "dft", "output_dir": str(tmp_path / "o"), "max_steps": 2, "bf16": False,
                        "per_device_train_batch_size": 2, "report_to": "none", "save_strategy": "no"}),
    )  # fmt: skip
    assert (
        main(["train", str(model_folder), str(data), "--config", str(config), "--max_steps", "1"])
        == 0
    )
    state = json.loads((tmp_path / "o" / "trainer_state.json").read_text())
    assert state["max_steps"] == 1 and state["train_batch_size"] == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--objective", "dfft"], "did you mean"),
        (["--max_step", "3"], "did you mean --max_steps"),
        (["--loss_type", "dft"], "--objective"),
        (["--max_steps", "many"], "many"),
        (["--use_peft", "--lora_target_modules", "lm_head"], "--lora_modules_to_save lm_head"),
        (["--objective", "asft", "--padding_free", "true"], "leave out"),
        (["--eval_strategy", "steps"], "--eval_split"),
        (["--eval_split", "test"], "leave out --eval_split test"),
        (["--resume_from_checkpoint", "nowhere"], "nowhere: no checkpoint"),
        (["--output_dir", "/dev/null/out"], "--output_dir /dev/null/out: "),
        (["--objective", "cadft", "--packing", "true", "--packing_strategy", "wrapped"], "use bfd"),
        (["--report_to", "wandb"], "--report_to wandb: WandbCallback requires wandb"),
        (["--report_to", "nobody"], "--report_to nobody: "),
        (
            ["--objective", "nll>neg_p", "--num_train_epochs", "1", "--per_device_train_batch_size", "40"],
            "neg_p does not come into force in the only optimiser step",
        ),
    ],
)  # fmt: skip
def test_refusals_are_one_line(
    capsys: Any, model_folder: Path, data: Path, tmp_path: Path, flags: list[str], says: str
) -> None:
    capsys.readouterr()
    code = main(["train", str(model_folder), str(data), "--output_dir", str(tmp_path), *flags])
    errors = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("advisor: error")
    ]
    assert code == 2 and len(errors) == 1 and says in errors[0], errors


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--objective", "dft", "--resample"], "--objective cadft"),
        (["--objective", "cadft", "--resample", "--packing", "true"], "leave out --packing"),
        (["--objective", "nll>cadft", "--resample"], "--objective cadft, not of nll>cadft"),
        (["--objective", "nll>neg_p", "--max_steps", "1"],
         "nll>neg_p(at=0.5): neg_p does not come into force in the only optimiser step: train for more"),
        (["--objective", "nll>neg_p(at=0.95)", "--max_steps", "10"],
         "neg_p does not come into force in any of the 10 optimiser steps"),
        (["--objective", "p_anneal", "--max_steps", "1"], "p^1 does not come into force in the only"),
        (["--objective", "nll>asft", "--padding_free", "true"], "leave out --packing and --padding_free"),
        (["--objective", "nll>tailsft", "--per_device_train_batch_size", "1"], "of one example in a forward"),
        (["--report_to", "wandb"], "wandb"),
    ],
)  # fmt: skip
def test_settings_are_refused_before_any_work(
    capsys: Any, tmp_path: Path, flags: list[str], says: str
) -> None:
    assert main(["train", "nowhere", "nothing", "--output_dir", str(tmp_path), *flags]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and says in errors[0]


RESAMPLE = ["--objective", "cadft", "--resample"]


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        (RESAMPLE, ["--objective", "cadft"], "with --resample, not without --resample: .* give --resample,"),
        (["--objective", "cadft"], RESAMPLE,
         "without --resample, not with --resample: .* leave --resample out,"),
        (["--objective", "cadft"], [], r"with --objective cadft\(.*, not with --objective nll: "),
        ([], ["--objective", "threshold(10%)"], r"nll, not with --objective threshold\(10%\): "),
        (["--objective", "p_pow(2)"], ["--objective", "p_pow(3)"], r"with --objective p_pow\(2\), not with"),
        (["--objective", "nll>neg_p"], ["--objective", "nll>neg_p(at=0.25)"],
         r"with --objective nll>neg_p\(at=0.5\), not with --objective nll>neg_p\(at=0.25\): "),
        (["--objective", "nll>neg_p"], [], r"nll>neg_p\(at=0.5\), not with --objective nll: "),
        ([], ["--use_peft", "true"], "without --use_peft, not with --use_peft"),
    ],
)  # fmt: skip
def test_going_on_with_another_objective_is_refused_before_any_work(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, model_folder: Path, data: Path, tmp_path: Path,
    first: list[str], then: list[str], says: str,
) -> None:  # fmt: skip
    steps = ["--max_steps", "12", "--save_steps", "6"]
    trained(model_folder, data, tmp_path, *first, *steps)
    older = tmp_path / "checkpoint-6"
    words = ["train", str(model_folder), str(data), "--output_dir", str(tmp_path), *QUICK, *steps]
    monkeypatch.setattr("harness.cli.inputs.read_pair", lambda *rest: pytest.fail("work"))
    for given, folder in (("true", tmp_path / "checkpoint-12"), (str(older), older)):
        capsys.readouterr()
        assert main([*words, *then, "--resume_from_checkpoint", given]) == 2
        errors = capsys.readouterr().err.strip().splitlines()
        assert len(errors) == 1 and re.search(says, errors[0]), errors
        assert str(folder) in errors[0]


def test_a_checkpoint_that_does_not_say_with_what_it_was_made_is_gone_on_from(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    flags = ["--max_steps", "4", "--save_steps", "2"]
    whole = trained(model_folder, data, tmp_path, *flags)
    path = tmp_path / "checkpoint-2" / "trainer_state.json"
    state = json.loads(path.read_text())
    assert state["stateful_callbacks"].pop("MadeWith")["args"]["settings"]["--objective"] == "nll"
    path.write_text(json.dumps(state))
    again = trained(
        model_folder, data, tmp_path / "again", *flags, "--resume_from_checkpoint", str(path.parent)
    )
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    later = json.loads((tmp_path / "again" / "checkpoint-4" / "trainer_state.json").read_text())
    assert later["stateful_callbacks"]["MadeWith"]["args"]["settings"]["--objective"] == "nll"


@pytest.mark.parametrize("first", [[], RESAMPLE])
def test_going_on_with_other_data_is_refused(
    capsys: Any, model_folder: Path, data: Path, tmp_path: Path, first: list[str]
) -> None:
    flags = [*first, "--max_steps", "12", "--save_steps", "6"]
    whole = trained(model_folder, data, tmp_path, *flags)
    other, moved = data.with_name("other.jsonl"), data.with_name("moved.jsonl")
    other.write_text(data.read_text().replace('"a b "', '"b a "'))
    moved.write_text(data.read_text())
    flags += ["--resume_from_checkpoint", str(tmp_path / "checkpoint-6")]
    capsys.readouterr()
    assert (
        main(
            ["train", str(model_folder), str(other), "--output_dir", str(tmp_path), *QUICK, *flags]
        )
        == 2
    )
    errors = [e for e in capsys.readouterr().err.splitlines() if e.startswith("advisor: error")]
    assert len(errors) == 1 and "made with DATASET of fingerprint" in errors[0]
    again = trained(model_folder, moved, tmp_path / "again", *flags)
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_a_split_is_evaluated_on_after_every_epoch_unless_told_otherwise(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    splits = tmp_path / "splits"
    splits.mkdir()
    for name, count in (("train", 40), ("test", 8)):
        lines = data.read_text().splitlines(keepends=True)[:count]
        (splits / f"{name}.jsonl").write_text("".join(lines))
    for flags, expected in (
        ([], [10, 15]),
        (["--eval_strategy", "steps", "--eval_steps", "5"], [5, 10, 15]),
    ):
        trained(model_folder, splits, tmp_path / "out", "--split", "train", "--eval_split", "test",
                "--max_steps", "15", *flags)  # fmt: skip
        history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
        assert [entry["step"] for entry in history if "eval_loss" in entry] == expected


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["cadft", "nll>cadft"])
def test_killed_and_resumed_equals_never_stopped(
    model_folder: Path, data: Path, tmp_path: Path, objective: str
) -> None:
    """Protects long trainings: a killed one ends where one never stopped does, to the last bit."""
    flags = [
        "--objective",
        objective,
        "--max_steps",
        "60",
        "--save_steps",
        "10",
        "--gradient_accumulation_steps",
        "2",
    ]
    whole = trained(model_folder, data, tmp_path / "whole", *flags)
    words = [
        "train",
        str(model_folder),
        str(data),
        "--output_dir",
        str(tmp_path / "cut"),
        *QUICK,
        *flags,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "advisor", *words],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    kill_once(process, lambda: list((tmp_path / "cut").glob("checkpoint-*/trainer_state.json")))
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    resumed = trained(
        model_folder, data, tmp_path / "cut", *flags, "--resume_from_checkpoint", "true"
    )
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=1e-6)


def test_packing_keeps_every_target(model_folder: Path, data: Path, tmp_path: Path) -> None:
    loaded = load_model(model_folder)
    dataset = load_dataset(str(data), loaded.tokenizer)
    words = [
        "--output_dir",
        str(tmp_path),
        "--packing",
        "true",
        "--max_length",
        "30",
        "--max_steps",
        "1",
    ]
    config, _ = read_settings(words, {})
    trainer = build_trainer(loaded, dataset, get_objective("cadft"), config)
    packed = sum(label != -100 for row in trainer.train_dataset for label in row["labels"])
    assert len(trainer.train_dataset) < len(dataset)
    assert packed == dataset.counts.target_tokens
    trainer.train()


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert newest_checkpoint(str(tmp_path)) is None
    for step, text in ((5, '{"global_step": 5}'), (10, '{"global_step": 10}'), (15, "")):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(text)
    (tmp_path / "checkpoint-20").mkdir()
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / "checkpoint-10")


def refused(capsys: Any, *words: object) -> str:
    """The refusal of a command."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    errors = [e for e in capsys.readouterr().err.splitlines() if e.startswith("advisor: error")]
    assert len(errors) == 1
    return errors[0]


@pytest.fixture
def kinds(write: Any) -> Path:
    """Rows with two columns either of which may be the prompt."""
    rows = [{"one": f"a {'bcd'[i % 3]} ", "two": "c d e"} for i in range(40)]
    path: Path = write("kinds.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_going_on_with_another_model_or_reading_is_refused(
    capsys: Any, model_folder: Path, kinds: Path, tmp_path: Path
) -> None:
    steps = ["--max_steps", "4", "--save_steps", "2"]
    read = ["--prompt_field", "one", "--completion_field", "two"]
    out = tmp_path / "out"
    whole = trained(model_folder, kinds, out, *steps, *read)
    resume = ["--resume_from_checkpoint", str(out / "checkpoint-2")]
    other = tmp_path / "other"
    tiny_model(initializer_range=0.5).save_pretrained(other)
    tiny_tokenizer().save_pretrained(other)
    words = [kinds, "--output_dir", out, *QUICK, *steps, *resume]
    line = refused(capsys, "train", other, *words, *read)
    assert re.search(
        "made with MODEL of fingerprint (\\w+), not with .* give MODEL of fingerprint \\1,", line
    )
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    for flags, before, now in (
        (
            ["--prompt_field", "two", "--completion_field", "one"],
            "prompt_field one",
            "prompt_field two",
        ),
        ([*read, "--max_length", "4"], "max_length 64", "max_length 4"),
        ([*read, "--eos_token", "none"], "eos_token <eos>", "eos_token none"),
        ([*read, "--chat_template", template], "chat_template of hash", "chat_template of hash"),
    ):
        line = refused(capsys, "train", model_folder, *words, *flags)
        says = rf"with --{before}.*, not with --{now}.*: .* give --{before}.*, to begin anew"
        assert re.search(says, line), line
    moved = tmp_path / "moved"
    shutil.copytree(model_folder, moved)
    said = ["--dtype", "float32", "--max_length", "64", "--eos_token", "<eos>"]  # as without
    again = trained(moved, kinds, tmp_path / "again", *steps, *read, *resume, *said)
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_a_checkpoint_that_names_no_model_is_gone_on_from(
    model_folder: Path, data: Path, tmp_path: Path
) -> None:
    steps = ["--max_steps", "4", "--save_steps", "2"]
    trained(model_folder, data, tmp_path, *steps)
    path = tmp_path / "checkpoint-2" / "trainer_state.json"
    state = json.loads(path.read_text())
    settings = state["stateful_callbacks"]["MadeWith"]["args"]["settings"]
    for name in ("MODEL", "--split", "--prompt_field", "--max_length", "--chat_template"):
        del settings[name]
    path.write_text(json.dumps(state))
    trained(model_folder, data, tmp_path, *steps, "--resume_from_checkpoint", str(path.parent))


@pytest.mark.parametrize("command", ["train", "distill"])
def test_what_is_read_is_not_written_over(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path, command: str
) -> None:
    monkeypatch.setattr("harness.cli.inputs.read_pair", lambda *rest: pytest.fail("work"))
    model, link, rows, teacher = (tmp_path / name for name in ("base", "link", "rows", "teacher"))
    shutil.copytree(model_folder, model)
    link.symlink_to(model)
    for folder in (rows, teacher):
        folder.mkdir()
    (rows / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    before = sorted(tmp_path.rglob("*"))
    places = [(model, "model"), (link, "model"), (rows, "DATASET"), (rows / "a" / "b", "DATASET")]
    extra: list[object] = ["--teacher", teacher] if command == "distill" else []
    places += [(teacher, "model")] if extra else []
    for out, says in places:
        line = refused(capsys, command, model, rows, *extra, "--output_dir", out)
        assert f"--output_dir {out} " in line and says in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refused_pair_leaves_no_folder(capsys: Any, data: Path, tmp_path: Path) -> None:
    refused(capsys, "train", tmp_path / "typo", data, "--output_dir", tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_a_file_beside_or_above_the_model_may_be_read(
    model_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    for out in ("out", "."):
        trained(model_folder, Path(data.name), Path(out), "--max_steps", "1")


WEIGHTED = [
    {"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6]), "weight": 0.5 + i % 3,
     "spans": [{"start": 0, "end": 1, "weight": 0.25 * (i % 2)}]}
    for i in range(40)
]  # fmt: skip
SGD = "--optim sgd --max_grad_norm 0 --lr_scheduler_type constant --learning_rate 0.3 --max_steps 1"


@pytest.mark.parametrize("objective", ["nll", "cadft", "iw_sft"])
def test_weights_survive_packing(model_folder: Path, tmp_path: Path, objective: str) -> None:
    """A step over all rows: padded, padding-free and packed it is the same."""
    after = []
    for flags in ("", "--padding_free true", "--packing true --max_length 24"):
        loaded = load_model(model_folder)
        dataset = load_dataset(WEIGHTED, loaded)
        words = [*SGD.split(), *flags.split(), "--per_device_train_batch_size", "40"]
        words += ["--output_dir", str(tmp_path), "--save_strategy", "no"]
        config, _ = read_settings(words, {})
        trainer = build_trainer(loaded, dataset, get_objective(objective), config)
        assert ("packing" in flags) == (len(trainer.train_dataset) < 40)
        trainer.train()
        after.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    for other in after[1:]:
        torch.testing.assert_close(other, after[0], rtol=0, atol=5e-6)


def test_weights_reach_the_trained_model_and_its_card(
    model_folder: Path, write: Any, tmp_path: Path
) -> None:
    found = {}
    for name, rows, flags in (
        ("weighted", WEIGHTED, []),
        ("plain", [{"prompt": r["prompt"], "completion": r["completion"]} for r in WEIGHTED], []),
        ("ones", [{**row, "weight": 1, "spans": None} for row in WEIGHTED], []),
        ("unread", [{**row, "spans": None} for row in WEIGHTED], ["--weight_field", "none"]),
    ):
        data = write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        found[name] = trained(model_folder, data, tmp_path / name, *flags)
    for name in ("ones", "unread"):
        assert all(torch.equal(found[name][key], value) for key, value in found["plain"].items())
    moved = (found["weighted"][key] - value for key, value in found["plain"].items())
    assert max(part.abs().max().item() for part in moved) > 1e-4
    assert "weights 0 to 2.5 in 40 of 40 rows" in (tmp_path / "weighted" / "README.md").read_text()
    assert "weights" not in (tmp_path / "plain" / "README.md").read_text().split("- Training")[0]


def test_what_exchanges_targets_refuses_their_weights(
    capsys: Any, model_folder: Path, write: Any, tmp_path: Path
) -> None:
    data = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in WEIGHTED))
    words = [model_folder, data, "--output_dir", tmp_path / "out", *QUICK]
    line = refused(
        capsys, "train", *words, "--objective", "cadft", "--resample", "--max_steps", "40"
    )
    assert "--resample, which exchanges targets, does not read the weights of the data" in line
    words = [*words[:4], "--teacher", model_folder, "--max_steps", "1"]
    line = refused(capsys, "distill", *words)
    assert (
        "distillation, which trains on the student's own answers, does not read the weights" in line
    )
