"""Figures of the prior: gain over NLL against mean p, and the histogram of p under the arms' weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from advisor.advice.published_rule import MIDDLE_REGIME, STRONG, STRONG_REGIME, WEAK, WEAK_REGIME
from advisor.objectives.table import Objective, TokenStats
from harness.plots.style import (
    BARS,
    GREY,
    INK,
    SMALL,
    arm_handle,
    arm_style,
    count,
    dress,
    ink,
    legend,
    objective_of,
    shorten,
)
from harness.records.arm import BASE
from harness.statistics.paired import Interval

REGIMES = (
    (WEAK_REGIME, 0.0, WEAK, arm_style("nll").colour),
    (MIDDLE_REGIME, WEAK, STRONG, GREY),
    (STRONG_REGIME, STRONG, 1.0, arm_style("neg_p").colour),
)
"""Name, mean p from and to, and the colour of the objective that the regime speaks for."""
DOMAINS = {"ladder": "o", "user": "s", "published": "D"}
"""Marker by the domain of a record."""
OTHER_DOMAIN = "v"
HIGHEST = 1.8
"""Weight at which the axis of weights ends; only some losses go on, one to 1,000."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What an objective gained over NLL on a model and dataset."""

    arm: str
    """Label."""
    mean_p: float
    """Of the target tokens under the untouched model."""
    gain: float
    """Over NLL, points."""
    domain: str
    """"ladder", "user" or "published"; all others share a marker."""
    mean_p_interval: Interval | None = None
    """95 %; None where not known."""
    interval: Interval | None = None
    """95 % of the gain; None where not known."""
    documents: int | None = None
    """None where not known."""
    seeds: int | None = None
    """None where not known."""


def continuum(
    axes: Axes, points: Sequence[Gain], *, here: tuple[float, Interval] | None = None
) -> Axes:
    """Gain over NLL against mean p, the three regimes shaded; a marker per domain, a colour per arm.

    Args:
        axes: to draw on.
        points: of any arms and domains.
        here: mean p of a pair whose gain is not known, and its 95 % interval: an upright line.
    """
    for name, low, high, colour in REGIMES:
        axes.axvspan(low, high, color=colour, alpha=0.13, lw=0, zorder=0)
        axes.text(
            (low + high) / 2, 0.985, name, ha="center", va="top",
            transform=axes.get_xaxis_transform(), color=INK, fontsize=SMALL,
        )  # fmt: skip
    axes.axhline(0, color=INK, lw=0.8, zorder=1)
    for point in points:
        _draw_gain(axes, point)
    axes.set(xlim=(0, 1), xlabel="mean p of the target tokens under the untouched model")
    axes.set_ylabel("gain over nll, points")
    axes.margins(y=0.15)
    marked = [] if here is None else [_draw_here(axes, *here)]
    legend(axes, [*_arm_patches(points), *_domain_markers(points), *marked])
    sizes = (
        count([len(points)], "point"),
        count((point.documents for point in points), "document"),
        count((point.seeds for point in points), "seed"),
    )
    published = any(point.domain == "published" and point.seeds is None for point in points)
    unknown = "published cells are single runs" if published else ""
    notes = (", ".join(filter(None, sizes)), unknown, BARS)
    return dress(axes, "Gain over nll by mean p", *notes)


def _draw_here(axes: Axes, mean_p: float, around: Interval) -> Line2D:
    axes.axvspan(*around, color=INK, alpha=0.35, lw=0, zorder=1)
    return axes.axvline(mean_p, color=INK, lw=1.6, zorder=1, label="this pair")


def _arm_patches(points: Sequence[Gain]) -> list[Patch]:
    """One per look: `threshold` and `threshold(0.2)` are the same arm."""
    arms: dict[object, str] = {}
    for point in points:
        row = objective_of(point.arm)
        arms.setdefault((row.label if row else point.arm, arm_style(point.arm)), point.arm)
    return [
        Patch(facecolor=arm_style(arm).face, edgecolor=arm_style(arm).colour, label=arm)
        for arm in arms.values()
    ]


def _domain_markers(points: Sequence[Gain]) -> list[Line2D]:
    return [
        Line2D(
            [], [], color=INK, ls="", ms=5, marker=DOMAINS.get(domain, OTHER_DOMAIN), label=domain
        )
        for domain in dict.fromkeys(point.domain for point in points)
    ]


def _draw_gain(axes: Axes, point: Gain) -> None:
    style = arm_style(point.arm)
    if point.interval:
        axes.plot([point.mean_p] * 2, point.interval, color=style.colour, lw=1.2, zorder=2)
    if point.mean_p_interval:
        axes.plot(point.mean_p_interval, [point.gain] * 2, color=style.colour, lw=1.2, zorder=2)
    axes.plot(
        [point.mean_p], [point.gain], color=style.colour, ls="", mfc=style.face, ms=5, alpha=0.85,
        marker=DOMAINS.get(point.domain, OTHER_DOMAIN), zorder=3,
    )  # fmt: skip


def histogram(axes: Axes, prior: Mapping[str, Any], objectives: Sequence[str]) -> Axes:
    """Histogram of p over target tokens, the weight w(p) of each objective over it on a second axis.

    Imports torch. Objectives whose weight needs more than p (and names that are none) are left out; the
    title names them.

    Args:
        axes: to draw on; gets a twin.
        prior: `Prior.to_dict()`, or `Run.prior`.
        objectives: labels of arms; the base has no weight, and an objective is drawn once.
    """
    counts = np.asarray(prior["histogram"], dtype=np.float64)
    edges = np.linspace(0, 1, len(counts) + 1)
    axes.stairs(100 * counts / max(counts.sum(), 1), edges, fill=True, color=INK, alpha=0.3)
    axes.set(xlim=(0, 1), xlabel="p of the target token under the untouched model")
    axes.set_ylabel("share of the target tokens, %")
    left_out = _draw_weights(axes, objectives, counts)
    sizes = (count([prior["target_tokens"]], "target token"), count([prior["examples"]], "example"))
    missing = f"not drawn, as p alone does not give their weight: {', '.join(left_out)}"
    notes = (", ".join(sizes), missing if left_out else "")
    return dress(axes, "Prior, and each objective's weight", *notes)


def _draw_weights(axes: Axes, labels: Sequence[str], counts: NDArray[np.float64]) -> list[str]:
    """The weights on a twin of the Axes; the labels of those that cannot be drawn."""
    twin = axes.twinx()
    drawn, left_out = [], []
    for label, row in _distinct(labels):
        line = _weights(row, counts) if row else None
        if line is None:
            left_out.append(shorten(label, 24))
        else:
            style = arm_style(label)
            twin.plot(*line, color=style.colour, ls=style.dash, lw=1.6)
            drawn.append(label)
    twin.set(ylabel="weight on the token's NLL", ylim=(0, min(twin.get_ylim()[1], HIGHEST)))
    twin.spines[["top", "left"]].set_visible(False)
    ink(twin)
    legend(axes, [arm_handle(arm, marker=False) for arm in drawn])
    return left_out


def _distinct(labels: Sequence[str]) -> Iterator[tuple[str, Objective | None]]:
    """Every objective once, under the first label that names it; None for a name that is no objective."""
    seen = set()
    for label in labels:
        row = objective_of(label)
        key = row.label if row else label
        if label != BASE and key not in seen:
            seen.add(key)
            yield label, row


def _weights(
    row: Objective, counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Its p and weights, [500] each; None where the weight is not a function of p alone."""
    edges, below = np.linspace(0, 1, len(counts) + 1), np.concatenate([[0.0], counts.cumsum()])
    known = row.resolve(lambda share: float(np.interp(share * below[-1], below, edges)))
    if not weighs_p_alone(known):
        return None
    return (np.arange(500) + 0.5) / 500, known.weight(tokens(500)).numpy()


def weighs_p_alone(row: Objective) -> bool:
    """Whether the weight of an objective, its quantiles resolved, is a function of p alone."""
    if row.scheduled or row.tempered or not set(row.needs) <= {"anchor"}:
        return False
    # Where p decides, it does not matter over how many tokens the other 1 - p is spread.
    few, many = (row.weight(tokens(500, others)).numpy() for others in (2, 20))
    return np.array_equal(few, many)


def tokens(number: int, others: int = 10) -> TokenStats:
    """Tokens of p evenly spaced in (0, 1), [number], the other 1 - p spread evenly over some tokens.

    Each is an example of its own, and the model before training is the same one.
    """
    import torch

    p = (torch.arange(number, dtype=torch.float64) + 0.5) / number
    entropy = -p * p.log() - (1 - p) * ((1 - p) / others).log()
    return TokenStats(
        logp=p.log(),
        entropy=entropy,
        top1=p > 0.5,
        example=torch.arange(number),
        topk_entropy=entropy,
        collision=p.square() + (1 - p).square() / others,
        reference_logp=p.log(),
        reference_mass=torch.where(p > (1 - p) / others, 1.0, p),
    )
