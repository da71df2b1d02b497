"""The figures of the calibration study: which of its evidence goes into which drawing of `figures.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from harness.experiments.calibration.evidence import ARMS, NAMES, SWEEPS, Evidence
from harness.experiments.calibration.figures import (
    Published,
    gains_by_mean_p,
    predictor_dots,
    sweep_lines,
)
from harness.records.published import read_published

WIDTH = 4.8
"""Inches; at 400 px letters are of 9 px and more."""


def alone(found: Evidence, results: Path) -> Figure:
    """The area under the curve of every statistic."""
    figure = _figure(height=1.5 + 0.27 * len(found.predictors[1.0]))
    predictor_dots(figure.subplots(), found.predictors, NAMES)
    return figure


def gains(found: Evidence, results: Path) -> Figure:
    """Gain of -p over NLL against mean p, greedy above, sampled below; published cells from `results`."""
    figure = _figure(height=6.4)
    upper, lower = figure.subplots(2, sharex=True)
    for axes, heat in ((upper, 0.0), (lower, 1.0)):
        published = _published(results / "published.csv", heat)
        gains_by_mean_p(axes, found.cases[heat], published, heat, lowest=axes is lower)
    return figure


def sweeps(found: Evidence, results: Path) -> Figure:
    """Gain over NLL by the rate of noise."""
    figure = _figure(height=5.8)
    panels = list(figure.subplots(2, sharex=True, sharey=True))
    for axes, (kind, title) in zip(panels, SWEEPS.items(), strict=True):
        sweep_lines(axes, found.sweeps[kind], ARMS, title=title, lowest=axes is panels[-1])
    return figure


def _published(path: Path, heat: float) -> list[Published]:
    """Published gains of -p at one temperature where mean p is known."""
    return [
        Published(mean_p=float(row["mean_p"]), gain=float(row["neg_p"]) - float(row["nll"]))
        for row in read_published(path)
        if row["mean_p"] and float(row["temperature"]) == heat
    ]


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")


STUDY: dict[str, Callable[[Evidence, Path], Figure]] = {
    "alone": alone,
    "continuum": gains,
    "sweeps": sweeps,
}
"""Name to the function that draws it, from the evidence and the folder of results."""
