"""From the ledger and the published cells to the calibration that `advisor recommend` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from advisor.advice.calibration import Calibration, Cell, Decoding, Kinship, decoding
from advisor.advice.features import features
from advisor.advice.forecast import NLL, Level, root
from advisor.errors import InputError
from harness.experiments.calibration.fit import Sample, kinship_of, levels_of, order_of
from harness.experiments.calibration.ledger import CellLine
from harness.records.published import read_published

PUBLISHED_ARMS = {"neg_p": "neg_p", "threshold": "threshold(0.2)"}
"""Column of the table of published results -> label of the arm."""
PUBLISHED_ERROR = 2.0
"""Standard error, points, that a published difference is taken to have; none is published."""


def ladder_cells(
    samples: Sequence[Sample],
    measured: Mapping[str, CellLine],
    how: Decoding,
    words: Mapping[str, str],
) -> list[Cell]:
    """The fitted cells, for showing the nearest; `words` says what each is."""
    return [
        Cell(
            name=words[sample.cell],
            domain="ladder",
            decoding=how,
            parameters=measured[sample.cell].prior["model"]["parameters"],
            features={"mean_p": sample.features["mean_p"]},
            gains={arm: round(gain, 2) for arm, gain in sample.gains.items()},
            error=round(float(np.mean(list(sample.errors.values()))), 2),
            model=measured[sample.cell].fingerprints["model"],
            dataset=measured[sample.cell].fingerprints["demonstrations"],
        )
        for sample in samples
    ]


def published_cells(path: Path) -> list[Cell]:
    """The cells of a table of published results; an empty mean p or temperature was not published.

    Scores of the same trained models on another benchmark are no second cell.

    Raises:
        InputError: unreadable, or a column is missing or holds no number.
    """
    try:
        return [_published(row) for row in read_published(path)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a table of published results ({error}): mend or move it"
        ) from None


def _published(row: Mapping[str, str]) -> Cell:
    heat, mean_p = row["temperature"], row["mean_p"]
    return Cell(
        name=f"{row['model'] or 'a model without name'}, {row['dataset']}",
        domain="published",
        decoding=decoding(float(heat)) if heat else "unknown",
        parameters=float(row["parameters"] or 0),
        features=features({"mean_p": float(mean_p)}) if mean_p else {},
        gains={
            arm: round(float(row[column]) - float(row[NLL]), 2)
            for column, arm in PUBLISHED_ARMS.items()
            if row[column]
        },
        error=PUBLISHED_ERROR,
        kind=row["kind"],
        model=row["model"],
        dataset=row["dataset"],
        source=row["source"],
    )


def spread_of(cells: Sequence[Cell], levels: Mapping[Decoding, Sequence[Level]]) -> float:
    """Standard deviation of the roots of gains about the line on mean p, beyond what the line allows for."""
    excess = []
    for cell in (cell for cell in cells if cell.features):
        line = levels[cell.decoding][-1]
        mean, variance = line.expect(cell.features)
        for i, arm in enumerate(line.lines):
            if arm in cell.gains:
                excess.append((root(cell.gains[arm]) - mean[i]) ** 2 - variance[i])
    return float(np.sqrt(max(0.0, np.mean(excess)))) if excess else 0.0


def calibrate(
    samples: Mapping[Decoding, Sequence[Sample]],
    measured: Mapping[str, CellLine],
    published: Sequence[Cell],
    *,
    records: str,
    words: Mapping[str, str],
) -> Calibration:
    """Fit every level and put the cells beside them.

    Args:
        samples: to fit, by how answers are had.
        measured: what was measured on each cell before training.
        published: cells of published results.
        records: hash of what was read.
        words: name of a fitted cell -> what it is.
    """
    levels = {how: levels_of(some) for how, some in samples.items()}
    fitted = {sample.cell for some in samples.values() for sample in some}
    sizes = [measured[name].prior["model"]["parameters"] for name in fitted]
    return Calibration(
        records=records,
        sizes=(float(min(sizes)), float(max(sizes))),
        spread=spread_of(published, levels),
        kinship=mean_kinship([kinship_of(samples[how], levels[how][0]) for how in samples]),
        order={how: order_of(some) for how, some in samples.items()},
        levels=levels,
        cells=[
            *(
                cell
                for how, some in samples.items()
                for cell in ladder_cells(some, measured, how, words)
            ),
            *published,
        ],
    )


def mean_kinship(found: Sequence[Kinship]) -> Kinship:
    """Of several measurements."""
    return Kinship(
        dataset=float(np.mean([one.dataset for one in found])),
        other=float(np.mean([one.other for one in found])),
    )


def records_of(folder: Path) -> str:
    """SHA-256 of everything that is read: the grid, its ledger, the published cells beside the folder."""
    whole = hashlib.sha256()
    for path in (folder / "grid.csv", *sorted(folder.glob("*.jsonl")), published_in(folder)):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def published_in(folder: Path) -> Path:
    """The table of published results that goes with a folder of the study."""
    return folder.parent / "published.csv"
