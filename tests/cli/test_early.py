"""What is refused before torch and its libraries are imported, and that only what the command refuses is."""

import fcntl
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor.data.dataset import load_dataset
from advisor.data.first_look import look
from advisor.errors import InputError
from advisor.options import DataOptions
from harness.cli.early import check_shell
from harness.train import trl_fields
from tests.helpers.paths import ROOT
from tests.helpers.tiny import tiny_tokenizer

HEAVY = ("torch", "transformers", "datasets", "trl")
RUN = f"""
import sys
from harness.cli.main import main
code = main(sys.argv[1:])
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
raise SystemExit(code)
"""
Write = Callable[[str, str | bytes], Path]
ROW = '{"prompt": "a b ", "completion": "c d e"}\n'
CASES: dict[str, tuple[list[str], str]] = {
    # name: words with MODEL and DATA for the pair, what the refusal says
    "a mistyped flag": (["recommend", "MODEL", "DATA", "--temprature", "1"], "--temperature"),
    "a flag of TRL": (["train", "MODEL", "DATA", "--lerning_rate", "1"], "did you mean --learning_rate"),
    "a flag of distillation": (
        ["distill", "MODEL", "DATA", "--teacher", "T", "--max_completion_lenght", "1"],
        "did you mean --max_completion_length",
    ),
    "a flag that the study decides": (["confirm", "MODEL", "DATA", "--seed", "1"], "with --seeds"),
    "a flag that the advisor decides": (
        ["train", "MODEL", "DATA", "--loss_type", "dft"], "chosen with --objective"
    ),
    "a folder that is no model": (["recommend", "FOLDER", "DATA"], "no config.json"),
    "a model that is not there": (["validate", "MODEL/typo", "DATA"], "no such folder"),
    "a dataset that is not there": (["recommend", "MODEL", "DATA.jsonl"], "no file or folder"),
    "a dataset of another kind": (["recommend", "MODEL", "TEXT"], "unknown file type .txt"),
    "a column that is not there": (
        ["train", "MODEL", "DATA", "--prompt_field", "promt", "--completion_field", "completion"],
        "no column 'promt' (--prompt_field); did you mean prompt?",
    ),
    "columns of no known format": (["recommend", "MODEL", "ODD"], "--completion_field COLUMN"),
    "columns of a table": (["recommend", "MODEL", "TABLE"], "no known format has the columns foo, bar"),
    "an unknown objective": (["train", "MODEL", "DATA", "--objective", "nlll"], "did you mean nll"),
    "an unknown parameter": (["train", "MODEL", "DATA", "--objective", "dft(3)"], "takes 0 parameters"),
    "an unknown arm": (["confirm", "MODEL", "DATA", "--objectives", "nlll"], "did you mean nll"),
    "a budget that is no time": (["confirm", "MODEL", "DATA", "--budget", "soon"], "expected a time"),
    "a scorer that is not there": (
        ["confirm", "MODEL", "DATA", "--scorer", "nowhere:score"], "no module nowhere"
    ),
    "a record that cannot be written": (
        ["recommend", "MODEL", "DATA", "-o", "/proc/nowhere/x"], "--output_path"
    ),
    "a folder that cannot be written": (
        ["train", "MODEL", "DATA", "--output_dir", "TEXT"], "is not a folder: give another folder"
    ),
    "results that cannot be written": (
        ["confirm", "MODEL", "DATA", "--results", "/proc/nowhere"], "/proc/nowhere"
    ),
    "a dataset that cannot be written": (
        ["rewrite", "MODEL", "DATA", "--output_path", "DATA"], "is DATASET itself"
    ),
    "a template that is not there": (
        ["recommend", "MODEL", "DATA", "--chat_template", "none.jinja"], "cannot read the chat template"
    ),
    "a hint that is not there": (
        ["rewrite", "MODEL", "DATA", "-o", "OUT.jsonl", "--hint", "none.txt"], "--hint none.txt"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_needs_no_heavy_import(
    case: str, model_folder: Path, write: Write, tmp_path: Path
) -> None:
    words, says = CASES[case]
    (tmp_path / "folder").mkdir()
    places = {
        "MODEL": str(model_folder),
        "FOLDER": str(tmp_path / "folder"),
        "DATA": str(write("data.jsonl", ROW * 3)),
        "ODD": str(write("odd.json", '[{"foo": "a", "bar": "b"}]')),
        "TABLE": str(write("table.csv", "foo,bar\na,b\n")),
        "TEXT": str(write("data.txt", "a b c")),
        "OUT.jsonl": str(tmp_path / "out.jsonl"),
    }
    argv = [places.get(word, word) for word in words]
    argv = [word.replace("MODEL/", f"{model_folder}/") for word in argv]
    argv = [word.replace("DATA.jsonl", str(tmp_path / "dat.jsonl")) for word in argv]
    needed = {"train": ["--output_dir"], "distill": ["--output_dir"]}.get(words[0], [])
    argv += [word for flag in needed if flag not in argv for word in (flag, str(tmp_path / "o"))]
    done = subprocess.run([sys.executable, "-c", RUN, *argv], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("advisor: error: ") and says in line


TRAIN = "train MODEL rows.jsonl --output_dir out --objective"
CONFIRM = "confirm MODEL rows.jsonl --results results --objectives"


def by_the_shell(line: str, model: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """`advisor` as a shell starts it in a folder with rows.jsonl."""
    (folder / "rows.jsonl").write_text(ROW * 3)
    words = (
        f"{shlex.quote(sys.executable)} -m advisor {line.replace('MODEL', shlex.quote(str(model)))}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        words, shell=True, cwd=folder, capture_output=True, text=True, env=environment
    )


@pytest.mark.parametrize(
    ("line", "file"),
    [
        (f"{TRAIN} nll>neg_p", "neg_p"),
        (f"{TRAIN}=nll>-p", "-p"),
        (f"{TRAIN} nll >DFT", "DFT"),
        (f"{TRAIN} nll>cadft>neg_p", "neg_p"),
        (f"{TRAIN} nll>'neg_p(at=0.5)'", "neg_p(at=0.5)"),
        (f"{CONFIRM} nll cadft>neg_p", "neg_p"),
        (f"{CONFIRM} nll>cadft@own", "cadft@own"),
    ],
)
def test_a_redirection_that_was_meant_as_stages_is_refused(
    line: str, file: str, model_folder: Path, tmp_path: Path
) -> None:
    """The shell made the file; NLL alone would be trained, and the answer lie in it."""
    done = by_the_shell(line, model_folder, tmp_path)
    [said] = done.stderr.strip().splitlines()
    assert done.returncode == 2 and done.stdout == ""
    assert said.startswith(f"advisor: error: the output goes into a file {file}: ")
    assert f"'nll>{file}'" in said
    assert (tmp_path / file).read_text() == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        f"{TRAIN} 'nll>neg_p'",
        f"{TRAIN} 'nll>neg_p' > neg_p.log",
        f"{TRAIN} nll > sft.txt",
        f"{TRAIN} nll > out.txt",
        f"{TRAIN} dft > logs/dft",
        f"{TRAIN} nll > /dev/null",
        f"{TRAIN} nll | cat",
        f"{CONFIRM} nll 'nll>neg_p' > nll_and_staged",
    ],
)
def test_other_redirections_are_let_pass(line: str, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    done = by_the_shell(line.replace("rows", "typo"), model_folder, tmp_path)
    assert "typo.jsonl" in done.stderr and "redirection" not in done.stderr


def test_where_the_system_names_files_in_another_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """macOS has F_GETPATH in place of /proc, other systems neither."""
    monkeypatch.chdir(tmp_path)
    path = os.fsencode(tmp_path.resolve() / "neg_p")
    monkeypatch.setattr(os, "fstat", lambda fd: Path(__file__).stat())
    monkeypatch.setattr(Path, "readlink", lambda path: (tmp_path / "nowhere").read_bytes())
    monkeypatch.setattr(fcntl, "F_GETPATH", 50, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, what, room: path.ljust(len(room), b"\0"))
    with pytest.raises(InputError, match="'nll>neg_p'"):
        check_shell()
    monkeypatch.delattr(fcntl, "F_GETPATH")
    check_shell()


def test_the_nearest_flag_is_one_of_the_command(capsys: Any) -> None:
    from harness.cli.main import main

    assert main(["rewrite", "M", "D", "-o", "o.jsonl", "--limit", "8"]) == 2
    line = capsys.readouterr().err
    assert "unknown argument --limit 8" in line and "did you mean --limit" not in line
    assert main(["train", "M", "D", "--output_dir", "o", "--objektive", "dft"]) == 2
    assert "did you mean --objective" in capsys.readouterr().err


FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "lines": (ROW * 3, {}),
    "an array": (json.dumps([json.loads(ROW)] * 3), {}),
    "a column that only a later row has": (
        ROW + '{"prompt": "a", "question": "b", "completion": "c"}\n',
        {"prompt_field": "question", "completion_field": "completion", "drop_bad_rows": True},
    ),
    "a first row of another layout": (
        '{"foo": 1, "prompt": null, "completion": null}\n' + ROW, {"drop_bad_rows": True}
    ),
    "columns": ('{"prompt": ["a ", "b "], "completion": ["c", "d"]}', {}),
    "rows under a key": ('{"data": [' + ROW.strip() + "]}", {}),
    "two splits": (f'{{"train": [{ROW}], "test": [{ROW}]}}', {"split": "test"}),
    "texts": ('["a b c", "d e f"]', {}),
    "token ids and a template that is not there": (
        '{"input_ids": [3, 4, 5], "labels": [-100, 4, 5]}\n', {"chat_template": "none.jinja"}
    ),
    "blank lines before": ("\n\n" + ROW * 2, {}),
    "one row over many lines": (json.dumps(json.loads(ROW), indent=2), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_nothing_is_refused_that_the_reader_accepts(case: str, write: Write) -> None:
    content, more = FILES[case]
    path = write("data.json" if content[0] in "[" else "data.jsonl", content)
    options = DataOptions(**more)
    assert len(load_dataset(str(path), tiny_tokenizer(), **options.keywords()))
    look(str(path), options)


@pytest.mark.parametrize("case", ["misspelt", "unknown", "broken", "empty"])
def test_a_refusal_is_in_the_readers_words(case: str, write: Write) -> None:
    content = {"misspelt": ROW, "unknown": '{"foo": "a"}\n', "broken": "{\n", "empty": ""}[case]
    path = str(write("data.jsonl", content))
    fields = {"prompt_field": "promt", "completion_field": "completion"}
    options = DataOptions(**fields if case == "misspelt" else {})
    with pytest.raises(InputError) as early:
        look(path, options)
    with pytest.raises(InputError) as late:
        load_dataset(path, tiny_tokenizer(), **options.keywords())
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize("config", [trl_fields.SFT, trl_fields.DISTILLATION])
def test_the_sources_of_trl_name_the_fields_that_it_has(config: str) -> None:
    import dataclasses

    import trl.trainer.distillation_config
    import trl.trainer.model_config
    import trl.trainer.sft_config

    modules = {
        trl_fields.SFT: trl.trainer.sft_config,
        trl_fields.DISTILLATION: trl.trainer.distillation_config,
    }
    kinds = (getattr(modules[config], config), trl.trainer.model_config.ModelConfig)
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert names <= trl_fields.known_names(config)


def test_without_trls_sources_the_later_check_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trl_fields, "find_spec", lambda name: None)
    trl_fields.known_names.cache_clear()
    try:
        trl_fields.check_names(["--no_such_setting", "1"], trl_fields.SFT)
        with pytest.raises(InputError, match="chosen with --objective"):
            trl_fields.check_names(["--loss_type", "dft"], trl_fields.SFT)
    finally:
        trl_fields.known_names.cache_clear()
