"""Figures of the evidence: every drawing function takes an Axes and plain data and returns the Axes.

No file is read here and no state of pyplot is used. The same figure serves a light and a dark page: its
background is transparent, and axes and text have one colour, which `svg` makes that of the page.
"""

from harness.plots.canvas import make_figure, save, svg
from harness.plots.continuum import Gain, continuum, histogram
from harness.plots.differences import forest
from harness.plots.evidence import (
    Curve,
    Estimate,
    along_training,
    believed,
    benchmarks,
    learning_rates,
    ranks,
    temperatures,
    training_curves,
)
from harness.plots.style import ArmStyle, arm_style, shorten
from harness.plots.trade import Traded, trade

__all__ = [
    "ArmStyle",
    "Curve",
    "Estimate",
    "Gain",
    "Traded",
    "along_training",
    "arm_style",
    "believed",
    "benchmarks",
    "continuum",
    "forest",
    "histogram",
    "learning_rates",
    "make_figure",
    "ranks",
    "save",
    "shorten",
    "svg",
    "temperatures",
    "trade",
    "training_curves",
]
