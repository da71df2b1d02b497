"""The figures of the documentation, as SVG: `python docs/build.py --figures`."""

import io
from collections.abc import Callable
from functools import partial

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tables.markdown import RESULTS, read_json
from tables.winner import evidence

from advisor.advice.published_rule import STRONG, WEAK
from advisor.objectives.table import get_objective
from harness.experiments.afterwards.figure import afterwards_figure
from harness.experiments.afterwards.outcomes import read as read_outcomes
from harness.experiments.calibration.study_figures import STUDY
from harness.experiments.real.found import found_cells, guard_points
from harness.experiments.replay.ship import PLANS
from harness.experiments.staged.trace import read as read_traces
from harness.experiments.staged.trace_figure import trace_figure
from harness.plots import make_figure, svg
from harness.plots.continuum import tokens, weighs_p_alone
from harness.plots.spending import spending
from harness.plots.style import BLUE, GREEN, INK, PURPLE, VERMILLION
from harness.plots.trade import Traded, trade
from harness.records.published import read_published

REGIMES = (
    ("model-weak", 0.0, WEAK, "#0072B2"),
    ("intermediate", WEAK, STRONG, "#999999"),
    ("model-strong", STRONG, 1.0, "#D55E00"),
)
PANELS = {
    "powers of p": ("p_pow(0.1)", "neg_p", "p_pow(3)", "p_pow(10)"),
    "NLL, thresholded": ("threshold(0.2)", "nll_below(0.2)", "profit(0.1)"),
    "-p, thresholded or bent": ("neg_p_above(0.2)", "neg_p_below(0.2)", "infosft(0.93)", "chord_phi"),
    "other functions of p": (
        "log_one_minus_p(0.001)", "focal(1)", "huber(0.5)", "floored_dft(0.1)",
    ),
    "with the entropy or the step's median": (
        "idft_phi(5)", "idft(1, 0.1, 2)", "eaft(1)", "talr(0.01)",
    ),
    "with the concentration, the step or the prior": (
        "deft_cayley", "deft", "prift_prob", "prift_mass(0.5)",
    ),
}  # fmt: skip
"""What is drawn of the weights: title to objectives."""
COLOURS = (VERMILLION, BLUE, GREEN, PURPLE)
WIDTHS = (4.5, 3.2, 2.2, 1.4)
"""Of lines that may lie on one another."""
SVG = {"svg.hashsalt": "objective-advisor", "svg.fonttype": "none", "font.family": "sans-serif"}


def continuum() -> str:
    """Published gain of -p over NLL against mean p, with the regimes shaded; the picture of the README."""
    cells = [cell for cell in read_published(RESULTS / "published.csv") if cell["mean_p"]]
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
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
    return _file(figure)


def weights() -> str:
    """Weight against p of the objectives that need no step; dashed where more than p counts."""
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    for axes, (title, labels) in zip(grid.flat, PANELS.items(), strict=True):
        axes.axhline(1, color="#999999", lw=1, zorder=1, label="nll")
        for label, colour, width in zip(labels, COLOURS, WIDTHS, strict=False):
            _draw_weight(axes, label, colour, width)
        axes.legend(frameon=False, fontsize=8)
        axes.set_title(title, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].set(xlim=(0, 1), ylim=(0, 1.8))
    figure.supxlabel("p of the target token", fontsize=9)
    figure.supylabel("weight on its NLL", fontsize=9)
    return _file(figure)


def _draw_weight(axes: Axes, label: str, colour: str, width: float) -> None:
    row, stats = get_objective(label), tokens(400)
    style = "-" if weighs_p_alone(row) else (0, (4, 2))
    axes.plot(stats.p, row.weight(stats), color=colour, lw=width, ls=style, label=label)


def _file(figure: Figure) -> str:
    target = io.StringIO()
    with mpl.rc_context(SVG):
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def _of_study(name: str) -> str:
    """A figure as a file: outside a page there is no colour of the text to take."""
    return svg(STUDY[name](evidence(), RESULTS)).replace("currentColor", INK) + "\n"


def traces() -> str:
    """P of each kind of token along the runs of the study of staged objectives."""
    path = RESULTS / "staged" / "traces" / "traces.jsonl"
    return _file(trace_figure(read_traces(path)))


def afterwards() -> str:
    """Starts before and after GRPO."""
    return _file(afterwards_figure(read_outcomes(RESULTS / "afterwards")))


def race(how: str) -> str:
    """Regret against cost of every way of spending, replayed."""
    found = read_json(RESULTS / "race" / "replay.json")[how]
    points = {row["policy"]: (row["cost"], row["regret"]) for row in found["rows"]}
    priced = [point for name, point in points.items() if name.startswith("the race, a point")]
    plans = {name: points[f"`--plan {name}`"] for name in PLANS}
    early = {s: points[f"all to {s}, the best to its end"] for s in ("1/8", "1/4", "1/2")}
    fixed = {
        "plans": {"prior": points["the best by the prior alone"], **plans},
        "all early, then the best": {**early, "1": points["all eight to their ends"]},
    }
    figure, axes = make_figure(width=6.4, height=3.8)
    spending(axes, fixed, priced, cells=found["cells"])
    return svg(figure).replace("currentColor", INK) + "\n"


def real_model() -> str:
    """Every run of the real model that has been made: what it gains on its task and loses on the guards."""
    points = [
        Traded(
            arm=place[0],
            gain=one.points(place, 1.0) - 100 * float(one.base.right("test", 1.0).mean()),
            gain_interval=None,
            kept=guard_points(run) - guard_points(one.base),
            kept_interval=None,
            documents=48,
        )
        for one in found_cells(RESULTS)
        if one.base is not None
        for place, run in one.runs.items()
    ]
    figure, axes = make_figure(width=6.4, height=3.8)
    trade(axes, points, guard="both guards")
    return svg(figure).replace("currentColor", INK) + "\n"


FIGURES: dict[str, Callable[[], str]] = {
    "continuum": continuum,
    "weights": weights,
    "traces": traces,
    "afterwards": afterwards,
    "race-sampled": partial(race, "sampled"),
    "race-greedy": partial(race, "greedy"),
    "real-forgetting": real_model,
    **{f"predictors-{name}": partial(_of_study, name) for name in STUDY},
}
"""File name without its ending -> its content."""
