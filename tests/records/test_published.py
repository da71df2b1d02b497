"""The table of published comparisons: whole, losses and wins alike, each comparison counted once."""

import csv
from pathlib import Path

import pytest

from harness.experiments.calibration.ship import published_cells
from harness.records.published import read_published
from tests.helpers.paths import ROOT

TABLE = ROOT / "results" / "published.csv"


def gain(model: str, dataset: str, benchmarks: str, source: str) -> float:
    """-p or DFT over NLL of one line."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        (row,) = [
            row
            for row in csv.DictReader(file)
            if (row["model"], row["dataset"], row["benchmarks"]) == (model, dataset, benchmarks)
            and row["source"].startswith(source)
        ]
    return float(row["neg_p"]) - float(row["nll"])


@pytest.mark.parametrize(
    ("model", "dataset", "benchmarks", "source", "points"),
    [
        # Beyond Log Likelihood, Tables 3, 7 and 10
        ("Qwen2.5-7B", "figlet 40k", "Jaro-Winkler", "arXiv:2510.00526", 10.15 - 82.48),
        ("Qwen2.5-14B", "OpenBookQA, noisy labels", "accuracy", "arXiv:2510.00526", 91.6 - 27.0),
        ("Qwen2.5-7B", "OpenBookQA, noisy labels", "accuracy", "arXiv:2510.00526", 85.0 - 27.2),
        ("Qwen2.5-14B", "OpenBookQA", "accuracy", "arXiv:2510.00526", 93.4 - 95.0),
        # -p won 41.0 and 57.5 % of the comparisons with NLL, which won the others
        ("Qwen2.5-3B", "Magpie-Pro and EvolInstruct 140k",
         "AlpacaEval 2 against each other, length-controlled", "arXiv:2510.00526", 41.0 - 59.0),
        ("Qwen2.5-14B", "Magpie-Pro and EvolInstruct 140k",
         "AlpacaEval 2 against each other, length-controlled", "arXiv:2510.00526", 57.5 - 42.5),
        # DFT, Tables 1, 3, 8 and 9 and Sec. 4.5
        ("Qwen2.5-Math-7B", "NuminaMath-CoT 100k", "math x5", "arXiv:2508.05629", 37.15 - 23.62),
        ("Qwen2.5-Coder-7B", "UltraFeedback 10k", "HumanEval", "arXiv:2508.05629", 67.7 - 54.9),
        ("Qwen2.5-Math-1.5B", "OpenR1-Math, 3 epochs", "math x5", "arXiv:2508.05629", 38.19 - 29.16),
        ("LLaMA-3.2-3B", "NuminaMath-CoT 100k, LoRA", "math x5", "arXiv:2508.05629", 4.63 - 2.56),
        ("", "Natural Questions", "Natural Questions", "arXiv:2508.05629", 30.14 - 36.62),
        # EAFT, Table 1: what was forgotten beside what was learnt; ASFT
        ("Qwen3-4B-Instruct", "math 19k", "general average", "arXiv:2601.02151", 78.1 - 76.5),
        ("LLaMA-2-7B", "medicine", "average", "arXiv:2509.23753", 25.97 - 30.96),
    ],
)  # fmt: skip
def test_losses_and_wins_of_the_papers_are_there(
    model: str, dataset: str, benchmarks: str, source: str, points: float
) -> None:
    assert gain(model, dataset, benchmarks, source) == pytest.approx(points)


def test_every_line_has_its_numbers_and_its_source() -> None:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({tuple(row.values()) for row in rows})
    for row in rows:
        assert row["source"].startswith("arXiv:") and None not in row
        assert row["kind"] in ("base", "instruct", "unknown")
        assert all(0 <= float(row[arm]) <= 100 for arm in ("nll", "neg_p"))


def test_a_second_benchmark_of_the_same_models_is_no_second_comparison() -> None:
    figlet = [row for row in read_published(TABLE) if row["dataset"] == "figlet 40k"]
    assert [row["benchmarks"] for row in figlet] == ["exact match"] * 4
    cells = [cell for cell in published_cells(TABLE) if cell.mean_p is not None]
    assert (
        len(cells) == 12
    )  # Tables 1 to 3 of Beyond Log Likelihood: mean p is published nowhere else


def test_lines_that_do_not_say_what_was_trained_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_text("mean_p,nll,neg_p\n0.5,1,2\n0.5,1,2\n")
    assert len(read_published(path)) == 2
