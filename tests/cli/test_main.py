"""The command line as a user meets it: what works, and one clear line for what does not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from trl.trainer.distillation_config import DistillationConfig

from advisor import __version__
from harness.cli.main import main
from harness.cli.parser import parse
from tests.helpers.settings import read_settings
from tests.helpers.tiny import tiny_model, tiny_tokenizer

ROWS = "".join(json.dumps({"prompt": "a b ", "completion": "c d e"}) + "\n" for _ in range(30))
Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def data(write: Write) -> Path:
    return write("data.jsonl", ROWS)


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line of a refusal; fails unless it is one line, exit code 2 and nothing on stdout."""
    capsys.readouterr()  # what saving a model printed
    code, out, err = run(capsys, *argv)
    assert code == 2 and out == ""
    lines = [line for line in err.splitlines() if line and not line.startswith("- ")]
    assert len(lines) == 1 and lines[0].startswith("advisor: error: "), err
    return lines[0]


@pytest.mark.parametrize(("rank", "said"), [("0", "- hello\n"), ("1", "")])
def test_only_the_first_rank_says_what_was_chosen(rank: str, said: str) -> None:
    code = "from harness.cli import display; display.notes(['hello'])"
    environment = {**os.environ, "RANK": rank}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, said)


def test_help_needs_no_heavy_import() -> None:
    code = "import sys\nfrom harness.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += (
        "assert not {'torch', 'transformers', 'rich', 'numpy'} & set(sys.modules), 'heavy imports'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "recommend" in done.stdout


def test_recommend_prints_the_answer(capsys: Any, model_folder: Path, data: Path) -> None:
    """Breaks where the plan lacks a part, or grows beyond a screen."""
    code, out, err = run(capsys, "recommend", model_folder, data)
    assert code == 0
    for word in (
        "mean p of a target token",
        "run 3",
        "points on average",
        "cheaper",
        "dearer",
        "no scores",
        "all lose",
        "next: advisor confirm",
    ):
        assert word in out
    more = run(capsys, "recommend", model_folder, data, "--details")[1]
    assert "95 % interval" in more and "TRL" in more and "axolotl" in more
    assert "axolotl" not in out
    assert "On cpu" in err and "float32" in err


def test_json_is_one_object_with_the_contract(capsys: Any, model_folder: Path, data: Path) -> None:
    code, out, _ = run(capsys, "recommend", model_folder, data, "--json", "--temperature", "1")
    answer = json.loads(out)
    assert code == 0 and answer["schema"] == 1
    assert answer["model"] == str(model_folder) and answer["dataset"] == str(data)
    assert answer["temperature"] == 1.0 and torch.__version__ == answer["versions"]["torch"]
    assert answer["regime"] in ("model-strong", "model-intermediate", "model-weak")
    assert answer["basis"] in ("ladder", "published") and len(answer["nearest"]) == 3
    gains = {arm["objective"]: arm["predicted_gain"] for arm in answer["ranking"]}
    assert gains["nll"] == 0 and len(gains) >= 5
    assert answer["prior"]["examples"] == 30 and answer["next"].startswith("advisor ")


def test_both_spellings_of_a_flag(capsys: Any, model_folder: Path, data: Path) -> None:
    snake = run(capsys, "recommend", model_folder, data, "--json", "--max_length", "4")[1]
    kebab = run(capsys, "recommend", model_folder, data, "--json", "--max-length=4")[1]
    assert json.loads(snake)["prior"]["mean_p"] == json.loads(kebab)["prior"]["mean_p"]


def test_config_file_is_overridden_by_flags_and_saved(
    capsys: Any, model_folder: Path, data: Path, write: Write, tmp_path: Path
) -> None:
    config = write("c.yaml", "temperature: 0.7\nlimit: 10\njson: true\n")
    record = tmp_path / "out" / "r.json"
    code, out, _ = run(
        capsys, "recommend", model_folder, data, "-C", config, "--limit", "5", "-o", record
    )
    assert code == 0
    assert json.loads(out)["temperature"] == 0.7 and json.loads(out)["prior"]["examples"] == 5
    assert json.loads(record.read_text()) == json.loads(out)
    saved = record.with_suffix(".config.yaml")
    assert yaml.safe_load(saved.read_text())["limit"] == 5
    again = run(capsys, "recommend", model_folder, data, "-C", saved, "--json")[1]
    assert json.loads(again)["prior"]["mean_p"] == json.loads(out)["prior"]["mean_p"]
    assert config.read_text().startswith("temperature: 0.7")  # the user's own file is left alone


def test_validate_marks_the_targets(capsys: Any, model_folder: Path, data: Path) -> None:
    code, out, _ = run(capsys, "validate", model_folder, data)
    assert code == 0 and "«" in out and "prompt" in out
    counts = json.loads(run(capsys, "validate", model_folder, data, "--json")[1])
    assert counts["format"] == "prompt/completion"
    assert (counts["examples"], counts["dropped"], counts["truncated"]) == (30, 0, 0)
    assert counts["target_tokens"] == 30 * 4  # c d e <eos>


def test_hostile_text_is_spelt_out(capsys: Any, model_folder: Path, write: Write) -> None:
    evil = {"prompt": "[red]a[/red] \x1b[2J", "completion": "b"}
    code, out, _ = run(
        capsys, "validate", model_folder, write("evil.jsonl", json.dumps(evil) + "\n")
    )
    assert code == 0 and "\x1b" not in out


def test_ls_and_env_and_version(capsys: Any) -> None:
    shown = run(capsys, "ls", "objectives")[1]
    assert "p_pow(10)" in shown and "p_anneal" in shown
    assert "'nll>neg_p(at=0.5)'" in shown.strip().splitlines()[-1]
    assert json.loads(run(capsys, "env", "--json")[1])["objective-advisor"] in (
        __version__,
        "not installed",
    )
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0 and __version__ in capsys.readouterr().out


def test_a_dataset_of_one_example_and_a_csv_with_bom(
    capsys: Any, model_folder: Path, write: Write
) -> None:
    one = write("one.jsonl", '{"prompt": "a ", "completion": "b"}\n')
    assert run(capsys, "recommend", model_folder, one)[0] == 0
    bom = write("bom.csv", b"\xef\xbb\xbfprompt,completion\na b ,c d\na ,c\n")
    assert json.loads(run(capsys, "validate", model_folder, bom, "--json")[1])["examples"] == 2


NESTED = {"instruction": "a", "instances": [{"input": "a", "output": "b"}]}
BAD_DATA: dict[str, tuple[str | bytes, tuple[str, ...], tuple[str, ...]]] = {
    # name: content, flags, what the refusal must say
    "missing path": (ROWS, (), ("dat.jsonl", "data.jsonl")),
    "misspelt column": (ROWS, ("--prompt_field", "promt"), ("promt", "prompt")),
    "empty file": ("", (), ("data.jsonl", "empty")),
    "broken json": (
        '{"prompt": "a ", "completion": "b"}\n' * 811 + "{broken\n" + ROWS,
        (),
        ("line 812",),
    ),
    "no completions": (ROWS.replace("c d e", ""), (), ("completion", "30")),
    "latin-1": (ROWS.replace("a b", "\xe9").encode("latin-1"), (), ("UTF-8", "iconv")),
    "max_length 1": (ROWS, ("--max_length", "1"), ("--max_length 1",)),
    "unknown columns": (
        '{"foo": "a", "bar": "b"}\n',
        (),
        ("foo", "--prompt_field", "--completion_field"),
    ),
    "nested": (json.dumps(NESTED) + "\n", (), ("instances",)),
}


@pytest.mark.parametrize("case", BAD_DATA)
@pytest.mark.parametrize("command", ["recommend", "validate"])
def test_bad_data_is_one_line(
    capsys: Any, model_folder: Path, write: Write, command: str, case: str
) -> None:
    content, flags, says = BAD_DATA[case]
    path = write("data.jsonl", content)
    if case == "missing path":
        path = path.with_name("dat.jsonl")
    line = refused(capsys, command, model_folder, path, *flags)
    for word in says:
        assert word in line, line


def test_two_splits_and_none_named(capsys: Any, model_folder: Path, tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"prompt": "a ", "completion": "b"}] * 3)
    DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "saved"))
    line = refused(capsys, "recommend", model_folder, tmp_path / "saved")
    assert "train" in line and "test" in line and "--split" in line
    assert run(capsys, "validate", model_folder, tmp_path / "saved", "--split", "test")[0] == 0


def broken_model(case: str, folder: Path) -> Path:
    """A model folder with one thing wrong."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    if case == "NaN weights":
        torch.nn.init.constant_(model.lm_head.weight, float("nan"))
    if case == "vocabulary larger than the head":
        tokenizer.add_tokens(["n", "o"])
    if case == "tokenizer without EOS":
        tokenizer = tiny_tokenizer(pad_token="<pad>")
    if case != "not a model":
        model.save_pretrained(folder)
    if case not in ("no tokenizer", "not a model"):
        tokenizer.save_pretrained(folder)
    if case == "pickled weights":
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


BAD_MODELS = {
    "no tokenizer": ("tokenizer",),
    "tokenizer without EOS": ("--eos_token",),
    "vocabulary larger than the head": ("18", "16"),
    "not a model": ("config.json",),
    "pickled weights": ("pickle", "--allow_pickle"),
    "NaN weights": ("NaN", "lm_head.weight"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models_are_one_line(capsys: Any, data: Path, tmp_path: Path, case: str) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    line = refused(capsys, "recommend", broken_model(case, folder), data)
    for word in BAD_MODELS[case]:
        assert word in line, line


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["recommend"], "MODEL"),
        (["recommend", "M"], "DATASET is missing"),
        (["recomend", "M"], "recommend"),
        (["recommend", "M", "D", "--temprature", "1"], "did you mean --temperature"),
        (["recommend", "M", "D", "--temperature", "hot"], "hot"),
        (["recommend", "M", "D", "--temperature", "-1"], "--temperature"),
        (["recommend", "M", "D", "--limit", "0"], "expected 1 or more"),
        (["recommend", "M", "D", "--limit", "5", "--exact"], "not allowed with"),
        (["recommend", "M", "D", "-C", "absent.yaml"], "absent.yaml"),
        (["recommend", "ladder:strnog"], "strong"),
        (["recommend", "M", "D", "-o", "/proc/nowhere/x"], "--output_path"),
    ],
)
def test_bad_arguments_are_one_line(capsys: Any, argv: list[str], says: str) -> None:
    assert says in refused(capsys, *argv)


def test_a_config_file_runs_no_code(capsys: Any, write: Write, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    config = write("c.yaml", f"seed: !!python/object/apply:os.mkdir ['{ran}']\n")
    assert "c.yaml" in refused(capsys, "recommend", "M", "D", "-C", config)
    assert not ran.exists()


def test_unknown_config_key_names_the_nearest(capsys: Any, write: Write) -> None:
    config = write("c.yaml", "temprature: 1\n")
    assert "did you mean temperature" in refused(capsys, "recommend", "M", "D", "-C", config)


@pytest.mark.parametrize("flags_first", [False, True])
def test_lists_of_a_config_file_do_not_take_model_and_dataset(
    write: Write, flags_first: bool
) -> None:
    config = write(
        "c.yaml",
        "learning_rate: 0.5\nlora_target_modules: [q_proj, v_proj]\nreport_to: [none]\n"
        "teacher: [a=x, b=y]\n",
    )
    flags = ["--config", str(config), "--output_dir", "o", "--learning_rate=0.25"]
    pair = ["M", "D"]
    args = parse(["distill", *flags, *pair] if flags_first else ["distill", *pair, *flags])
    assert (args.model, args.dataset, args.teacher) == ("M", "D", ["a=x", "b=y"])
    settings, adapter = read_settings(
        ["--use_peft", *args.settings], {"output_dir": "o"}, DistillationConfig
    )
    assert settings.report_to == [] and adapter.target_modules == {"q_proj", "v_proj"}
    assert settings.learning_rate == 0.25  # the flag wins
    assert parse(["distill", *pair, *flags, "--teacher", "c=z"]).teacher == ["c=z"]


def test_a_list_of_a_config_file_takes_no_stray_word(capsys: Any, write: Write) -> None:
    config = write("c.yaml", "lora_target_modules: [q_proj]\n")
    line = refused(capsys, "train", "M", "D", "stray", "--output_dir", "o", "-C", config)
    assert "unknown argument stray" in line


@pytest.mark.parametrize("rung", ["strong", "mid", "weak"])
def test_the_ladder_needs_nothing_but_the_installation(capsys: Any, rung: str) -> None:
    regime = {"strong": "model-strong", "mid": "model-intermediate", "weak": "model-weak"}[rung]
    answers = {}
    for temperature in (0, 1):
        code, out, _ = run(
            capsys, "recommend", f"ladder:{rung}", "--json", "--temperature", temperature
        )
        assert code == 0
        answers[temperature] = json.loads(out)
        assert answers[temperature]["regime"] == regime
        assert answers[temperature]["model"] == f"ladder:{rung}"
        runs = answers[temperature]["plan"]["runs"]
        alone = answers[temperature]["plan"]["alone"]["objective"]
        assert answers[temperature]["recommended"] == alone in [run["objective"] for run in runs]
    if rung == "strong":
        assert answers[1]["ranking"][0]["objective"] in ("neg_p", "cadft", "threshold")
    if rung == "weak":
        assert answers[0]["ranking"][0]["objective"] == "nll"
