"""Logs of inspect_ai in JSON, as its own fixtures have them: one model on one task."""

import json
from pathlib import Path
from typing import Any

import pytest

from advisor.errors import InputError
from harness.cli.main import main
from harness.compare.score_files import read_scores


def write(path: Path, values: list[Any], *, model: str = "hf/out/nll", status: str = "success",
          temperature: float | None = 0.0, created: str = "", scorers: tuple[str, ...] = ("match", "other"),
          first: int = 0, **more: Any) -> Path:  # fmt: skip
    """A log of format 2, less what nobody reads; two epochs where the values are pairs."""
    samples = [
        {"id": i, "epoch": epoch, "input": "?", "target": "7",
         "scores": {name: {"value": one, "answer": "7"} if name == "match" else {"value": {"a": 1}}
                    for name in scorers}}
        for i, value in enumerate(values, first)
        for epoch, one in enumerate(value if isinstance(value, list) else [value], 1)
    ]  # fmt: skip
    content = {
        "version": 2, "status": status,
        "eval": {"task": "sums", "model": model, "model_args": {}, "config": {"epochs": 1},
                 "created": created},
        "plan": {"name": "plan", "steps": [], "config": {"temperature": temperature}},
        "results": {"scores": [{"name": "match"}]}, "samples": samples, **more,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def test_values_are_as_inspect_takes_them(tmp_path: Path) -> None:
    """Breaks where a grade counts as another number, or epochs as documents."""
    grades = ["C", "I", "P", "N", True, 0.25, "yes", "0.5", ["C", "I"]]
    [only], notes = read_scores([write(tmp_path / "log.json", grades)])
    score = only.measured.score
    assert score.per_document == (1.0, 0.0, 0.5, 0.0, 1.0, 0.25, 1.0, 0.5, 0.5)
    assert (only.arm.method, only.arm.decoding, score.metric) == ("nll", 0.0, "match")
    assert notes[0] == "sums: scored by match; also there: other (--metric chooses another)"


def test_one_scorer_counts_for_all_logs_of_a_task(tmp_path: Path) -> None:
    """Breaks where each log is scored by its own first scorer, and arms are compared by different ones."""
    write(tmp_path / "a.json", ["C"] * 4, scorers=("lenient", "match"))
    write(tmp_path / "b.json", ["I"] * 4, model="hf/base")
    scored, notes = read_scores([tmp_path])
    assert {one.measured.score.metric for one in scored} == {"match"}
    assert notes[0] == "sums: scored by match"
    write(tmp_path / "c.json", ["I"] * 4, model="hf/dft", scorers=("lenient",))
    with pytest.raises(InputError, match="no scorer scored all of its logs"):
        read_scores([tmp_path])


def test_of_two_evaluations_the_latest_counts_and_parts_stay_together(tmp_path: Path) -> None:
    """Breaks where an evaluation that was repeated is averaged with the one that it replaces."""
    write(tmp_path / "a.json", ["C"] * 4, created="2026-01-02T00:00:00+00:00")
    write(tmp_path / "b.json", ["I"] * 4, created="2026-01-01T00:00:00+00:00")
    write(tmp_path / "c.json", ["I"] * 2, created="2026-01-01T00:00:00+00:00", first=4)
    [only], notes = read_scores([tmp_path])
    assert only.measured.score.per_document == (1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    assert "sums: nll was evaluated again; the latest counts (a.json, not b.json)" in notes
    write(tmp_path / "d.json", ["I"] * 4, created="2026-01-02T00:00:00+00:00")
    with pytest.raises(InputError, match="which is the later: leave one out"):
        read_scores([tmp_path])


def test_checkpoints_of_one_folder_name_are_told_apart(tmp_path: Path) -> None:
    """Breaks where what is called checkpoint-500 in two folders counts as one arm, answered twice."""
    names = ("vllm/runs/nll/checkpoint-500", "vllm/runs/dft/checkpoint-500", "hf/base")
    for number, model in enumerate(names):
        write(tmp_path / f"{number}.json", ["C"] * (10 + number), model=model)
    scored, _ = read_scores([tmp_path])
    assert [one.arm.method for one in scored] == [*names[:2], "base"]
    (tmp_path / "1.json").unlink()
    assert [one.arm.method for one in read_scores([tmp_path])[0]] == ["checkpoint-500", "base"]


def test_a_folder_of_logs_is_decided_on(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path / "a.json", ["C"] * 30 + ["I"] * 10)
    write(tmp_path / "b.json", ["C"] * 10 + ["I"] * 30, model="hf/base")
    write(tmp_path / "c.json", ["C"] * 20 + ["I"] * 20, temperature=1.0)
    assert main(["decide", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [arm["label"] for arm in answer["chosen_on"]["arms"]] == [
        "nll at temperature 0", "nll at temperature 1", "base at temperature 0",
    ]  # fmt: skip
    assert answer["chosen_on"]["arms"][0]["score"] == 75.0


def test_samples_that_could_not_be_scored_are_left_out_and_counted(tmp_path: Path) -> None:
    [only], notes = read_scores([write(tmp_path / "log.json", ["C", float("nan"), "I"])])
    assert only.measured.score.documents == ("0", "2")
    assert "sums: 1 samples of nll have no match" in notes


@pytest.mark.parametrize(
    ("values", "settings", "metric", "says"),
    [
        (["C"], {"status": "error"}, None, "has not ended"),
        (["C"], {}, "f1", "no sample has a score of f1; there are match, other"),
        (["C"], {}, "other", r"sample 0: its score is \{'a': 1\}, not a finite number"),
        (["C", "maybe"], {}, None, "sample 1: its score is 'maybe', not a finite number"),
        ([], {}, None, "no sample has a score; there are none"),
        (["C"], {"eval": {"task": "t"}}, None, "not a whole log of inspect_ai"),
    ],
)
def test_logs_that_say_too_little_are_refused(
    tmp_path: Path, values: list[Any], settings: Any, metric: str | None, says: str
) -> None:
    path = write(tmp_path / "log.json", values, **settings)
    with pytest.raises(InputError, match=says) as caught:
        read_scores([path], metric=metric)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
