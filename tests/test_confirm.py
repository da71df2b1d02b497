"""`advisor confirm` end to end on the ladder, in miniature: records, resuming, refusals."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from advisor.cli import main
from harness.command import seconds_of
from harness.problem import find_pattern, split_rows
from harness.records import Results

QUICK = [
    *("ladder:strong", "--objectives", "neg_p", "--learning_rates", "1e-3", "--seeds", "1"),
    *("--max_steps", "2", "--limit", "6", "--temperature", "0"),
]


def confirmed(capsys: Any, *flags: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["confirm", *QUICK, "--json", *flags]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_a_miniature_confirmation(capsys: Any, tmp_path: Path) -> None:
    answer = confirmed(capsys, "--results", str(tmp_path))
    assert answer["complete"] and answer["tasks"] == ["ladder_chain"]
    arms = {(row["arm"], row["baseline"]) for row in answer["rows"]}
    others = {"neg_p", "nll, lr/10"}
    assert arms == {(a, "nll") for a in others} | {(a, "base") for a in (*others, "nll")}
    assert {row["verdict"] for row in answer["rows"]} <= {
        "better",
        "worse",
        "equivalent",
        "not resolved",
    }
    runs = Results(tmp_path).runs()
    assert {run.spec.objective for run in runs} == {"base", "nll", "neg_p"}
    trained = next(run for run in runs if run.spec.objective == "neg_p")
    assert trained.prior and trained.tokens and trained.domain == "ladder"
    test = [score for score in trained.scores if score.part == "test"]
    development = [score for score in trained.scores if score.part == "development"]
    assert {s.temperature for s in test} == {0.0, 1.0} and len(test[0].documents) == 6
    assert not set(test[0].documents) & set(development[0].documents)

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    again = confirmed(capsys, "--results", str(tmp_path))
    assert again == answer
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before


def test_killed_it_goes_on_where_it_stopped(capsys: Any, tmp_path: Path) -> None:
    words = ["confirm", *QUICK, "--json", "--results", str(tmp_path / "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kept: dict[Path, int] = {}
    for enough in (1, 2, 3):
        process = subprocess.Popen(
            [sys.executable, "-m", "advisor.cli", *words], env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while (
            len(list((tmp_path / "killed" / "runs").glob("*.json"))) < enough
            and process.poll() is None
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path, stamp in kept.items():
            assert path.stat().st_mtime_ns == stamp, "a finished run ran again"
        kept = {
            path: path.stat().st_mtime_ns for path in (tmp_path / "killed" / "runs").glob("*.json")
        }
        Results(tmp_path / "killed").runs()  # none is broken
    whole = confirmed(capsys, "--results", str(tmp_path / "whole"))
    assert confirmed(capsys, "--results", str(tmp_path / "killed"))["rows"] == whole["rows"]


def test_a_users_own_data_become_a_task(
    capsys: Any, model_folder: Path, write: Any, tmp_path: Path
) -> None:
    prompts = itertools.islice(itertools.product("abcdef", repeat=4), 200)
    rows = [
        {"prompt": " ".join(p) + " ", "completion": "cdefgh"[i % 6]} for i, p in enumerate(prompts)
    ]
    data = write("d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--learning_rates", "1e-3", "--seeds", "1", "--objectives", "nll", "--max_steps", "1"]
    words = ["confirm", str(model_folder), str(data), *flags, "--results", str(tmp_path), "--json"]
    capsys.readouterr()
    assert main([*words, "--temperature", "0"]) == 2
    assert "--answer_regex" in capsys.readouterr().err
    assert main([*words, "--temperature", "0", "--answer_regex", "([c-h])"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["tasks"] == ["held_out"] and not answer["fine_tune"]
    run = next(run for run in Results(tmp_path).runs() if run.spec.objective == "nll")
    assert {"nll", "mean_p"} <= set(run.held_out)


def test_held_out_rows_are_fixed_and_kept_back() -> None:
    train, held_out = split_rows(1000)
    assert not set(train) & set(held_out) and len(train) + len(held_out) == 1000
    assert (train, held_out) == split_rows(1000) and len(held_out) == 200
    assert len(split_rows(10_000)[1]) == 400


def test_known_answers_are_found() -> None:
    assert find_pattern(["so\n#### 12", "#### -3"]).startswith("####")
    assert "boxed" in find_pattern([r"thus \boxed{7}"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("90", 90), ("1.5m", 90)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--budget", "soon"], "expected a time"),
        (["--objectives", "nlll"], "did you mean nll"),
        (["--tasks", "no_such_task"], "no_such_task"),
        (["--learning_rate", "1e-3"], "--learning_rates"),
        (["--results", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_refusals_are_one_line(capsys: Any, tmp_path: Path, flags: list[str], says: str) -> None:
    capsys.readouterr()
    code = main(["confirm", *QUICK, "--results", str(tmp_path), *flags])
    errors = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("advisor: error")
    ]
    assert code == 2 and len(errors) == 1 and says in errors[0], errors
