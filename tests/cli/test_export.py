"""`advisor export`: prints or writes, refuses in one line, and imports no torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.cli.main import main
from tests.helpers.paths import ROOT


def test_it_prints_the_files_and_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "dft", "--to", "trl", "--learning-rate", "1e-5"]) == 0
    out, err = capsys.readouterr()
    first, *rest = out.splitlines()
    assert first == "# ---- sft.yaml" and rest[-1] == "run: trl sft --config sft.yaml"
    assert yaml.safe_load("\n".join(rest[:-1]))["learning_rate"] == 1e-5
    assert all(line.startswith("- ") for line in err.splitlines())


def test_it_writes_them_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "p_pow(0.5)", "--to", "ms-swift", "-o", str(tmp_path / "run")]
    assert main(words) == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "objective_plugin.py",
        "sft.yaml",
    ]
    assert main(words) == 2
    assert "is there already: give another folder" in capsys.readouterr().err


def test_a_path_that_is_there_is_written_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files are run in their own folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    assert (
        main(
            [
                "export",
                "dft",
                "--to",
                "trl",
                "--dataset",
                "rows.jsonl",
                "--model",
                "org/name",
                "-o",
                "run",
            ]
        )
        == 0
    )
    written = yaml.safe_load((tmp_path / "run" / "sft.yaml").read_text())
    assert written["datasets"][0]["data_files"] == str(tmp_path / "rows.jsonl")
    assert written["model_name_or_path"] == "org/name"


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "dft", "--to", "verl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"objective", "to", "how", "files", "run", "notes"}
    assert (found["objective"], found["how"], set(found["files"])) == (
        "neg_p",
        "code",
        {"sft.sh", "train.py"},
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["dft"], "--to"),
        (["dft", "--to", "torchtune"], "invalid choice"),
        (["cadft", "--to", "verl"], "nearest that verl takes is dft"),
        (["dtf", "--to", "trl"], "neg_p|dft"),
        (["dft", "--to", "axolotl"], "give --learning_rate"),
        (["dft", "--to", "trl", "-o", "/proc/none"], "give another folder"),
    ],
)
def test_a_refusal_is_one_line(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert any(part in line for part in why.split("|"))


def test_it_imports_no_torch() -> None:
    code = (
        "import sys; from harness.cli.main import main; main(['export', 'dft', '--to', 'liger']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'trl')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
