"""`advisor.confirm`: the verdict that the command gives, from a notebook."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import advisor
from advisor.errors import InputError
from harness.cli.main import main
from harness.ladder import resolve
from harness.records.runs import Results

QUICK: dict[str, Any] = {
    "objectives": ["neg_p"], "learning_rates": [1e-3], "seeds": 1, "max_steps": 2, "limit": 6,
    "temperature": 0.0, "quiet": True,
}  # fmt: skip
WORDS = [
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A study in miniature, and its verdict."""
    folder = tmp_path_factory.mktemp("results")
    return folder, advisor.confirm("ladder:strong", results=folder, **QUICK)


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("a finished study runs nothing")


def facts(verdict: Any) -> tuple[Any, ...]:
    return verdict.headline, verdict.rows, verdict.curve, verdict.fine_tune


def test_the_study_is_the_commands(
    finished: tuple[Path, Any], capsys: Any, monkeypatch: Any
) -> None:
    folder, verdict = finished
    monkeypatch.setattr("harness.study.executors.execute", never)
    assert main([*WORDS, "--results", str(folder)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["headline"] == verdict.headline and answer["winner"] == verdict.winner.label
    found = [(row["score"], row["difference"]["estimate"]) for row in answer["rows"]]
    assert found == [(row.score, row.difference.estimate) for row in verdict.rows] != []
    again = advisor.confirm("ladder:strong", results=folder, **QUICK)
    assert facts(again) == facts(verdict)


@pytest.mark.slow
def test_a_model_in_memory_is_confirmed_and_left_as_it_was(
    finished: tuple[Path, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    """Protects a user's model: in memory it gets the verdict of its folder, and is not trained by it."""
    folder, _ = resolve("strong")
    model = AutoModelForCausalLM.from_pretrained(folder).train()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    verdict = advisor.confirm((model, tokenizer), "ladder:strong", results=tmp_path, **QUICK)
    assert facts(verdict) == facts(finished[1])
    assert model.training
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    runs = Results(tmp_path).runs()
    assert {run.spec.model for run in runs} == {str(folder)}
    monkeypatch.setattr("harness.study.executors.execute", never)
    monkeypatch.setattr("harness.study.confirm.execute", never)
    loaded = advisor.load_model(model, tokenizer=tokenizer)
    again = advisor.confirm(loaded, "ladder:strong", results=tmp_path, **QUICK)
    assert facts(again) == facts(verdict)


ADAPTER: dict[str, Any] = {
    "plan": "one", "use_peft": True, "lora_target_modules": "all-linear", "max_steps": 2, "limit": 20,
    "temperature": 0.0, "quiet": True,
}  # fmt: skip


def test_a_kept_adapter_names_where_its_base_came_from(tmp_path: Path) -> None:
    """Breaks where it names the copy of the model in memory, which is deleted with the call."""
    folder, rows = resolve("strong")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found: Any = advisor.confirm((model, tokenizer), rows, results=tmp_path, **ADAPTER)
    config = json.loads((found.best_checkpoint / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder)
    assert advisor.load_model(folder).parameters == model.num_parameters()


@pytest.mark.parametrize("name", ["", "/tmp/gone/model"])
def test_an_adapter_without_a_base_to_name_is_refused(tmp_path: Path, name: str) -> None:
    folder, rows = resolve("strong")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.name_or_path = name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(InputError, match="save it with model"):
        advisor.confirm((model, tokenizer), rows, results=tmp_path, **ADAPTER)


def test_a_verdict_reads_well(finished: tuple[Path, Any]) -> None:
    verdict = finished[1]
    lines = str(verdict).splitlines()
    assert lines[0] == verdict.headline and len(lines) >= 1 + len(verdict.rows)
    assert any(line.startswith("neg_p ") and ", nll " in line for line in lines)


def test_it_says_what_the_command_says(finished: tuple[Path, Any], capsys: Any) -> None:
    advisor.confirm("ladder:strong", results=finished[0], **{**QUICK, "quiet": False})
    said = capsys.readouterr()
    assert not said.out and "runs at most" in said.err and "measuring the prior" in said.err
    advisor.confirm("ladder:strong", results=finished[0], **QUICK)
    assert capsys.readouterr() == ("", "")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"objectives": ["cadtf"]}, "did you mean cadft"),
    ({"seeds": 0}, "seeds 0: expected 1 or more"),
    ({"budget": "soon"}, "budget soon: expected a time"),
    ({"learning_rate": 1e-3}, "give the grid with --learning_rates"),
    ({"executor": "slurm"}, "executor 'slurm': expected local or ray"),
    ({"max_step": 2}, "did you mean --max_steps"),
]


@pytest.mark.parametrize(("settings", "reason"), REFUSED)
def test_refused_studies(tmp_path: Path, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        advisor.confirm("ladder:strong", results=tmp_path, quiet=True, **settings)
    assert "\n" not in str(caught.value)
