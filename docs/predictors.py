"""The page on what predicts the winner, and its figures, from the records of the calibration study.

`predictors_text.py` and `predictors_checks.py` put the numbers into words.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from predictors_checks import limits, of_decoding, of_rates
from predictors_evidence import ARMS, HEATS, NAMES, SWEEPS, Evidence
from predictors_rules import fresh, held_out, published, readme_table
from predictors_text import alone, by_mean_p, done, sweeps

from advisor.advice.calibration import shipped
from advisor.errors import InputError
from harness.experiments.calibration.checks import by_arm, decoding_checks, rate_checks
from harness.experiments.calibration.figures import (
    Published,
    gains_by_mean_p,
    predictor_dots,
    sweep_lines,
)
from harness.experiments.calibration.findings import cases, predictors, sweep
from harness.experiments.calibration.grid import read_grid
from harness.experiments.calibration.ledger import read
from harness.plots import svg
from harness.plots.style import INK
from harness.records.published import read_published

RESULTS = Path(__file__).parents[1] / "results"
SECTIONS: tuple[Callable[[Evidence], str], ...] = (
    done, held_out, fresh, published, alone, by_mean_p, sweeps, of_rates, of_decoding, limits
)  # fmt: skip
BEGIN, END = "<!-- rules: begin -->", "<!-- rules: end -->"
"""Between which the README has the table of rules."""
WIDTH = 4.8
"""Inches; at 400 px letters are of 9 px and more."""


def gather(results: Path) -> Evidence:
    """Everything that the page and its figures show.

    Args:
        results: folder with `calibration/` and `published.csv`.

    Raises:
        InputError: no cell has run.
    """
    folder = results / "calibration"
    grid = read_grid(folder / "grid.csv")
    measured, runs = read(folder)
    found = {heat: cases(grid, measured, runs, heat) for heat in HEATS}
    sampled = found[1.0]
    if not sampled:
        raise InputError(f"{folder}: no cell with all arms: run the study first, with `run`")
    table, counted = by_arm(runs), {case.sample.cell for case in sampled}
    return Evidence(
        planned=grid,
        runs=[run for run in runs if run.cell in counted],
        cases=found,
        predictors={heat: predictors(found[heat]) for heat in HEATS},
        published=_published(results / "published.csv"),
        sweeps={
            kind: {heat: sweep(found[heat], kind, tuple(ARMS)) for heat in HEATS} for kind in SWEEPS
        },
        rates={heat: rate_checks(found[heat], table, heat) for heat in HEATS},
        decoding=decoding_checks(sampled, table),
        calibration=shipped(),
        held_out=_json(folder / "held-out.json") or {},
        fresh=_json(folder / "fresh.json"),
    )


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _published(path: Path) -> dict[float, list[Published]]:
    rows = [row for row in read_published(path) if row["mean_p"]]
    return {
        heat: [
            Published(mean_p=float(row["mean_p"]), gain=float(row["neg_p"]) - float(row["nll"]))
            for row in rows
            if float(row["temperature"]) == heat
        ]
        for heat in HEATS
    }


def predictors_page(results: Path = RESULTS) -> str:
    """The page as Markdown."""
    evidence = gather(results)
    texts = (section(evidence).strip() for section in SECTIONS)
    return "\n\n".join(text for text in texts if text) + "\n"


def predictors_figures(results: Path = RESULTS) -> dict[str, Figure]:
    """Its figures, by file name without ending."""
    evidence = gather(results)
    return {
        "predictors-alone": _alone(evidence),
        "predictors-continuum": _continuum(evidence),
        "predictors-sweeps": _sweeps(evidence),
    }


def standalone(figure: Figure) -> str:
    """The figure as a file: outside a page there is no colour of the text to take."""
    return svg(figure).replace("currentColor", INK) + "\n"


def _alone(evidence: Evidence) -> Figure:
    rows = len(evidence.predictors[1.0])
    figure = _figure(height=1.5 + 0.27 * rows)
    predictor_dots(figure.subplots(), evidence.predictors, NAMES)
    return figure


def _continuum(evidence: Evidence) -> Figure:
    figure = _figure(height=6.4)
    upper, lower = figure.subplots(2, sharex=True)
    for axes, heat in ((upper, 0.0), (lower, 1.0)):
        gains_by_mean_p(
            axes, evidence.cases[heat], evidence.published[heat], heat, lowest=axes is lower
        )
    return figure


def _sweeps(evidence: Evidence) -> Figure:
    figure = _figure(height=5.8)
    panels = list(figure.subplots(2, sharex=True, sharey=True))
    for axes, (kind, title) in zip(panels, SWEEPS.items(), strict=True):
        sweep_lines(axes, evidence.sweeps[kind], ARMS, title=title, lowest=axes is panels[-1])
    return figure


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")


def write(folder: Path, results: Path = RESULTS) -> None:
    """Page and figures into a folder."""
    page = predictors_page(results)
    (folder / "what-predicts-the-winner.md").write_text(page, encoding="utf-8")
    for name, figure in predictors_figures(results).items():
        (folder / f"{name}.svg").write_text(standalone(figure), encoding="utf-8")


def write_readme(path: Path, results: Path = RESULTS) -> None:
    """Put the table of rules between its marks."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    folder = results / "calibration"
    rules = readme_table(_json(folder / "held-out.json") or {}, _json(folder / "fresh.json"))
    path.write_text(f"{before}{BEGIN}\n{rules}\n{END}{after}", encoding="utf-8")
