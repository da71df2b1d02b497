"""Draws the figures of the documentation: `python docs/figures.py`. A test checks that they are current."""

import csv
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from advisor.recommend import STRONG, WEAK

HERE = Path(__file__).parent
PUBLISHED = HERE.parent / "results" / "published.csv"
REGIMES = (
    ("model-weak", 0.0, WEAK, "#0072B2"),
    ("intermediate", WEAK, STRONG, "#999999"),
    ("model-strong", STRONG, 1.0, "#D55E00"),
)


def continuum(path: Path) -> None:
    """Published gain of -p over NLL against mean p, with the regimes shaded."""
    with PUBLISHED.open(encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    for name, low, high, colour in REGIMES:
        axes.axvspan(low, high, color=colour, alpha=0.12, lw=0)
        axes.text((low + high) / 2, 23, name, ha="center", va="top", color=colour, fontsize=9)
    for sampled, marker, label in (
        (True, "o", "scored on samples, T = 1"),
        (False, "s", "scored greedily"),
    ):
        chosen = [cell for cell in cells if (float(cell["temperature"]) > 0) == sampled]
        x = [float(cell["mean_p"]) for cell in chosen]
        y = [float(cell["neg_p"]) - float(cell["nll"]) for cell in chosen]
        axes.scatter(
            x, y, marker=marker, s=34, color="black", facecolor="white", zorder=3, label=label
        )
    axes.axhline(0, color="black", lw=0.8)
    axes.set(xlim=(0, 1), ylim=(-38, 24), xlabel="mean p of the target tokens under the untouched model",
             ylabel="gain of -p (= DFT) over NLL, points")  # fmt: skip
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    axes.set_title(
        "Published cells (single runs, arXiv:2510.00526); the borders between regimes are ours",
        fontsize=9,
    )
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(folder: Path = HERE) -> None:
    """Draw every figure into a folder."""
    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.hashsalt": "objective-advisor", "svg.fonttype": "none", "font.family": "sans-serif"}
    )
    continuum(folder / "continuum.svg")


if __name__ == "__main__":
    main()
