"""Rows of tables of scores, as a user's own evaluation writes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def right(share: float, n: int = 200, seed: int = 0) -> list[float]:
    """0/1 scores of documents that differ in difficulty, with about that share of ones."""
    difficulty = np.random.default_rng(99).random(n)
    noisy = 0.7 * difficulty + 0.3 * np.random.default_rng(seed).random(n)
    return [float(x) for x in noisy < np.quantile(noisy, share)]


def rows(arm: str, values: Sequence[float], **more: Any) -> list[dict[str, Any]]:
    """A row for each document of an arm."""
    return [{"arm": arm, **more, "document": f"d{i}", "score": x} for i, x in enumerate(values)]


def write_rows(path: Path, *arms: list[dict[str, Any]]) -> Path:
    """A table as JSON lines, of the rows of several arms."""
    path.write_text("".join(f"{json.dumps(row)}\n" for arm in arms for row in arm))
    return path
