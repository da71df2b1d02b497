"""`advisor.recommend` and `advisor.measure_prior`: what the commands answer, from whatever is at hand."""

import json
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

import advisor
from advisor.errors import InputError
from advisor.prior.kept import read_prior
from harness.cli.main import main
from tests.helpers.tiny import tiny_model, tiny_tokenizer

ROWS = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6])} for i in range(40)]


@pytest.fixture
def data(write: Any) -> Path:
    path: Path = write("data.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def numbers(answer: Any) -> dict[str, Any]:
    """An answer as plain data, without what was typed, when, the time it took, the names and the notes."""
    found: dict[str, Any] = json.loads(json.dumps(answer))
    for name in ("model", "dataset", "next", "command", "date", "settings", "versions"):
        found.pop(name, None)
    for name in ("seconds", "model", "dataset", "notes"):
        found["prior"].pop(name)
    if found["deep"]:
        found["deep"].pop("seconds")
    for plan in filter(None, (found["plan"], found["plan"]["cheaper"], found["plan"]["dearer"])):
        plan.pop("minutes")
    return found


def by_command(capsys: Any, *words: str) -> dict[str, Any]:
    assert main(["recommend", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_answer_is_the_commands(model_folder: Path, data: Path, capsys: Any) -> None:
    expected = by_command(capsys, str(model_folder), str(data), "--temperature", "0.7")
    answer = advisor.recommend(str(model_folder), data, temperature=0.7)
    assert numbers(answer.to_dict()) == numbers(expected)
    assert answer.to_dict()["model"] == expected["model"] == str(model_folder)


def test_whatever_is_at_hand_is_taken(model_folder: Path, data: Path) -> None:
    expected = advisor.measure_prior(model_folder, data)
    loaded = advisor.load_model(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder).train()
    model.model.embed_tokens.eval()
    frame = pd.DataFrame(ROWS)
    for own, rows in (
        (loaded, ROWS),
        (loaded, advisor.load_dataset(frame, loaded)),
        ((model, tiny_tokenizer()), frame),
        ((model, tiny_tokenizer()), datasets.Dataset.from_list(ROWS)),
    ):
        prior = advisor.measure_prior(own, rows)
        assert prior.mean_p == expected.mean_p and prior.bounds == expected.bounds
    assert model.training and not model.model.embed_tokens.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_columns_are_named_as_on_the_command_line(model_folder: Path) -> None:
    frame = pd.DataFrame(ROWS).rename(columns={"prompt": "x", "completion": "y"})
    prior = advisor.measure_prior(
        model_folder, frame, limit=8, prompt_field="x", completion_field="y"
    )
    assert prior.examples == 8
    assert prior.mean_p == advisor.measure_prior(model_folder, ROWS, limit=8).mean_p


def test_the_number_of_threads_is_as_it_was(model_folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        advisor.measure_prior(model_folder, ROWS, limit=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_prior_is_decided_by_itself(model_folder: Path, data: Path) -> None:
    prior = advisor.measure_prior(model_folder, data)
    alone = advisor.recommend(prior, temperature=0.0)
    whole = advisor.recommend(model_folder, data)  # its generation config is greedy
    assert numbers(alone.to_dict()) == numbers(whole.to_dict())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"limit": 5}, "limit: a prior was"), ({"split": "train"}, "split: a prior was"),
     ({"modle_kind": "base"}, "did you mean model_kind"), ({"depth": "deep"}, "depth deep: it trains")],
)  # fmt: skip
def test_what_reads_or_measures_is_refused_beside_a_prior(
    model_folder: Path, data: Path, settings: dict[str, Any], reason: str
) -> None:
    """Breaks where a mistyped keyword, or one that needs the model, is silently without effect."""
    prior = advisor.measure_prior(model_folder, data)
    with pytest.raises(InputError, match=reason):
        advisor.recommend(prior, temperature=0.0, **settings)


def test_a_kept_prior_brings_its_kind_and_its_words(tmp_path: Path, capsys: Any) -> None:
    """Breaks where a file's answer in Python is another than that of `--prior`, or names no file."""
    rows, file = tmp_path / "rows.jsonl", str(tmp_path / "kept.json")
    rows.write_text("".join(json.dumps({"q": f"{i}?", "z": f"{i}"}) + "\n" for i in range(12)))
    fields = ("--prompt_field", "q", "--completion_field", "z")
    kind = ("--model_kind", "instruct")
    by_command(capsys, "ladder:weak", str(rows), *fields, *kind, "--temperature", "1", "-o", file)
    expected = by_command(capsys, "--prior", file, "--temperature", "0")
    answer = advisor.recommend(read_prior(file), temperature=0.0)
    assert numbers(answer.to_dict()) == numbers(expected) and answer.kind == "instruct"
    assert answer.to_dict()["next"] == expected["next"]
    again = advisor.recommend(
        "ladder:weak", rows, temperature=0.0, prompt_field="q", completion_field="z"
    )
    assert again.to_dict()["next"] == expected["next"]
    assert (
        advisor.measure_prior("ladder:weak", rows, prompt_field="q", completion_field="z").model[
            "kind"
        ]
        == "base"
    )


def test_a_rung_brings_its_own_demonstrations(capsys: Any) -> None:
    words = ("ladder:weak", "--depth", "deep", "--deep_steps", "2", "--limit", "40")
    expected = by_command(capsys, *words)
    answer = advisor.recommend("ladder:weak", depth="deep", deep_steps=2, limit=40)
    assert answer.kind == "base" and answer.deep is not None
    assert numbers(answer.to_dict()) == numbers(expected)
    assert answer.prior.model["name"] == "ladder:weak"
    loaded_first = advisor.measure_prior("ladder:weak", "ladder:weak", limit=4)
    assert loaded_first.dataset["name"] == "weak.jsonl"


def test_what_is_assumed_is_said_or_not(model_folder: Path, capsys: Any) -> None:
    advisor.recommend(model_folder, ROWS, temperature=0.0)
    said = capsys.readouterr()
    assert not said.out and "measuring the prior: " in said.err and "- In float32" in said.err
    advisor.recommend(model_folder, ROWS, quiet=True, dtype="bfloat16")
    assert capsys.readouterr() == ("", "")


def test_an_answer_reads_well(model_folder: Path, data: Path) -> None:
    answer = advisor.recommend(model_folder, data, temperature=1.0)
    lines = str(answer).splitlines()
    assert lines[0].startswith("knows: ") and "at temperature 1" in lines[1]
    assert [
        line for line in lines if line.startswith("run 1: p_anneal(0, 1, 0, 1) at a learning rate")
    ]
    assert sum(line.startswith("! ") for line in lines) == len(answer.warnings) > 0

    class Printer:
        shown = ""

        def text(self, text: str) -> None:
            self.shown += text

    printer = Printer()
    answer._repr_pretty_(printer, False)
    assert printer.shown == str(answer)


REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "DATASET is missing"),
    ((ROWS,), {"temperature": -1.0}, "temperature -1: expected 0 to 10"),
    ((ROWS,), {"depth": "deeper"}, "depth 'deeper': expected quick or deep"),
    ((ROWS,), {"limit": 0}, "limit 0: expected 1 or more"),
    ((ROWS,), {"limit": 3, "exact": True}, "limit and exact exclude each other"),
    ((ROWS,), {"limit": "3"}, "limit '3': expected a whole number"),
    ((ROWS,), {"max_length": 64.0}, "max_length 64.0: expected a whole number"),
    ((ROWS,), {"modle_kind": "base"}, "no setting 'modle_kind'.*did you mean model_kind"),
    ((ROWS,), {"model_kind": "chat"}, "model_kind 'chat': expected base or instruct"),
    ((ROWS,), {"prompt_feild": "x"}, "no setting 'prompt_feild'.*did you mean prompt_field"),
    ((3,), {}, "DATASET is of type int"),
]


@pytest.mark.parametrize(("rows", "settings", "reason"), REFUSED)
def test_refused_calls(
    model_folder: Path, rows: tuple[Any, ...], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        advisor.recommend(model_folder, *rows, **settings)
    assert "\n" not in str(caught.value)


def test_refused_models_and_datasets(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="MODEL is of type int"):
        advisor.recommend(3, ROWS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="MODEL is a tuple of 1"):
        advisor.recommend((tiny_model(),), ROWS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="needs its tokenizer"):
        advisor.recommend(tiny_model(), ROWS)
    with pytest.raises(InputError, match="no ladder rung named 'wek'"):
        advisor.recommend("ladder:wek")
    loaded = advisor.load_model(model_folder)
    dataset = advisor.load_dataset(ROWS, loaded)
    with pytest.raises(InputError, match="loaded already: give split to load_dataset"):
        advisor.recommend(loaded, dataset, split="train")
    with pytest.raises(InputError, match="loaded already: give dtype to load_model"):
        advisor.recommend(loaded, dataset, dtype="float32")
    other = tiny_tokenizer()
    other.add_tokens(["z"])
    with pytest.raises(InputError, match="tokenised with another vocabulary"):
        advisor.recommend(loaded, advisor.load_dataset(ROWS, other))
    prior = advisor.measure_prior(loaded, dataset)
    with pytest.raises(InputError, match="temperature is missing"):
        advisor.recommend(prior)
    with pytest.raises(InputError, match="dataset: a prior was measured"):
        advisor.recommend(prior, ROWS, temperature=0.0)
