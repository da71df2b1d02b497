"""What the ledger says: samples for the fit, and the marks of rules on cells that were held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from advisor.advice.calibration import Calibration, Decoding, decoding
from advisor.advice.features import DEEP, features
from harness.experiments.calibration.fit import FORWARD, Sample, levels_of, order_of
from harness.experiments.calibration.gains import TENTH, gains
from harness.experiments.calibration.grid import Cell
from harness.experiments.calibration.judge import (
    Judged,
    Maker,
    Marks,
    always,
    chosen,
    cut,
    fitted,
    held_out,
    marks,
    of_levels,
    race,
)
from harness.experiments.calibration.ledger import CellLine, RunLine
from harness.records.arm import BASE, NLL

ARMS_AT_LEAST = 5
"""Arms beside NLL that a cell must have run to count."""
SHIPPED_RULE, SHIPPED_QUICK = "as shipped, with the deep probe", "as shipped, forward passes alone"
"""Names of the rules that the calibration follows."""
RULES: dict[str, Maker] = {
    "always nll": always(NLL),
    "always -p": always("neg_p"),
    "a race at an eighth of the cost": race(),
    "mean p, fitted cut-off": cut("mean_p"),
    "fit: mean p alone": fitted(("mean_p",)),
    "fit: chosen among all statistics": chosen((*FORWARD, *DEEP)),
    SHIPPED_QUICK: lambda samples: of_levels(levels_of(samples)[1:], order_of(samples)),
    SHIPPED_RULE: lambda samples: of_levels(levels_of(samples), order_of(samples)),
}
"""What is compared. Every model of the ladder is a base model, whose tag would say -p always."""


def samples(
    cells: Sequence[Cell],
    measured: Mapping[str, CellLine],
    runs: Iterable[RunLine],
    temperature: float,
) -> list[Sample]:
    """The cells that have run, at one temperature."""
    places, runs = {cell.name: cell for cell in cells}, list(runs)
    races = _races(runs, temperature)
    found: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for gain in gains(runs, temperature):
        if gain.objective not in (NLL, BASE, TENTH):
            found[gain.cell][gain.objective] = gain.gain, gain.error
    return [
        Sample(
            cell=name,
            family=places[name].family,
            skill=places[name].skill,
            text=str(places[name].seed),
            features=features(measured[name].prior, measured[name].deep),
            gains={arm: gain for arm, (gain, _) in arms.items()},
            errors={arm: error for arm, (_, error) in arms.items()},
            race=races.get(name, {}),
        )
        for name, arms in found.items()
        if name in places and name in measured and len(arms) >= ARMS_AT_LEAST
    ]


def both(
    cells: Sequence[Cell], measured: Mapping[str, CellLine], runs: Sequence[RunLine]
) -> dict[Decoding, list[Sample]]:
    """The samples of greedy and of sampled answers."""
    return {decoding(t): samples(cells, measured, runs, t) for t in (0.0, 1.0)}


def _races(runs: Sequence[RunLine], temperature: float) -> dict[str, dict[str, float]]:
    """Cell -> arm -> development accuracy in its race."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for run in runs:
        if run.share < 1:
            right = run.right("development", temperature)
            found[run.cell][run.objective] = float(right.mean())
    return found


def judged_rules(how: Decoding, found: Sequence[Sample]) -> dict[str, Marks]:
    """Every rule's marks on cells of skills and pretraining runs that it had not seen."""
    return {name: marks(held_out(found, make)) for name, make in RULES.items()}


def fresh_rules(
    grid: Mapping[Decoding, Sequence[Sample]], calibration: Calibration
) -> Callable[[Decoding, Sequence[Sample]], dict[str, Marks]]:
    """Every rule, learnt on the grid, and the calibration, on cells that were not there to learn from."""

    def judge(how: Decoding, fresh: Sequence[Sample]) -> dict[str, Marks]:
        levels, order = calibration.levels[how], calibration.order[how]
        frozen = {
            SHIPPED_QUICK: of_levels(levels[1:], order),
            SHIPPED_RULE: of_levels(levels, order),
        }
        rules = {
            name: frozen[name] if name in frozen else make(grid[how])
            for name, make in RULES.items()
        }
        return {
            name: marks([Judged(sample=s, advice=rule(s)) for s in fresh])
            for name, rule in rules.items()
        }

    return judge


def tables(
    samples: Mapping[Decoding, Sequence[Sample]],
    judge: Callable[[Decoding, Sequence[Sample]], dict[str, Marks]],
) -> dict[str, Any]:
    """The marks of every rule by how answers are had, as plain data."""
    return {
        how: {
            "cells": len(some),
            "skills": len({sample.skill for sample in some}),
            "pretraining_runs": len({sample.family for sample in some}),
            "rules": {name: asdict(mark) for name, mark in judge(how, some).items()},
        }
        for how, some in samples.items()
    }
