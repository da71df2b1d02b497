"""A team's own confirmed runs as cells of a calibration, so that the next recommendation knows them."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from advisor.calibration import Calibration, Cell, decoding
from advisor.errors import InputError
from advisor.features import features
from harness.records import Run, read_run
from harness.studies import Evidence, evidence_of
from harness.study import BASE, NLL, Arm, Study
from harness.verdict import settle


@dataclass(frozen=True, kw_only=True)
class Own:
    """What a folder of records adds."""

    cells: tuple[Cell, ...]
    """One a study that is settled."""
    left_out: tuple[str, ...]
    """Why other studies add nothing, a sentence each."""


def own_cells(folders: Sequence[Path]) -> Own:
    """The settled studies under folders that `advisor confirm` has written, each once.

    Raises:
        InputError: no study adds a cell, or a record is broken.
    """
    cells: dict[str, Cell] = {}
    left_out = []
    for folder in folders:
        for evidence in evidence_of(_runs(folder)):
            if reason := _obstacle(evidence):
                left_out.append(f"{folder}, {evidence.study.dataset}: left out, {reason}.")
            else:
                cell = _cell(evidence)
                cells[cell.source] = cell
    if not cells:
        why = left_out[0] if left_out else f"{folders[0]}: no records of runs."
        raise InputError(f"{why} Run `advisor confirm MODEL DATASET --results RESULTS` first")
    return Own(cells=tuple(cells.values()), left_out=tuple(left_out))


def extended(calibration: Calibration, cells: Sequence[Cell]) -> Calibration:
    """A calibration with more cells; one of the same study is replaced."""
    new = {cell.source for cell in cells}
    return replace(
        calibration, cells=[*(c for c in calibration.cells if c.source not in new), *cells]
    )


def _runs(folder: Path) -> list[Run]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: give what `advisor confirm` wrote (--results)")
    return [read_run(path) for path in sorted(folder.rglob("runs/*.json"))]


def _obstacle(evidence: Evidence) -> str | None:
    prior = evidence.prior
    if "mean_p" not in prior or "parameters" not in prior.get("model", {}):
        return "its records hold no prior"
    if not [name for name in evidence.study.objectives if name != NLL]:
        return "nothing but nll has run"
    return evidence.obstacle()


def _cell(evidence: Evidence) -> Cell:
    study, prior = evidence.study, evidence.prior
    rows = [
        row
        for row in settle(study, evidence.runs).rows
        if row.baseline == NLL and row.arm in study.objectives
    ]
    return Cell(
        name=f"{study.model}, {study.dataset}",
        domain="user",
        decoding=decoding(study.temperature),
        parameters=float(prior["model"]["parameters"]),
        features=features(prior),
        gains={row.arm: row.difference.estimate for row in rows},
        error=statistics.fmean(row.difference.standard_error for row in rows),
        kind=prior["model"].get("kind", "unknown"),
        model=study.model_fingerprint,
        dataset=study.dataset_fingerprint,
        source=_identity(study),
    )


def _identity(study: Study) -> str:
    """What tells a study from others, wherever its records lie."""
    named: list[object] = [
        study.spec(Arm(objective=BASE), study.seeds[0]).id,
        sorted(study.training.items()),
    ]
    if study.teachers:
        named.append(json.dumps(study.teachers, sort_keys=True))
    return "study " + hashlib.sha256(json.dumps(named).encode()).hexdigest()[:12]
