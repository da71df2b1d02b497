"""The records of the study as one tidy table: a row a run, part, temperature and point of its schedule.

    python -m harness.experiments.real table        # writes results/real/runs.parquet
    pandas.read_parquet("results/real/runs.parquet")

`docs/real-models.md` says what each column is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.experiments.calibration.ledger import RunLine, read, unpack
from harness.experiments.real.real_plan import CELLS

COLUMNS = (
    "cell", "skill", "demonstrations", "share_spoilt", "rows", "mean_p", "objective", "learning_rate", "seed",
    "part", "temperature", "trained", "documents", "right", "points", "kl", "text_nll", "seconds",
)  # fmt: skip


def frame(folder: Path) -> Any:
    """A pandas DataFrame of `COLUMNS`.

    Args:
        folder: with the ledgers.
    """
    import pandas as pd

    return pd.DataFrame(list(_rows(folder)), columns=list(COLUMNS))


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    measured, runs = read(folder)
    cells = {cell.name: cell for cell in CELLS}
    for run in runs:
        cell = cells[run.cell]
        about = {
            "cell": run.cell, "skill": cell.skill, "demonstrations": cell.kind, "share_spoilt": cell.rate,
            "rows": cell.rows, "mean_p": measured[run.cell].prior["mean_p"], "objective": run.objective,
            "learning_rate": run.learning_rate, "seed": run.seed, "seconds": run.seconds,
            "kl": run.forgetting.get("kl"), "text_nll": run.forgetting.get("text_nll"),
        }  # fmt: skip
        for trained, place, answers in _scored(run):
            right = unpack(answers)
            part, _, heat = place.partition("@")
            yield {
                **about, "part": part, "temperature": float(heat), "trained": trained,
                "documents": len(right), "right": int(right.sum()), "points": 100 * float(right.mean()),
            }  # fmt: skip


def _scored(run: RunLine) -> Iterator[tuple[float, str, str]]:
    """Share of the schedule that lay behind, part with temperature, and the answers."""
    for share, answers in run.curve.items():
        yield from ((float(share), place, found) for place, found in answers.items())
    yield from ((run.share, place, found) for place, found in run.answers.items())
