"""The decision page is short, and each figure stands in the table that it names, which the records make."""

import csv
import re

import pytest

from tests.helpers.documentation import DOCS
from tests.helpers.paths import ROOT

PAGE = (DOCS / "choosing.md").read_text(encoding="utf-8")
WINNER, PLANS, STAGED, RACE = "what-predicts-the-winner.md", "plans.md", "staged.md", "race.md"


@pytest.mark.parametrize(
    ("page", "row", "said", "cells"),
    [
        (PLANS, "**p_anneal high, cadft low, nll high below 95** (`--plan three`) | 2.81", "1.9 2.5",
         "1.9 2.5"),
        (PLANS, "**the same, and nll low and neg_p low** (`--plan six`) | 5.23 | 1.0", "0.8", "0.8"),
        (PLANS, "**p_anneal, high** (`--plan one`) | 1 | 9.4", "9.4", "9.4"),
        (PLANS, "nll, high | 1 | 17.2", "17.2 9.0", "17.2 9.0"),
        (PLANS, "`nll` | 1.4", "7.9 10.1", "7.9 10.1"),
        (PLANS, "`cadft(1)` | 4.8", "4.8 7.1", "4.8 7.1"),
        (RACE, "the race, a point worth 1 runs", "2.2", "2.2"),
        (WINNER, "T = 1 | new or graded skill | 47", "26.7", "-26.7"),
        (WINNER, "greedy | new or graded skill | 47", "48.6", "-48.6"),
        (WINNER, "T = 1 | random noise | 35", "20.2 17.6", "+20.2 +17.6"),
        (WINNER, "greedy | random noise | 35", "0.8", "-0.8"),
        (WINNER, "T = 1 | clean | 14", "+2.3", "+2.3"),
        (WINNER, "greedy | clean | 14", "-3.8", "-3.8"),
        (WINNER, "T = 1 | all | 132", "+1.0", "+1.0"),
        (WINNER, "greedy | all | 132", "-14.8", "-14.8"),
        (WINNER, "T = 1 | 59 |", "+24.1 +17.4", "+24.1 +17.4"),
        (WINNER, "greedy | 21 |", "+22.6 +4.8", "+22.6 +4.8"),
        (WINNER, "systematic error | 0.6 | 4", "43.3", "+43.3"),
        (WINNER, "instruct | 7 | 4", "4 of 7", "7"),
        (STAGED, "`nll` | 0.001 | 85.2", "97.5", "97.5"),
        (STAGED, "`nll, lr/10` | 0.0001 | 0.0", "0.0", "0.0"),
        (STAGED, "`neg_p` | 0.0003 | 0.0", "0.0", "0.0"),
        (STAGED, "`cadft(1)` | 0.0003 | 0.0", "0.0", "0.0"),
    ],
)  # fmt: skip
def test_a_figure_stands_in_the_table(page: str, row: str, said: str, cells: str) -> None:
    """What the page says, and the cells of the row in which it says that it found them."""
    for figure in [said] if " of " in said else said.split():
        assert figure in PAGE
    rows = (DOCS / page).read_text(encoding="utf-8").splitlines()
    [found] = [line for line in rows if line.startswith(f"| {row}")]
    shown = [cell.split()[0] for cell in found.strip("|").split("|") if cell.strip()]
    assert set(cells.split()) <= set(shown)


def test_cells_where_greedy_nll_is_as_good() -> None:
    rows = (DOCS / WINNER).read_text(encoding="utf-8").splitlines()
    [found] = [line for line in rows if line.startswith("| all | 59 |")]
    assert found.split("|")[5].strip() == "43" and "of the 59 cells" in PAGE and "on 43" in PAGE


@pytest.mark.parametrize(
    ("model", "benchmarks", "figures"),
    [
        ("Qwen2.5-7B", "exact match", "35.2 0.0"),
        ("LLaMA-3.2-3B", "Jaro-Winkler", "41.9 2.4"),
        ("Qwen2.5-32B-Instruct", "math average", "66.5 55.3"),
        ("GLM4-9B-0414", "math average", "40.1 36.4"),
    ],
)
def test_a_published_figure_stands_in_the_published_file(
    model: str, benchmarks: str, figures: str
) -> None:
    with (ROOT / "results" / "published.csv").open(encoding="utf-8") as file:
        rows = [
            r for r in csv.DictReader(file) if (r["model"], r["benchmarks"]) == (model, benchmarks)
        ]
    [row] = rows
    known = {f"{float(row[name]):.1f}" for name in ("base", "nll", "neg_p") if row[name]}
    assert set(figures.split()) <= known
    assert all(figure in PAGE for figure in (model, *figures.split()))


def test_the_page_and_the_glossary_are_short() -> None:
    assert len(PAGE.splitlines()) <= 120
    assert PAGE.count("> [!WARNING]") >= 5
    glossary = (DOCS / "glossary.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\| ", glossary, flags=re.M)) - 2 <= 20
