"""What a score is: its direction, unit and name, in new records and in those from before they said them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.records.metrics import document_value, in_unit, one_each, split_name, unit_of
from harness.records.runs import Results, Score, read_run
from tests.helpers.records import SCORE, make


def score_of_old(path: Path, **content: Any) -> Score:
    """The score of a record as schema 1 wrote it: no direction, the filter in the metric's name."""
    content = {"task": "a", "temperature": 0.0, "part": "test", "documents": 0, **content}
    run = json.loads(Results(path).write(make()).read_text())
    run["documents"] = [content.pop("ids", ["x", "y"])]
    run["scores"] = [content]
    (path / "old.json").write_text(json.dumps(run))
    return read_run(path / "old.json").scores[0]


def test_what_a_score_is_survives_its_record(tmp_path: Path) -> None:
    score = replace(
        SCORE, metric="ter", filter="strict", higher_is_better=False, unit="ter",
        values=((30.0,), (120.0,)),
    )  # fmt: skip
    assert read_run(Results(tmp_path).write(make(scores=(score,)))).scores == (score,)
    assert (score.mean, score.oriented, score.name) == (75.0, (-30.0, -120.0), "ter,strict")
    assert (SCORE.oriented, SCORE.name) == (SCORE.per_document, "exact_match")


def test_a_filter_in_the_metric_of_an_old_record_is_taken_apart(tmp_path: Path) -> None:
    old = score_of_old(tmp_path, metric="exact_match,flexible-extract", values=[1, 0])
    assert (old.metric, old.filter, old.unit) == ("exact_match", "flexible-extract", "share")
    assert old.higher_is_better and old.values == ((1,), (0,))
    assert score_of_old(tmp_path, metric="acc_norm,none", values=[1, 0]).filter is None
    rouge = score_of_old(tmp_path, metric="rouge1,none", values=[41.5, 38])
    assert (rouge.unit, rouge.mean) == ("rouge1", 39.75)


def test_likelihoods_of_old_records_get_their_unit_and_direction(tmp_path: Path) -> None:
    """They were nats per byte, negative, under the name of bits per byte: ln 2 nats are one bit."""
    old = score_of_old(tmp_path, metric="bits_per_byte,none", values=[-math.log(2), -math.log(8)])
    assert [x for (x,) in old.values] == pytest.approx([1.0, 3.0])
    assert (old.higher_is_better, old.unit) == (False, "bits per byte")


def test_copies_of_a_document_in_an_old_record_are_one(tmp_path: Path) -> None:
    old = score_of_old(
        tmp_path, metric="acc,none", ids=["x", "y", "x#2"], values=[1, 0, 1, 1, 0, 0]
    )
    assert old.documents == ("x", "y")
    assert old.values == ((0.5, 0.0), (1.0, 1.0))


def test_a_share_lies_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="no share"):
        replace(SCORE, documents=("x",), values=((1.5,),))
    assert replace(SCORE, documents=("x",), values=((1.5,),), unit="f").mean == 1.5


@pytest.mark.parametrize(
    ("metric", "logged", "value"),
    [
        ("exact_match", True, 1.0),
        ("ter", 87.5, 87.5),
        ("word_perplexity", [-12.0, 4], 3.0),
        ("byte_perplexity", (-12.0, 24), 0.5),
        ("bits_per_byte", [-math.log(2) * 6, 3], 2.0),
        ("perplexity", -2.5, 2.5),
        ("perplexity", math.e**3, 3.0),
        ("word_perplexity", 1.0, 0.0),
        ("bits_per_byte", 0.75, 0.75),
        ("word_perplexity", [-12.0, 0], None),
        ("bleu", ["a b", "a c"], None),
        ("f1", [1, 0], None),
        ("brier_score", [1, [0.5, 0.5]], None),
        ("exact_match", "1.0", None),
        ("exact_match", None, None),
    ],
)
def test_a_documents_value(metric: str, logged: Any, value: float | None) -> None:
    found = document_value(metric, logged)
    assert found == (value if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("metric", "higher", "values", "unit"),
    [
        ("acc", True, [0.0, 1.0], "share"),
        ("f1", True, [0.25, 1.0], "share"),
        ("rougeL", True, [25.0, 0.5], "rougeL"),
        ("refusals", False, [0.0, 1.0], "share"),
        ("mae", False, [0.25, 0.5], "mae"),
        ("bits_per_byte", False, [0.25, 0.5], "bits per byte"),
    ],
)
def test_only_shares_are_shown_in_points(
    metric: str, higher: bool, values: list[float], unit: str
) -> None:
    assert unit_of(metric, higher, values) == unit


def test_names_of_lm_evals_results_are_taken_apart() -> None:
    assert split_name("exact_match,strict-match") == ("exact_match", "strict-match")
    assert split_name("acc,none") == ("acc", None)
    assert split_name("acc") == ("acc", None)


def test_a_document_that_stands_three_times_counts_once() -> None:
    documents, values = one_each("abaa", [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
    assert documents == ("a", "b")
    assert values == ((pytest.approx(2 / 3), 0.0), (0.0, 1.0))


@pytest.mark.parametrize(
    ("value", "unit", "plain", "signed"),
    [
        (-2.34, "points", "-2.3", "-2.3"),
        (0.04512, "bits per byte", "0.04512", "+0.0451"),
        (-0.00031, "nats", "-0.00031", "-0.00031"),
        (123456.7, "characters", "123,457", "+123,457"),
    ],
)
def test_digits_are_those_that_a_unit_needs(
    value: float, unit: str, plain: str, signed: str
) -> None:
    """Breaks where a difference in bits per byte is shown as -0.0 with an interval of -0.0 to -0.0."""
    assert (in_unit(value, unit), in_unit(value, unit, sign=True)) == (plain, signed)
