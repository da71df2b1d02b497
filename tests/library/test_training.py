"""`advisor.train`: the weights that the command ends with, from whatever is at hand."""

import copy
import json
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import advisor
from advisor.errors import InputError
from harness.cli.main import main
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_tokenizer

ROWS = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6])} for i in range(40)]
QUICK: dict[str, Any] = {
    "max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1,
    "report_to": "none",
}  # fmt: skip


def flags() -> list[str]:
    return [word for name, value in QUICK.items() for word in (f"--{name}", str(value))]


def saved(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return weights


def test_the_weights_are_the_commands(model_folder: Path, tmp_path: Path, capsys: Any) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    words = ["train", str(model_folder), str(data), "--output_dir", str(tmp_path / "command")]
    assert main([*words, "--objective", "cadft", *flags()]) == 0
    expected = saved(tmp_path / "command")
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    sources: list[tuple[Any, Any]] = [
        (model_folder, data),
        ((model, tiny_tokenizer()), pd.DataFrame(ROWS)),
    ]
    for number, (own, rows) in enumerate(sources):
        out = tmp_path / str(number)
        trained = advisor.train(own, rows, objective="cadft", output_dir=out, quiet=True, **QUICK)
        assert all(torch.equal(found, expected[name]) for name, found in saved(out).items())
        assert trained.output_dir == str(out) and trained.objective.name == "cadft"
        assert [entry["step"] for entry in trained.log if "nll" in entry] == [1, 2, 3]
        assert str(trained).startswith("Trained with cadft(1); the model is in ")
        assert not trained.model.training
    assert trained.model is model  # what is in memory is trained in place
    again = advisor.load_model(tmp_path / "0")
    assert advisor.measure_prior(again, ROWS, quiet=True).mean_p == pytest.approx(
        advisor.measure_prior((model, trained.tokenizer), ROWS, quiet=True).mean_p, rel=1e-6
    )


def test_a_prior_is_measured_for_those_who_ask_and_changes_nothing_but_the_card(
    model_folder: Path, tmp_path: Path
) -> None:
    """Breaks when the untouched model reads rows that no objective needs, or training hangs on it."""
    cards = []
    for asked in (False, True):
        out = tmp_path / str(asked)
        advisor.train(model_folder, ROWS, output_dir=out, measure_prior=asked, quiet=True, **QUICK)
        cards.append((out / "README.md").read_text(encoding="utf-8").splitlines())
    line = [line for line in cards[1] if line.startswith("- Prior: before training the model gave")]
    rest = [[each for each in card if each[:2] != "# "] for card in cards]  # the folder's name
    assert len(line) == 1 and rest[0] == [each for each in rest[1] if each not in line]
    one, two = (saved(tmp_path / name) for name in ("False", "True"))
    assert all(torch.equal(found, two[name]) for name, found in one.items())


def test_rows_to_evaluate_on_are_read_as_those_to_train_on(
    model_folder: Path, tmp_path: Path
) -> None:
    frame = pd.DataFrame(ROWS).rename(columns={"prompt": "x", "completion": "y"})
    trained = advisor.train(
        model_folder, frame[:30], output_dir=tmp_path, eval_dataset=frame[30:], quiet=True,
        prompt_field="x", completion_field="y", eval_strategy="steps", eval_steps=3, **QUICK,
    )  # fmt: skip
    assert [entry["step"] for entry in trained.log if "eval_nll" in entry] == [3]


def test_an_objective_may_change_while_it_trains(model_folder: Path, tmp_path: Path) -> None:
    settings = {**QUICK, "max_steps": 4}
    trained = advisor.train(
        model_folder, ROWS, objective="sft>dft", output_dir=tmp_path, quiet=True, **settings
    )
    assert trained.objective.label == "nll>neg_p(at=0.5)"
    assert [entry["stage"] for entry in trained.log if "stage" in entry] == [1, 1, 2, 2]
    said = "nll for steps 1 to 2, then neg_p for steps 3 to 4."
    assert said in trained.notes and said in (tmp_path / "README.md").read_text()
    with pytest.raises(InputError, match="neg_p does not come into force in the only optimiser"):
        advisor.train(
            model_folder, ROWS, objective="nll>dft", output_dir=tmp_path, quiet=True, max_steps=1
        )


def test_it_is_quiet_and_leaves_the_process_as_it_was(
    model_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    datasets.enable_progress_bars()
    verbosity, filters = datasets.logging.get_verbosity(), list(warnings.filters)
    torch.manual_seed(7)
    random.seed(7)
    expected = (torch.rand(1), random.random())
    torch.manual_seed(7)
    random.seed(7)
    advisor.train(model_folder, ROWS, output_dir=tmp_path, quiet=True, **QUICK)
    assert (torch.rand(1), random.random()) == expected
    assert not datasets.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == verbosity and list(warnings.filters) == filters
    said = capsys.readouterr()
    assert not said.out and "it/s" not in said.err and "Trained with" not in said.err


def test_it_says_what_the_command_says(model_folder: Path, tmp_path: Path, capsys: Any) -> None:
    advisor.train(model_folder, ROWS, output_dir=tmp_path, **QUICK)
    said = capsys.readouterr()
    assert "'nll'" in said.out
    assert f"Trained with nll; the model is in {tmp_path}." in " ".join(said.err.split())


def test_what_was_trained_since_is_another_model(model_folder: Path, tmp_path: Path) -> None:
    loaded = advisor.load_model(model_folder)
    settings = {**QUICK, "save_strategy": "steps", "save_steps": 2}
    advisor.train(loaded, ROWS, output_dir=tmp_path, quiet=True, **settings)
    with pytest.raises(InputError, match="MODEL"):
        advisor.train(
            loaded, ROWS, output_dir=tmp_path, quiet=True, resume_from_checkpoint=True, **settings
        )
    shutil.rmtree(tmp_path / "checkpoint-3")
    again = advisor.train(
        advisor.load_model(model_folder), ROWS, output_dir=tmp_path, quiet=True,
        resume_from_checkpoint=True, **{**settings, "learning_rate": "1e-3"},
    )  # fmt: skip
    assert [entry["step"] for entry in again.log if "nll" in entry] == [1, 2, 3]
    finished = zip(again.model.parameters(), loaded.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in finished)


@pytest.mark.parametrize("as_pair", [True, False])
def test_a_second_adapter_on_the_same_model_is_refused(
    model_folder: Path, tmp_path: Path, as_pair: bool
) -> None:
    """Breaks where the second one trains all weights of the base, which its folder then lacks."""
    loaded = advisor.load_model(model_folder)
    model: Any = (loaded.model, loaded.tokenizer) if as_pair else loaded
    settings: dict[str, Any] = {"quiet": True, "use_peft": True, "lora_r": 4, **QUICK}
    first = advisor.train(model, ROWS, output_dir=tmp_path / "a", **settings)
    with pytest.raises(InputError, match=r"has an adapter in its layers .* load the model anew"):
        advisor.train(model, ROWS, objective="dft", output_dir=tmp_path / "b", **settings)
    first.model.unload()
    again = advisor.train(model, ROWS, output_dir=tmp_path / "b", **settings)
    trained = [name for name, w in again.model.named_parameters() if w.requires_grad]
    assert trained and all("lora" in name for name in trained)


def test_what_the_user_froze_stays_as_it_is(model_folder: Path, tmp_path: Path) -> None:
    """Breaks where a training thaws weights of a model in memory; one with none trained is trained whole."""
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    before = {name: w.clone() for name, w in model.state_dict().items()}
    model.model.embed_tokens.requires_grad_(False)
    advisor.train((model, tiny_tokenizer()), ROWS, output_dir=tmp_path, quiet=True, **QUICK)
    after = model.state_dict()
    same = {name for name, w in before.items() if torch.equal(after[name], w)}
    assert same == {"model.embed_tokens.weight"}


def test_a_trained_model_can_be_copied(model_folder: Path, tmp_path: Path) -> None:
    """Breaks where a training leaves a forward that a copy calls on the weights of the original.

    Objectives that compare with a copy, and the deep probe, failed on a model that was trained before.
    """
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_folder), tiny_tokenizer()
    first = advisor.train((model, tokenizer), ROWS, output_dir=tmp_path, quiet=True, **QUICK)
    ids = torch.tensor([[3, 4, 5]])
    twin, before = copy.deepcopy(first.model), model(ids).logits
    advisor.train(
        (model, tokenizer), ROWS, objective="asft", output_dir=tmp_path, quiet=True, **QUICK
    )
    assert torch.equal(twin(ids).logits, before) and not torch.equal(model(ids).logits, before)


def test_float16_is_not_trained_into_ruins(model_folder: Path, tmp_path: Path) -> None:
    def half() -> Any:
        return AutoModelForCausalLM.from_pretrained(model_folder).half(), tiny_tokenizer()

    with pytest.raises(InputError, match=r"is in float16.*model.float\(\)"):
        advisor.train(half(), ROWS, output_dir=tmp_path, quiet=True, **QUICK)
    trained = advisor.train(
        half(), ROWS, output_dir=tmp_path, quiet=True, use_peft=True, lora_r=4, **QUICK
    )
    adapter = {n: p for n, p in trained.model.named_parameters() if "lora" in n}
    assert adapter and all(p.dtype == torch.float32 for p in adapter.values())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"objective": "cadtf"}, "did you mean cadft"),
    ({"learning_rat": 1.0}, "did you mean --learning_rate"),
    ({"eval_split": "test"}, "give eval_dataset"),
    ({"eval_strategy": "epoch"}, "on what.*eval_dataset"),
    ({"resample_share": 2.0}, "resample_share 2: expected 0 to 1"),
    ({"prompt_field": "p"}, "no column 'p'"),
]


@pytest.mark.parametrize(("settings", "reason"), REFUSED)
def test_refused_trainings(
    model_folder: Path, tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        advisor.train(model_folder, ROWS, output_dir=tmp_path / "out", quiet=True, **settings)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_the_models_own_folder_is_not_written_over(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    for own in (str(model_folder), (model, tiny_tokenizer())):
        with pytest.raises(InputError, match="is the folder of model"):
            advisor.train(own, ROWS, output_dir=model_folder, quiet=True)


def test_the_example_runs(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    code = (ROOT / "docs" / "library_example.py").read_text(encoding="utf-8")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "library_example.py", "exec"), {})
    said = capsys.readouterr().out
    assert said.startswith("knows: [") and "model-weak" in said and "out {" in said
    assert advisor.load_model(tmp_path / "out").kind
