"""Tables of scores: one reading of csv, JSON lines and parquet, and refusals that name the row."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from advisor.errors import InputError
from harness.cli.main import main
from harness.compare.score_files import read_scores
from tests.helpers.score_rows import right, rows, write_rows

TABLE = [
    {**row, "learning_rate": rate, "temperature": 0.5, "seed": 1, "task": "t", "part": "test"}
    for arm, rate in (("nll", 1e-5), ("dft", None))
    for row in rows(arm, right(0.5, 20))
]


def test_every_kind_of_file_says_the_same(tmp_path: Path) -> None:
    """Breaks where a kind reads numbers, empty cells or the names of documents in another way."""
    frame = pd.DataFrame(TABLE)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps(TABLE))
    write_rows(tmp_path / "a.jsonl", TABLE)
    found = [
        read_scores([path]) for path in sorted(tmp_path.iterdir()) if path.name.startswith("a.")
    ]
    assert len(found) == 6 and all(one == found[0] for one in found)
    (first, second), notes = found[0]
    assert notes == [] and (first.arm.learning_rate, second.arm.learning_rate) == (1e-5, None)
    assert (second.arm.objective, second.arm.decoding) == ("neg_p", 0.5)
    score = first.measured.score
    assert (score.task, score.part, score.unit, first.measured.seed) == ("t", "test", "share", 1)
    assert score.per_document == tuple(right(0.5, 20)) and score.documents[3] == "d3"


def test_rows_of_one_document_are_repeated_answers(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "s.jsonl", rows("nll", [1, 0, 0]), rows("nll", [1, 1, 0])[::-1])
    [only], notes = read_scores([path])
    assert only.measured.score.per_document == (1.0, 0.5, 0.0)
    assert notes == ["Several scores of one document are repeated answers: their mean counts."]


@pytest.mark.parametrize(
    ("column", "says"),
    [("lr", "call it learning_rate"), ("Split", "call it part"), ("checkpoint", "part of the arm's name")],
)  # fmt: skip
def test_scores_that_another_column_tells_apart_are_no_repeated_answers(
    tmp_path: Path, column: str, says: str
) -> None:
    """Breaks where two checkpoints are averaged because the column that names them has another name."""
    lines = [f"arm,{column},document,score", "nll,a,1,0", "nll,b,1,1", "base,a,1,0"]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"column '{column}' is not read.*{says}"):
        read_scores([path])
    path.write_text("\n".join(line.replace(",b,", ",a,") for line in lines))
    assert len(read_scores([path])[0]) == 2  # it tells nothing apart: answers were repeated


def test_without_documents_rows_are_paired_in_their_order(tmp_path: Path) -> None:
    bare = [{"arm": row["arm"], "score": row["score"]} for row in TABLE]
    _, notes = read_scores([write_rows(tmp_path / "s.jsonl", bare)])
    assert "same documents in the same order" in notes[0]
    with pytest.raises(InputError, match="runs have 19 and 20 rows, which without a column"):
        read_scores([write_rows(tmp_path / "s.jsonl", bare[1:])])


def test_scores_that_are_no_shares_keep_their_unit_and_may_be_losses(
    tmp_path: Path, capsys: Any
) -> None:
    losses = [rows("nll", [2.0, 3.5, 2.5, 9.0]), rows("neg_p", [4.0, 5.5, 4.5, 12.0])]
    path = str(write_rows(tmp_path / "s.jsonl", *losses))
    assert main(["decide", path, "--json"]) == 0
    more = json.loads(capsys.readouterr().out)
    assert main(["decide", path, "--json", "--higher_is_better", "false"]) == 0
    less = json.loads(capsys.readouterr().out)
    assert (more["best"], less["best"], more["unit"]) == ("neg_p", "nll", "score")
    assert less["chosen_on"]["arms"][0]["score"] == 4.25
    assert less["chosen_on"]["differences"][0]["difference"] == pytest.approx(-2.25)


CSV = "arm,score,part,document\nnll,1,test,a\n"
REFUSED = {
    "no rows": ("s.csv", "arm,score\n", "has no rows"),
    "no score": ("s.csv", "arm,value\nnll,1\n", "has no column 'score'"),
    "a mistyped column": ("s.csv", "arm,score,temprature\nnll,1,0\n", "did you mean temperature"),
    "a word for a score": ("s.csv", f"{CSV}nll,good,test,b\n", r"row 2: score is 'good', not a fin"),
    "an endless score": ("s.csv", f"{CSV}nll,inf,test,b\n", r"row 2: score is 'inf', not a finite"),
    "an empty score": ("s.csv", f"{CSV}nll,,test,b\n", "row 2: has no score"),
    "an empty arm": ("s.csv", f"{CSV},1,test,b\n", "row 2: arm is '', not a name"),
    "another part": ("s.csv", f"{CSV}nll,1,dev,b\n", "row 2: part is 'dev': expected development or"),
    "a part for some": ("s.csv", f"{CSV}nll,1,,b\n", "row 2: has no part, as other rows do"),
    "a document for some": ("s.csv", f"{CSV}nll,1,test,\n", "row 2: has no document, as other rows"),
    "half a seed": ("s.csv", "arm,score,seed\nnll,1,0.5\n", "row 1: seed is 0.5, not a whole number"),
    "a list for a score": ("s.jsonl", '{"arm": "nll", "score": [1]}\n', r"row 1: score is \[1\], not"),
    "broken JSON": ("s.jsonl", '{"arm": "nll", "score": 1}\n{"arm"\n', "broken JSON on line 2"),
    "no parquet": ("s.parquet", "PAR", "cannot be read as parquet"),
    "another kind": ("s.txt", "arm score", "unknown file type .txt"),
    "a packed log": ("s.eval", "PK", "inspect log convert --to json"),
    "a record": ("s.json", '{"spec": {}, "scores": [], "environment": {}}', "records of runs made here"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, capsys: Any, case: str) -> None:
    name, text, says = REFUSED[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_scores([tmp_path / name])
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert main(["decide", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.startswith("advisor: error: ")


def test_a_score_whose_square_is_no_float_is_refused(tmp_path: Path) -> None:
    """Breaks where a standard error overflows, as a traceback or as `inf`."""
    path = tmp_path / "scores.csv"
    path.write_text("arm,document,score\nnll,1,1e308\nbase,1,0\n")
    with pytest.raises(InputError, match=r"score is '1e308': scores are 1e\+100 at most"):
        read_scores([path])


def test_paths_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text(CSV)
    with pytest.raises(InputError, match=r"no such file or folder; did you mean .*scores.csv"):
        read_scores([tmp_path / "score.csv"])
    with pytest.raises(InputError, match="give tables by their names"):
        read_scores([tmp_path])


def test_what_chooses_among_scores_of_logs_is_not_for_tables(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "s.jsonl", TABLE)
    with pytest.raises(InputError, match="--filter: chooses among the scores of logs"):
        read_scores([path], filter="strict")


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "s.jsonl", rows("nll", [1, 0], answer="x", lr=1e-5))
    assert read_scores([path])[1] == [f"{path}: not read: answer, lr"]
