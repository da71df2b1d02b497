"""A prior that was kept: it comes back whole, and what is none, or another pair's, is refused in one line."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import advisor
from advisor.errors import InputError
from advisor.options import DataOptions
from advisor.prior.kept import read_prior, refuse_another
from advisor.prior.prior import Prior
from harness.cli.main import main

ROWS = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6])} for i in range(40)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def kept(model_folder: Path, data: Path, tmp_path: Path) -> Path:
    """The file of an answer at temperature 1."""
    file = tmp_path / "answer.json"
    words = [str(model_folder), str(data), "--temperature", "1", "-o", str(file), "--json"]
    assert main(["recommend", *words]) == 0
    return file


def answer_of(capsys: Any, *words: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["recommend", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: Any, *words: object) -> str:
    capsys.readouterr()
    assert main(["recommend", *map(str, words)]) == 2
    said = capsys.readouterr()
    assert not said.out and len(said.err.strip().splitlines()) == 1
    return str(said.err)


def test_a_prior_comes_back_from_its_json_as_it_was(model_folder: Path, data: Path) -> None:
    """Breaks when a field of `Prior` has no type in JSON, or an interval comes back as a list."""
    prior = advisor.measure_prior(model_folder, data, quiet=True)
    again = Prior.from_dict(json.loads(json.dumps(prior.to_dict())))
    for field in fields(Prior):
        one, other = getattr(prior, field.name), getattr(again, field.name)
        assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True), field.name
    assert again.bounds == prior.bounds and again.intervals == prior.intervals
    assert again.mean_p_interval == prior.mean_p_interval and isinstance(again.seed, int)


def test_what_version_0_1_kept_is_read(kept: Path) -> None:
    """Breaks when `intervals`, which it had not, are asked for."""
    found = json.loads(kept.read_text())["prior"]
    del found["intervals"]
    assert Prior.from_dict(found).intervals == {}


def test_the_next_command_reads_the_data_as_the_prior_was_measured(
    model_folder: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    """Breaks where flags are lost with which alone the data can be read, or a file's text is a command."""
    file, flags = tmp_path / "answer.json", ("--max_length", "32", "--dtype", "float32")
    new = answer_of(capsys, model_folder, data, *flags, "--temperature", "1", "-o", file)
    old = answer_of(capsys, "--prior", file, "--temperature", "0")
    assert "--max_length 32" in new["next"] and "--dtype float32" in new["next"]
    assert old["next"].split(" --temperature")[0] == new["next"].split(" --temperature")[0]
    content = json.loads(file.read_text())
    content["next"] = "advisor confirm m; ls --temperature 0 --plan three"
    file.write_text(json.dumps(content))
    assert (
        "advisor confirm 'm;' ls "
        in answer_of(capsys, "--prior", file, "--temperature", "0")["next"]
    )


def test_the_answer_from_a_kept_prior_is_that_of_a_new_measurement(
    kept: Path, model_folder: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    """Breaks when the kept numbers, names or kind are not those that were measured."""
    pair = (model_folder, data)
    for temperature in (0.0, 1.0):
        new = answer_of(capsys, *pair, "--temperature", temperature)
        for words in ((*pair, "--prior", kept), ("--prior", kept)):
            old = answer_of(capsys, *words, "--temperature", temperature)
            for one in (new, old):
                one["prior"].pop("seconds", None)
                one.pop("command", None)  # as it was typed
                plan = one["plan"]
                for part in (plan, plan["cheaper"], plan["dearer"]):
                    part.pop("minutes", None)  # of the machine's speed
            assert old == new
    alone = tmp_path / "prior.json"
    alone.write_text(json.dumps(json.loads(kept.read_text())["prior"]))
    assert (
        answer_of(capsys, "--prior", alone, "--temperature", 1)["recommended"] == new["recommended"]
    )


def test_a_kept_prior_needs_no_torch(kept: Path) -> None:
    """Breaks when deciding from a file loads what only measuring needs."""
    code = (
        "import sys; from harness.cli.main import main; "
        "assert main(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    )
    words = ["recommend", "--prior", str(kept), "--temperature", "0", "--json"]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)


def changed(kept: Path, **changes: Any) -> Path:
    found = json.loads(kept.read_text())
    found["prior"] = {**found["prior"], **changes}
    file = kept.with_name("changed.json")
    file.write_text(json.dumps(found))
    return file


def test_a_file_that_is_no_prior_is_refused(kept: Path, tmp_path: Path, capsys: Any) -> None:
    """Breaks when a value of another type, or none, ends in a traceback or in an answer."""
    bounds = json.loads(kept.read_text())["prior"]["bounds"]
    cases = (
        ({"mean_p": "0.5"}, "prior.mean_p is '0.5', not a number"),
        (
            {"model": {"name": "m", "fingerprint": "f", "kind": "base"}},
            "prior.model lacks 'parameters'",
        ),
        ({"bounds": {**bounds, "mean_p": [0.1]}}, "prior.bounds.mean_p has 1 entries, not 2"),
        ({"bounds": {"mean_p": [0.1, 0.2]}}, "prior.bounds lacks 'conflict_share'"),
        ({"intervals": {"mean_p": [0.1, 0.2]}}, "prior.intervals lacks 'share_below'"),
    )
    for changes, why in cases:
        said = refusal(capsys, "--prior", changed(kept, **changes), "--temperature", 1)
        assert f"not a prior ({why}" in said and "advisor recommend MODEL DATASET -o FILE" in said
    text = tmp_path / "text.json"
    for content in ("no JSON", "[1]", '{"mean_p": NaN}', "\udc00"):
        text.write_text(content, encoding="utf-8", errors="surrogatepass")
        assert "not a prior" in refusal(capsys, "--prior", text, "--temperature", 1)
    assert "no such file" in refusal(capsys, "--prior", tmp_path / "none", "--temperature", 1)


def test_the_prior_of_another_pair_is_refused(
    kept: Path, model_folder: Path, data: Path, capsys: Any
) -> None:
    """Breaks when the answer for one model or dataset is given for another."""
    words = ("--prior", kept, "--temperature", 1)
    assert f"model {model_folder}, not of ladder:weak" in refusal(
        capsys, "ladder:weak", data, *words
    )
    other = data.with_name("other.jsonl")
    other.write_text(data.read_text() + json.dumps(ROWS[0]) + "\n")
    assert "other.jsonl" in refusal(capsys, model_folder, other, *words)
    other.write_text(data.read_text())  # the same rows under another name
    answer_of(capsys, model_folder, other, *words)
    longer = refusal(capsys, model_folder, data, *words, "--max_length", 3)
    assert "--max_length 64, not 3" in longer
    data.write_text(other.read_text() + json.dumps(ROWS[0]) + "\n")
    assert "it has changed" in refusal(capsys, model_folder, data, *words)


def test_the_prior_of_another_chat_template_or_tokenizer_is_refused(
    model_folder: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    """Breaks where a file of the same name says something else by now."""
    model, template, file = tmp_path / "model", tmp_path / "a.jinja", tmp_path / "kept.json"
    shutil.copytree(model_folder, model)
    text = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    template.write_text(text)
    given = ("--chat_template", template)
    answer_of(capsys, model, data, *given, "--temperature", 1, "-o", file)
    words = (model, data, "--prior", file, "--temperature", 1)
    answer_of(capsys, *words)
    template.write_text(text + " ")
    for more in ((), given):
        assert "as it was then, and it has changed" in refusal(capsys, *words, *more)
    template.write_text(text)
    (model / "chat_template.jinja").write_text(text)
    assert "with another tokenizer or chat template" in refusal(capsys, *words)
    found = json.loads(file.read_text())
    del found["prior"]["model"]["tokenizer_fingerprint"]  # as earlier versions wrote it
    file.write_text(json.dumps(found))
    answer_of(capsys, *words)


def test_a_pair_on_the_hub_is_known_by_its_names(kept: Path) -> None:
    """Breaks when what does not lie here counts as another, or as the same whatever its name."""
    found = json.loads(kept.read_text())
    kept.write_text(json.dumps({**found, "model": "org/model", "dataset": "org/data"}))
    prior = read_prior(str(kept))
    same = ("org/model", "org/data")
    refuse_another(prior, names=same, places=same, data=DataOptions())
    refuse_another(prior, names=same, places=same, data=DataOptions(weight_field="none"))
    with pytest.raises(InputError, match="with --weight_field none, not quality"):
        weighed = DataOptions(weight_field="quality")
        refuse_another(prior, names=same, places=same, data=weighed)
    other = ("org/model", "org/others")
    with pytest.raises(InputError, match="dataset org/data, not of org/others"):
        refuse_another(prior, names=other, places=other, data=DataOptions())


def test_what_would_measure_again_is_refused(kept: Path, capsys: Any) -> None:
    """Breaks when a flag is silently without effect."""
    words = ("--prior", kept)
    assert "give --temperature" in refusal(capsys, *words)
    assert "leave out --limit" in refusal(capsys, *words, "--temperature", 1, "--limit", 5)
    assert "--depth deep" in refusal(capsys, *words, "--temperature", 1, "--depth", "deep")
    assert "MODEL is missing" in refusal(capsys, "--temperature", 1)
    assert "leave out --split" in refusal(capsys, *words, "--temperature", 1, "--split", "train")


def test_a_prior_of_other_columns_is_refused_and_its_own_flags_stay(
    model_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    """Breaks where the prior of one column answers for another, or `next` loses how rows are read."""
    rows = [{"a": f"{i} x", "b": f"{i}", "c": f"y {i}"} for i in range(12)]
    data, file = tmp_path / "rows.jsonl", tmp_path / "kept.json"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = ("--prompt_field", "a", "--completion_field", "b", "--eos_token", "none")
    answer_of(capsys, model_folder, data, *fields, "--temperature", 1, "-o", file)
    words = (model_folder, data, "--prior", file, "--temperature", 1)
    for given in ((), fields[:2], fields):
        assert all(word in answer_of(capsys, *words, *given)["next"].split() for word in fields)
    assert "--completion_field b, not c" in refusal(capsys, *words, "--completion_field", "c")
    assert "without --drop_bad_rows" in refusal(capsys, *words, "--drop_bad_rows")
