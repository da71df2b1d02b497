"""Published comparisons of objectives, `results/published.csv`: a line a model, dataset and benchmark.

Columns: model, parameters, kind (base, instruct, unknown), dataset, benchmarks, mean_p and temperature
(empty where the paper does not say), the scores of the untouched model and of each objective, source. Scores
are the paper's, in percent. Several lines of one paper may be scores of the same trained models on other
benchmarks: the first of them stands for the comparison where comparisons are counted or drawn.
"""

from __future__ import annotations

import csv
from pathlib import Path

SAME_MODELS = ("model", "dataset", "source")
"""Columns in which scores of the same trained models agree."""


def read_published(path: Path) -> list[dict[str, str]]:
    """The first line of each comparison, columns to text.

    Raises:
        OSError: unreadable.
        ValueError: not text.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first: dict[object, dict[str, str]] = {}
    for number, row in enumerate(rows):
        same = tuple(row.get(name) for name in SAME_MODELS)
        first.setdefault(same if all(same) else number, row)
    return list(first.values())
