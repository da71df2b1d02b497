"""Everything that the tables and figures of the calibration study show, gathered once from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advisor.errors import InputError
from harness.experiments.calibration.checks import (
    GREEDY,
    SAMPLED,
    DecodingCheck,
    RateCheck,
    by_arm,
    decoding_checks,
    rate_checks,
)
from harness.experiments.calibration.findings import (
    BASE_ACCURACY,
    ERROR,
    LEANING,
    RANDOM,
    Case,
    Predictor,
    Step,
    cases,
    predictors,
    sweep,
)
from harness.experiments.calibration.grid import Cell, read_grid
from harness.experiments.calibration.ledger import RunLine, read

HEATS = {SAMPLED: "T = 1", GREEDY: "greedy"}
"""Temperature to what it is called."""
ARMS = {LEANING: "-p", "cadft(1)": "cadft(1)"}
"""Of the sweeps over noise: label to what it is called."""
NAMES = {
    "mean_p": "mean p",
    "median_p": "median p",
    "geometric_mean_p": "geometric mean p",
    "share_p_below_0.1": "share p < .1",
    "conflict_share": "conflict share",
    "ignorance_share": "ignorance share",
    "conflict_of_tail": "conflict in the tail",
    "top1": "target is the argmax",
    "dispersion": "spread over examples",
    "p_eos": "p of the end",
    "cll": "log p + entropy",
    "log_examples": "demonstrations",
    "recovery": "recovery (deep)",
    "coherence": "coherence (deep)",
    "accuracy": "agreement (deep)",
    "learned": "drop of NLL (deep)",
    BASE_ACCURACY: "base accuracy",
}
"""Statistic -> what it is called here, where that is something else."""
SWEEPS = {RANDOM: "Random noise", ERROR: "Systematic error"}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the tables and figures show; mappings are by temperature."""

    planned: Sequence[Cell]
    """Cells of the grid."""
    runs: Sequence[RunLine]
    """Of the cells that count."""
    cases: Mapping[float, Sequence[Case]]
    """Cells whose arms have all run; never empty."""
    predictors: Mapping[float, Sequence[Predictor]]
    """Each statistic alone."""
    sweeps: Mapping[str, Mapping[float, Sequence[Step]]]
    """Kind of noise -> temperature -> rates."""
    rates: Mapping[float, Sequence[RateCheck]]
    """Whether it is the learning rate."""
    decoding: Sequence[DecodingCheck]
    """Whether it is the decoding."""


def gather(results: Path) -> Evidence:
    """Everything that the tables and figures show.

    Args:
        results: folder with `calibration/`.

    Raises:
        InputError: no cell has run.
    """
    folder = results / "calibration"
    grid = read_grid(folder / "grid.csv")
    measured, runs = read(folder)
    found = {heat: cases(grid, measured, runs, heat) for heat in HEATS}
    if not found[SAMPLED]:
        raise InputError(f"{folder}: no cell with all arms: run the study first, with `run`")
    arms, counted = by_arm(runs), {case.sample.cell for case in found[SAMPLED]}
    return Evidence(
        planned=grid,
        runs=[run for run in runs if run.cell in counted],
        cases=found,
        predictors={heat: predictors(found[heat]) for heat in HEATS},
        sweeps={
            kind: {heat: sweep(found[heat], kind, tuple(ARMS)) for heat in HEATS} for kind in SWEEPS
        },
        rates={heat: rate_checks(found[heat], arms, heat) for heat in HEATS},
        decoding=decoding_checks(found[SAMPLED], arms),
    )
