"""The exported files: what TRL and transformers make of them, and the names that the other trainers know."""

import ast
import json
import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from datasets import Dataset
from torch import Tensor
from trl import DatasetMixtureConfig, ModelConfig, SFTConfig, SFTTrainer, TrlParser, get_dataset

from advisor.errors import InputError
from advisor.objectives.export_files import SETTINGS, Exported, export_files
from advisor.objectives.neighbours import NEIGHBOURS
from advisor.objectives.table import OBJECTIVES, get_objective
from advisor.objectives.trainer_files import Wanted
from harness.train.objective_trainer import ObjectiveLoss, ObjectiveTrainer
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_model, tiny_tokenizer

READ = json.loads((ROOT / "tests/helpers/neighbour_arguments.json").read_text(encoding="utf-8"))
HUGGING_FACE = {field.name for field in fields(transformers.Seq2SeqTrainingArguments)}
ROWS = [
    {"prompt": f"{a} {b} ", "completion": " ".join([c] * (1 + i % 4))}
    for i, (a, b, c) in enumerate(zip("abcdefgh", "bcdefghi", "cdefghij", strict=True))
]
HERE = Wanted(
    model="MODEL", dataset="rows.jsonl", layout="prompt_completion", learning_rate=0.5, batch_size=4
)
ONE_STEP = {
    "max_steps": 1, "optim": "sgd", "lr_scheduler_type": "constant", "use_cpu": True, "bf16": False,
    "report_to": "none", "disable_tqdm": True, "gradient_accumulation_steps": 2, "seed": 0,
    "gradient_checkpointing": False, "max_grad_norm": 0.0, "logging_steps": 1,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model and rows, which is the current one."""
    monkeypatch.chdir(tmp_path)
    tiny_model(initializer_range=0.3).save_pretrained("MODEL")
    tiny_tokenizer().save_pretrained("MODEL")
    lines = [json.dumps(row) for row in ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def put(found: Exported, folder: Path) -> None:
    for name, text in found.files.items():
        (folder / name).write_text(text)


def weights(model: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def moved(model: Any) -> Tensor:
    """By how much a step moved the weights of MODEL."""
    return weights(model) - weights(transformers.AutoModelForCausalLM.from_pretrained("MODEL"))


def steps_of_ours(objective: str, steps: int = 1) -> Tensor:
    """The same, with this package's own reading of the rows and its own loss."""
    import advisor

    tokenizer = transformers.AutoTokenizer.from_pretrained("MODEL")
    read = advisor.load_dataset("rows.jsonl", tokenizer)
    rows = [{"input_ids": row.input_ids, "labels": row.labels} for row in read]
    config = SFTConfig(
        output_dir="ours",
        learning_rate=HERE.learning_rate,
        per_device_train_batch_size=HERE.batch_size,
        dataset_kwargs={"skip_prepare_dataset": True},
        **{**ONE_STEP, "max_steps": steps},
    )
    trainer = ObjectiveTrainer(
        objective=get_objective(objective),
        model=transformers.AutoModelForCausalLM.from_pretrained("MODEL", dtype="float32"),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    return moved(trainer.model)


def layout_of(to: str) -> Any:
    """Columns that a trainer takes."""
    return "prompt_completion" if to == "unsloth" else "messages"


def same_step(found: Tensor, ours: Tensor) -> None:
    assert ours.abs().max() > 1e-3  # it is a step
    assert (found - ours).abs().max() < 1e-6


@pytest.mark.parametrize("objective", ["nll", "dft"])
def test_a_step_of_trl_with_the_written_file_is_a_step_of_ours(
    objective: str, folder: Path
) -> None:
    """The file goes through TRL's own parser and trainer, as `trl sft --config sft.yaml` takes it."""
    found = export_files(objective, "trl", HERE)
    assert found.how == "setting" and list(found.files) == ["sft.yaml"]
    put(found, folder)
    parser = TrlParser((SFTConfig, ModelConfig, DatasetMixtureConfig))
    words = [f"--{name}={value}" for name, value in ONE_STEP.items()]
    config, model, data = parser.parse_args_and_config(["--config", "sft.yaml", *words])
    assert (config.max_length, config.num_train_epochs) == (2048, 3)
    assert (
        config.loss_type == {"nll": SFTConfig("x", bf16=False).loss_type, "dft": "dft"}[objective]
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained("MODEL")
    trainer = SFTTrainer(
        transformers.AutoModelForCausalLM.from_pretrained(
            model.model_name_or_path, dtype="float32"
        ),
        config,
        train_dataset=get_dataset(data)["train"],
        processing_class=tokenizer,
    )
    trainer.train()
    same_step(moved(trainer.model), steps_of_ours(objective))


@pytest.mark.parametrize("objective", ["p_pow(0.5)", "cadft", "nll>dft(at=0.5)", "gem"])
def test_a_step_of_the_program_for_trl_is_a_step_of_ours(
    objective: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = export_files(objective, "trl", HERE)
    assert found.how == "code"
    put(found, folder)
    steps = objective.count(">") + 1  # a stage needs one
    words = [f"--{name}={value}" for name, value in {**ONE_STEP, "max_steps": steps}.items()]
    monkeypatch.setattr(sys, "argv", ["train.py", *found.command.split()[2:], *words])
    ran: dict[str, Any] = {}
    exec(found.files["train.py"], ran)
    assert isinstance(ran["trainer"], ObjectiveLoss)
    same_step(moved(ran["trainer"].model), steps_of_ours(objective, steps))
    assert (folder / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("objective", ["nll", "dft", "deft", "gem", "focal(2)", "cadft", "nll>dft"])
def test_a_step_of_the_program_for_transformers_is_a_step_of_ours(
    objective: str, folder: Path
) -> None:
    """The arguments go through transformers' own parser, which the program calls."""
    found = export_files(objective, "transformers", HERE)
    put(found, folder)
    steps = objective.count(">") + 1
    arguments = (
        json.loads((folder / "arguments.json").read_text()) | ONE_STEP | {"max_steps": steps}
    )
    (folder / "arguments.json").write_text(json.dumps(arguments))
    ran: dict[str, Any] = {}
    exec(found.files["train.py"], ran)
    assert ran["args"].learning_rate == 0.5
    same_step(moved(ran["trainer"].model), steps_of_ours(objective, steps))


@pytest.mark.parametrize("special", [{}, {"pad_token": "<pad>"}])
def test_the_program_for_transformers_takes_any_tokenizer(
    folder: Path, special: dict[str, str]
) -> None:
    """Breaks without a pad token, and where padding on the left is what a first token is predicted from."""
    texts = [{"text": f"{row['prompt']} {row['completion']}"} for row in ROWS]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    tokenizer = tiny_tokenizer(eos_token="<eos>", **special)
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained("MODEL")
    found = export_files("dft", "transformers", HERE)
    put(found, folder)
    arguments = json.loads((folder / "arguments.json").read_text()) | ONE_STEP
    (folder / "arguments.json").write_text(json.dumps(arguments))
    ran: dict[str, Any] = {}
    exec(found.files["train.py"], ran)
    same_step(moved(ran["trainer"].model), steps_of_ours("dft"))


def test_the_row_names_of_settings_exist() -> None:
    for to, name in SETTINGS:
        assert to in NEIGHBOURS and name in OBJECTIVES


@pytest.mark.parametrize("to", READ)
def test_what_was_read_is_what_is_said(to: str) -> None:
    assert NEIGHBOURS[to].commit == READ[to]["commit"]
    assert set(READ) == {name for name, one in NEIGHBOURS.items() if one.commit}


def top_level(values: dict[str, Any]) -> set[str]:
    """Keys at every depth of lists and dictionaries."""
    found = set(values)
    for value in values.values():
        for one in value if isinstance(value, list) else [value]:
            found |= top_level(one) if isinstance(one, dict) else set()
    return found


def argument_names(found: Exported) -> set[str]:
    """Every argument that the files give a trainer, whatever they are written in."""
    names: set[str] = set()
    for name, text in found.files.items():
        if name.endswith(".yaml"):
            names |= top_level(yaml.safe_load(text))
        elif name == "arguments.json":
            names |= set(json.loads(text))
        elif name.endswith(".sh"):
            words = [word for word in shlex.split(text.replace("\\\n", " ")) if "=" in word]
            names |= {word.partition("=")[0].lstrip("+") for word in words}
    return names


def keywords(program: str, call: str) -> set[str]:
    """Keywords of the calls of a function in a program."""
    return {
        keyword.arg or ""
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(call)
        for keyword in node.keywords
    }


@pytest.mark.parametrize("layout", ["messages", "prompt_completion"])
@pytest.mark.parametrize("objective", ["nll", "dft", "eaft(2)", "asft", "focal(2)"])
@pytest.mark.parametrize("to", READ)
def test_the_trainer_knows_every_name(to: str, objective: str, layout: Any) -> None:
    """Against the names of its argument classes as they stand at the commit."""
    wanted = Wanted(layout=layout, learning_rate=1e-5)
    try:
        found = export_files(objective, to, wanted)
    except InputError:
        unread = {("verl", "prompt_completion"), ("unsloth", "messages")}
        assert (to, layout) in unread or objective in ("eaft(2)", "asft")
        return
    known = set(READ[to]["arguments"].split())
    if to in ("llamafactory", "ms-swift", "liger"):
        known |= HUGGING_FACE
    assert argument_names(found) <= known
    if to == "unsloth":
        program = found.files["train.py"]
        assert {"model_name", "max_seq_length"} <= keywords(program, "from_pretrained") <= known
        arguments = re.search(r"SFTConfig\(\*\*(\{.*\})\)", program)
        assert arguments is not None
        assert set(ast.literal_eval(arguments[1])) <= {field.name for field in fields(SFTConfig)}
    if to == "liger" and objective == "dft":
        assert (
            '"use_token_scaling": True' in found.files["train.py"] and "use_token_scaling" in known
        )
    if to == "llamafactory":
        [described] = json.loads(found.files["dataset_info.json"]).values()
        assert top_level(described) <= set(READ[to]["dataset_info"].split())


@pytest.mark.parametrize("to", NEIGHBOURS)
def test_each_says_the_rate_the_data_and_the_objective(to: str) -> None:
    wanted = Wanted(
        layout=layout_of(to),
        model="some/model",
        dataset="d/rows.jsonl",
        learning_rate=0.00125,
        output_dir="o-u-t",
    )
    for objective in ("dft", "p_pow(0.5)"):
        found = export_files(objective, to, wanted)
        text = "\n".join(found.files.values())
        for value in ("some/model", "d/rows.jsonl", "0.00125", "o-u-t"):
            assert value in text
        assert found.how == ("setting" if (to, found.objective) in SETTINGS else "code")
        if found.how == "code":
            assert json.dumps(found.objective) in text
            assert NEIGHBOURS[to].place in found.notes[0]
        for name, program in found.files.items():
            if name.endswith(".py"):
                compile(program, name, "exec")


@pytest.mark.parametrize("to", NEIGHBOURS)
def test_a_hostile_name_becomes_no_code(to: str) -> None:
    name = "a'\"; touch /tmp/x; $(id) `id`\n"
    wanted = Wanted(layout=layout_of(to), model=name, dataset=name, learning_rate=1.0)
    found = export_files("p_pow(0.5)", to, wanted)
    for file, text in found.files.items():
        if file.endswith(".py"):
            parsed = ast.parse(text)
            texts = {n.value for n in ast.walk(parsed) if isinstance(n, ast.Constant)}
            assert to not in ("transformers", "unsloth", "liger") or name in texts
        elif file.endswith(".yaml"):
            assert name in str(yaml.safe_load(text).values()).encode().decode("unicode_escape")
        elif file.endswith(".sh"):
            words = shlex.split(text.replace("\\\n", " "))
            assert sum("touch" in word for word in words) == 2


def test_parameters_stand_in_the_settings() -> None:
    found = yaml.safe_load(export_files("eaft(2)", "llamafactory").files["sft.yaml"])
    assert (found["use_eaft_loss"], found["eaft_alpha"]) == (True, 2)
    asft = export_files("asft(0.2)", "llamafactory")
    assert yaml.safe_load(asft.files["sft.yaml"])["asft_alpha"] == 0.2
    assert any("gradient_accumulation_steps" in note for note in asft.notes)


def test_other_names_of_an_objective_are_the_same_files() -> None:
    for same in ("neg_p", "-p", "p_pow(1)", "cadft(0)"):
        assert export_files(same, "trl").files == export_files("dft", "trl").files
    assert export_files("threshold(0)", "verl").how == "setting"


@pytest.mark.parametrize(
    ("objective", "to", "why"),
    [
        ("cadft", "verl", "all micro-batches of an optimiser step at once. .* takes is dft"),
        ("iw_sft", "trl", "measured before the training. .* takes is nll"),
        ("dft(prior=frozen)", "llamafactory", "the model before training"),
        ("nll>dft", "ms-swift", "changes while it trains"),
        ("p_anneal", "llamafactory", r"changes while it trains.* takes is p_pow\(0.5\)"),
        ("threshold(10%)", "transformers", "whole training set"),
        ("nll>threshold(10%)", "trl", "measured before the training"),
        ("deft", "nemo-rl", "gives the targets' log p alone"),
        ("asft", "axolotl", "compares with the model before training"),
    ],
)
def test_what_a_trainer_cannot_do_is_said_with_the_nearest(
    objective: str, to: str, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        export_files(objective, to, Wanted(learning_rate=1.0))


def test_what_is_missing_is_said() -> None:
    with pytest.raises(InputError, match="give --learning_rate"):
        export_files("dft", "axolotl")
    with pytest.raises(InputError, match="--layout prompt_completion"):
        export_files("dft", "unsloth")
    with pytest.raises(InputError, match="column messages"):
        export_files("dft", "verl", Wanted(layout="prompt_completion"))
    assert any("No learning rate" in note for note in export_files("dft", "trl").notes)
