"""A team's own confirmed runs as cells of a calibration, so that the next recommendation knows them."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from advisor.advice.calibration import Calibration, Cell, decoding
from advisor.advice.features import features
from advisor.errors import InputError
from harness.records.arm import DEMONSTRATIONS, NLL
from harness.records.runs import Run, read_run
from harness.records.schemas import first_id
from harness.study.contrasts import Row
from harness.study.from_records import Evidence, evidence_of
from harness.study.study import Study
from harness.study.verdict import Verdict, settle

SEED_SD = 7.0
"""Standard deviation over seeds of a paired difference, points: 5 for each arm."""
VAGUE = 10.0
"""Points of standard error from which on a study decides nothing."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """What a folder of records adds."""

    cells: tuple[Cell, ...]
    """One a study that is settled."""
    left_out: tuple[str, ...]
    """Why other studies add nothing, or less than they could, a sentence each."""


def own_cells(folders: Sequence[Path]) -> Own:
    """The settled studies under folders that `advisor confirm` has written, each once.

    Raises:
        InputError: no study adds a cell, or a record is broken.
    """
    runs = {run.spec.id: run for folder in folders for run in _runs(folder, "runs")}
    failed = [run for folder in folders for run in _runs(folder, "failed")]
    cells: dict[str, Cell] = {}
    left_out = []
    for evidence in evidence_of(list(runs.values()), failed):
        found, name = _cell(evidence), evidence.study.dataset
        if isinstance(found, str):
            left_out.append(f"{evidence.study.model}, {name}: left out, {found}.")
            continue
        cells[found.source] = found
        if incomplete := evidence.incomplete():
            left_out.append(f"{evidence.study.model}, {name}: {incomplete}; taken as it is.")
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


def _runs(folder: Path, kind: str) -> list[Run]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: give what `advisor confirm` wrote (--results)")
    return [read_run(path) for path in sorted(folder.rglob(f"{kind}/*.json"))]


def _cell(evidence: Evidence) -> Cell | str:
    """What a study adds; where it adds nothing, why, as the end of a sentence."""
    study, prior = evidence.study, evidence.prior
    if "mean_p" not in prior or "parameters" not in prior.get("model", {}):
        return "its records hold no prior"
    if not [name for name in study.objectives if name != NLL]:
        return "nothing but nll has run"
    if (reason := evidence.obstacle()) is not None:
        return reason
    verdict = settle(study, evidence.runs)
    rows = _gains(verdict)
    if (reason := _vague(verdict, rows)) is not None:
        return reason
    return Cell(
        name=f"{study.model}, {study.dataset}",
        domain="user",
        decoding=decoding(study.temperature),
        parameters=float(prior["model"]["parameters"]),
        features=features(prior),
        gains={row.arm.method: row.gain for row in rows},
        error=_error(rows),
        kind=prior["model"].get("kind", "unknown"),
        model=study.model_fingerprint,
        dataset=study.dataset_fingerprint,
        source=_identity(study),
    )


def _gains(verdict: Verdict) -> list[Row]:
    """What each objective gained over NLL on the demonstrations as they are."""
    return [
        row
        for row in verdict.against(NLL)
        if not row.arm.control and row.arm.targets == DEMONSTRATIONS
    ]


def _vague(verdict: Verdict, rows: Sequence[Row]) -> str | None:
    """Why gains say nothing, as the end of a sentence; None where they do."""
    if verdict.undecided is not None:
        return "its task cannot tell the arms apart: all of them score at the floor or the ceiling"
    if not rows:
        return "no objective but nll has finished its learning-rate grid on the demonstrations"
    if rows[0].unit != "points":
        return f"its scores are in {rows[0].unit}, and gains are forecast in points"
    if (error := _error(rows)) > VAGUE:
        return (
            f"its gains have a standard error of {error:.0f} points: score more documents or seeds"
        )
    return None


def _error(rows: Sequence[Row]) -> float:
    """Standard error of a gain over documents and seeds, points; one seed cannot show the seeds' part."""
    return statistics.fmean(
        math.hypot(row.difference.standard_error, SEED_SD if row.difference.seeds == 1 else 0.0)
        for row in rows
    )


def _identity(study: Study) -> str:
    """What tells a study from others, wherever its records lie."""
    named: list[object] = [
        first_id(study.base()),
        sorted(study.training.items()),
    ]
    return "study " + hashlib.sha256(json.dumps(named).encode()).hexdigest()[:12]
