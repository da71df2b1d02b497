"""The tables of `docs/staged.md`: what every way to choose a run loses, in all, by kind, and by rival."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advisor.errors import InputError
from harness.experiments.calibration import ledger
from harness.experiments.calibration.findings import CLEAN, ERROR, MANNER, NEW, RANDOM
from harness.experiments.calibration.grid import Cell, read_grid
from harness.experiments.calibration.ledger import RunLine
from harness.experiments.staged.plan import HIGH, LOW, NOTES
from harness.experiments.staged.real_tables import real_table
from harness.experiments.staged.regret import (
    FIRST,
    KEY,
    PLANS,
    POINTS,
    Loss,
    RunKey,
    Scored,
    loss,
    scored,
)
from harness.experiments.staged.trace import read as read_traces

Rows = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Head and rows of a table."""
HEATS = {"sampled": 1.0, "greedy": 0.0}
SETS = ("grid", "fresh")
PLACES = {HIGH: "high", LOW: "low"}
KINDS = (CLEAN, RANDOM, ERROR, MANNER, NEW)


def regret_tables(results: Path) -> dict[str, Rows]:
    """Every table of the page that comes from the ledger of the study.

    Args:
        results: folder with `calibration/` (its cells) and `staged/`.

    Raises:
        InputError: no cell has all its runs.
    """
    cells = {name: read_grid(results / "calibration" / f"{name}.csv") for name in SETS}
    _, runs = ledger.read(results / "staged")
    found, first = (
        {
            (name, how): scored(cells[name], runs, wanted, heat)
            for name in SETS
            for how, heat in HEATS.items()
        }
        for wanted in (KEY, FIRST)
    )
    if not found["grid", "sampled"]:
        raise InputError(f"{results / 'staged'}: no cell has all runs: run the study, with `run`")
    every = [cell for name in SETS for cell in cells[name]]
    return {
        "cells": _sizes(found),
        "single": _losses(found, {_name(run): (run,) for run in KEY}),
        "plans": _losses(found, PLANS),
        "kinds": _by_kind(found),
        "first": _losses(first, {_name(run): (run,) for run in FIRST}),
        "rivals": _rivals(every, runs),
        "traces": _traces(results),
        "real": real_table(results),
    }


def _name(run: RunKey) -> str:
    return f"`{run[0]}`, {PLACES[run[1]]}" if "," not in run[0].partition(")")[2] else _noted(run)


def _noted(run: RunKey) -> str:
    objective, _, note = run[0].rpartition(", ")
    return f"`{objective}`, {PLACES[run[1]]}, {note}"


def _sizes(found: dict[tuple[str, str], list[Scored]]) -> Rows:
    head = ("cells", "in all", *KINDS, "pretraining runs", "skills")
    rows = []
    for name in SETS:
        cases = found[name, "sampled"]
        kinds = [str(sum(case.kind == kind for case in cases)) for kind in KINDS]
        families = {case.cell.family for case in cases}
        skills = {case.cell.skill for case in cases}
        rows.append((name, str(len(cases)), *kinds, str(len(families)), str(len(skills))))
    return head, rows


def _losses(
    found: dict[tuple[str, str], list[Scored]], ways: dict[str, tuple[RunKey, ...]]
) -> Rows:
    head = ["kept", "runs"]
    for how in HEATS:
        head += [f"{how}: regret [fresh]", "95 %", "over 5 points", "against all", "worst"]
    rows = []
    for name, runs in ways.items():
        row = [name, str(len(runs))]
        for how in HEATS:
            if not found["grid", how]:
                continue
            grid = loss(found["grid", how], runs)
            fresh = loss(found["fresh", how], runs) if found["fresh", how] else None
            row += _loss(grid, fresh)
        rows.append(row)
    return head, rows


def _loss(grid: Loss, fresh: Loss | None) -> list[str]:
    beside = "" if fresh is None else f" [{fresh.old.estimate:.1f}]"
    return [
        f"{grid.old.estimate:.1f}{beside}",
        f"{grid.old.low:.1f} to {grid.old.high:.1f}",
        f"{grid.often_old:.0%}",
        f"{grid.all.estimate:.1f}",
        f"{grid.worst:.0f}",
    ]


def _by_kind(found: dict[tuple[str, str], list[Scored]]) -> Rows:
    """Mean test score of every run by what the demonstrations are, sampled / greedy, grid and fresh."""
    both = {how: [case for name in SETS for case in found[name, how]] for how in HEATS}
    head = ("run", *(f"{kind} ({_count(both['sampled'], kind)})" for kind in KINDS))
    rows = []
    for run in KEY:
        cells = [
            " / ".join(_mean([c.test[run] for c in both[how] if c.kind == kind]) for how in HEATS)
            for kind in KINDS
        ]
        rows.append((_name(run), *cells))
    return head, rows


def _count(cases: Sequence[Scored], kind: str) -> int:
    return sum(case.kind == kind for case in cases)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.1f}" if values else "."


def _rivals(cells: Sequence[Cell], runs: Sequence[RunLine]) -> Rows:
    """The cells on which rivals ran: test points, sampled / greedy, of every run there."""
    of_rivals = [run for run in runs if _is_rival(run)]
    names = [cell.name for cell in cells if cell.name in {run.cell for run in of_rivals}]
    table = {
        (run.cell, f"`{run.objective}` at {run.learning_rate:g}"): run
        for run in runs
        if run.cell in names and run.learning_rate is not None and run.seed == 0
    }
    rows = [
        (label, *(_points(table.get((name, label))) for name in names))
        for label in sorted({label for _, label in table})
    ]
    return ("run", *(f"`{name}`" for name in names)), rows


def _is_rival(run: RunLine) -> bool:
    return run.objective.startswith("nll>nll") or run.objective.endswith(tuple(list(NOTES)[1:]))


def _points(run: RunLine | None) -> str:
    if run is None:
        return ""
    return " / ".join(f"{POINTS * run.right('test', heat).mean():.1f}" for heat in HEATS.values())


def _traces(results: Path) -> Rows:
    """The p of each kind of token before the training, at the switch and at the end."""
    head = ("cell", "run", "at", "form", "skill", "noise", "right in its place")
    rows = []
    for trace in read_traces(results / "staged" / "traces" / "traces.jsonl"):
        for done in (0.0, 0.5, 1.0):
            point = min(trace.points, key=lambda p: abs(p.done - done))
            found = (point.form, point.skill, point.noise, point.right)
            shares = ("" if p is None else f"{p:.3f}" for p in found)
            first = done == 0.0
            names = (f"`{trace.cell}`" if first else "", f"`{trace.objective}`" if first else "")
            rows.append((*names, f"{done:g}", *shares))
    return head, rows
