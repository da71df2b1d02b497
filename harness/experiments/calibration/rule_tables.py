"""Tables of the calibration study about rules on cells they have not seen, as rows of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from advisor.advice.calibration import Calibration, Cell, shipped
from harness.experiments.calibration.cell_tables import Table
from harness.experiments.calibration.study import SHIPPED_RULE

DECODED = {"sampled": "T = 1", "greedy": "greedy"}
RACE = "a race at an eighth of the cost"
FIXED = ("always nll", "always -p")
ACCURACY = {"sampled": 0.9, "greedy": 0.8}
"""Balanced accuracy that was aimed at."""
UNDECIDED = 0.25
"""Share of undecided cells that was aimed at."""
KINDS = ("instruct", "base", "unknown")
HELD_OUT, FRESH = "held-out", "fresh"

Marks = Mapping[str, Any]


def rule_tables(results: Path) -> dict[str, Table]:
    """Every table about rules, and about published cells, by name; `results` has `calibration/`."""
    marks = {name: _marks(results, name) for name in (HELD_OUT, FRESH)}
    calibration = shipped()
    published = [cell for cell in calibration.cells if cell.domain == "published"]
    return {
        **{f"{name}-{how}": _rules(of[how]) for name, of in marks.items() for how in DECODED},
        **{f"{name}-cells": _sizes(of) for name, of in marks.items()},
        "goals": _goals(marks[HELD_OUT]),
        "published": _forecasts(calibration, [cell for cell in published if cell.features]),
        "kinship": _kinship(calibration),
        "published-without-p": _lost([cell for cell in published if not cell.features]),
    }


def _marks(results: Path, name: str) -> Marks:
    text = (results / "calibration" / f"{name}.json").read_text(encoding="utf-8")
    found: Marks = json.loads(text)
    return found


def _spread(found: Mapping[str, float], digits: int) -> str:
    """A mark with its interval."""
    estimate, low, high = (f"{found[name]:.{digits}f}" for name in ("estimate", "low", "high"))
    return f"{estimate} [{low}, {high}]"


def _rules(found: Marks) -> Table:
    head = ("rule", "balanced accuracy", "side of the best arm", "regret, points", "undecided")
    return head, [(name, *_cells(mark)) for name, mark in found["rules"].items()]


def _cells(mark: Marks) -> tuple[str, ...]:
    digits = {"balanced_accuracy": 2, "top1": 2, "regret": 1}
    return (*(_spread(mark[name], n) for name, n in digits.items()), f"{mark['undecided']:.0%}")


def _sizes(marks: Marks) -> Table:
    """What the rules were judged on."""
    rows = []
    for how, name in DECODED.items():
        found = marks[how]
        lost, won = next(iter(found["rules"].values()))["pairs"]
        sizes = (found["cells"], found["skills"], found["pretraining_runs"], won, lost)
        rows.append((name, *map(str, sizes)))
    head = ("decoding", "cells", "skills", "pretraining runs", "decisive wins over NLL", "losses")
    return (head, rows)


def _goals(marks: Marks) -> Table:
    """Which goals the shipped fit reaches with the deep probe; they were set before the study."""
    rows = []
    for how, name in DECODED.items():
        rules = marks[how]["rules"]
        mark = rules[SHIPPED_RULE]
        fixed = min(rules[rule]["regret"]["estimate"] for rule in FIXED)
        bound = fixed / 2 if how == "sampled" else fixed
        accuracy, regret, goal = (
            mark["balanced_accuracy"],
            mark["regret"]["estimate"],
            ACCURACY[how],
        )
        sure = accuracy["estimate"] >= goal and accuracy["low"] > 0.5
        rows += [
            (name, "balanced accuracy", f"{goal:.2f}", f"{accuracy['estimate']:.2f}", _word(sure)),
            (name, "regret, points", f"{bound:.1f}", f"{regret:.1f}", _word(regret <= bound)),
            (name, "undecided", f"{UNDECIDED:.0%}", f"{mark['undecided']:.0%}",
             _word(mark["undecided"] <= UNDECIDED)),
        ]  # fmt: skip
    return (("decoding", "measure", "aimed at", "reached", ""), rows)


def _word(yes: bool) -> str:
    return "reached" if yes else "missed"


def _forecasts(calibration: Calibration, cells: list[Cell]) -> Table:
    """What mean p alone says of published cells; the ladder's cells are all that it learns from."""
    own = [cell for cell in calibration.cells if cell.domain == "ladder"]
    ladder = replace(calibration, cells=own)
    rows = []
    for cell in cells:
        said = ladder.forecast(cell)
        low, high = said.intervals["neg_p"]
        forecast = f"{said.gains['neg_p']:+.0f} [{low:+.0f}, {high:+.0f}]"
        name = f"{cell.name}, {DECODED[cell.decoding]}"
        doubt = "" if said.decided else " ?"
        rows.append((name, f"{cell.mean_p:.2f}", f"{cell.gains['neg_p']:+.1f}", forecast + doubt))
    return (("cell", "mean p", "-p over NLL", "forecast"), rows)


def _kinship(calibration: Calibration) -> Table:
    """How far one cell corrects another's forecast."""
    found = calibration.kinship
    rows = (
        ("the same skill, another model", f"{found.dataset:.2f}"),
        ("another skill, about the same mean p", f"{found.other:.2f}"),
    )
    return (("what the fit misses on two cells of", "correlation"), rows)


def _lost(cells: list[Cell]) -> Table:
    """Published comparisons of which no mean p is known."""
    rows = []
    for kind in KINDS:
        losses = [cell.gains["neg_p"] < 0 for cell in cells if cell.kind == kind]
        rows.append((kind, str(len(losses)), str(sum(losses))))
    rows.append(("all", str(len(cells)), str(sum(cell.gains["neg_p"] < 0 for cell in cells))))
    return (("model", "comparisons", "-p or DFT lost from NLL"), rows)
