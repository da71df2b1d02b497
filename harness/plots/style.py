"""How an arm looks in every figure, and how an Axes is dressed; text is shown as it is, never as mathematics.

Colours are those of Okabe and Ito, orange and sky blue darkened until they stand out from a white page too.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

from advisor.errors import InputError, printable
from advisor.objectives.schedules import THEN
from advisor.objectives.table import OBJECTIVES, Objective, get_objective
from harness.records.arm import BASE
from harness.statistics.paired import Interval

INK = "#767676"
"""Axes and text: 4 : 1 and more against white and against dark; `svg` makes it the colour of the page."""
GREY = "#7f7f7f"
SMALL = 8.0
"""Points."""
MEDIUM = 9.0
"""Points."""
BELOW = 36.0
"""Points from an Axes to its legend: ticks, their labels and the label of x lie between."""
BARS = "bars: 95 % intervals"
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = _COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C27F00", "#2A93D5",
)  # fmt: skip

Dash = str | tuple[float, tuple[float, ...]]

_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES: tuple[Dash, ...] = (
    "-", (0, (6, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (2.5, 1)), (0, (6, 1, 1, 1, 1, 1)), (0, (10, 2)),
)  # fmt: skip
_VARIANTS: tuple[Dash, ...] = tuple(
    (0, pattern) for pattern in ((1, 1), (1, 2.5), (2, 3), (4, 4), (1, 1, 3, 1))
)
_LOOKS = {
    "nll": (BLUE, 0), "neg_p": (VERMILLION, 0), "threshold": (GREEN, 0), "cadft": (PURPLE, 0),
    "p_pow": (ORANGE, 0), "infosft": (SKY, 0),
    "nll_below": (BLUE, 1), "focal": (BLUE, 2), "eaft": (BLUE, 3),
    "neg_p_above": (VERMILLION, 1), "neg_p_below": (VERMILLION, 2), "floored_dft": (VERMILLION, 3),
    "profit": (GREEN, 1), "psft": (GREEN, 2), "iw_sft_token": (GREEN, 3),
    "asft": (PURPLE, 1), "idft": (PURPLE, 2), "idft_phi": (PURPLE, 3), "cadft_mean": (PURPLE, 4),
    "log_one_minus_p": (ORANGE, 1), "huber": (ORANGE, 2), "p_anneal": (ORANGE, 3),
    "deft": (SKY, 1), "deft_cayley": (SKY, 2), "iw_sft": (SKY, 3),
}  # fmt: skip
"""Objective -> colour and place within the colour; fixed. Others of the table get what is free, in order."""
_FREE = [look for look in product(_COLOURS, range(len(_MARKERS))) if look not in _LOOKS.values()]
_LOOKS |= dict(zip((name for name in OBJECTIVES if name not in _LOOKS), _FREE, strict=False))


@dataclass(frozen=True, kw_only=True)
class ArmStyle:
    """Colour, marker and line of an arm: no two objectives of the table share all three."""

    colour: str
    """Hex, at least 3 : 1 against a white and against a dark page."""
    marker: str
    """Of matplotlib; hollow where not `filled`."""
    dash: Dash
    """Line style of matplotlib."""
    filled: bool
    """False for a variant: other parameters than the default ones, or another learning rate."""

    @property
    def face(self) -> str:
        """Colour inside the marker."""
        return self.colour if self.filled else "none"


_ONE = rf"[^\s(),{THEN}]+(?:\([^()]*\))?"
"""An objective with its parameters, in a label."""


def objective_of(label: str) -> Objective | None:
    """The objective that an arm's label names, without the learning rate after it; None for other arms."""
    named = re.match(rf"\s*({_ONE}(?:{THEN}{_ONE})*)", label)
    try:
        return get_objective(named[1]) if named else None
    except InputError:
        return None


def arm_style(label: str) -> ArmStyle:
    """The look of an arm by its label: `nll`, `threshold(0.2)`, `nll, lr/10`, `base`, or any other name."""
    if label == BASE:
        return ArmStyle(colour=GREY, marker="X", dash="-", filled=True)
    row, chance = objective_of(label), zlib.crc32(label.encode("utf-8", "replace"))
    if row is None:
        return _style(_COLOURS[chance % len(_COLOURS)], chance // len(_COLOURS))
    if row.name not in _LOOKS:  # stages: the colour of the last one
        return _style(_LOOKS[row.name.rpartition(THEN)[2]][0], chance, variant=chance)
    plain = label in (row.name, *row.aliases, OBJECTIVES[row.name].label)
    return _style(*_LOOKS[row.name], variant=None if plain else chance)


def _style(colour: str, place: int, *, variant: int | None = None) -> ArmStyle:
    """Places go round the markers and dashes, every colour starting with its own."""
    turn = (_COLOURS.index(colour) + place) % len(_MARKERS)
    dash = _DASHES[turn] if variant is None else _VARIANTS[variant % len(_VARIANTS)]
    return ArmStyle(colour=colour, marker=_MARKERS[turn], dash=dash, filled=variant is None)


def mark(axes: Axes, x: float, y: float, arm: str, interval: Interval | None) -> None:
    """An arm's marker, on its interval along x."""
    style = arm_style(arm)
    if interval:
        axes.plot(interval, [y, y], color=style.colour, lw=1.5, solid_capstyle="butt", zorder=2)
    axes.plot(
        [x], [y], color=style.colour, ls="", marker=style.marker, ms=5, mfc=style.face, zorder=3
    )


def shorten(text: str, length: int = 32) -> str:
    """One line of at most `length` printable characters, an ellipsis for the rest."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def count(numbers: Iterable[int | None], word: str) -> str:
    """How many, as "3 seeds" or "1 to 3 seeds"; empty where nothing is known."""
    known = sorted({number for number in numbers if number is not None})
    if not known:
        return ""
    plural = word if known == [1] else f"{word}s"
    return (
        f"{known[0]:,} {plural}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,} {plural}"
    )


def legend(axes: Axes, handles: Sequence[Line2D | Patch]) -> None:
    """What the colours and markers mean, in columns below the Axes and the label of its x."""
    if not handles:
        return
    labels = [shorten(str(handle.get_label()), 24) for handle in handles]
    longest = max(map(len, labels))
    below = ScaledTranslation(0, -BELOW / 72, axes.figure.dpi_scale_trans)
    shown = axes.legend(
        handles=handles, labels=["" for _ in handles], ncols=max(1, int(64 / (longest + 8))),
        loc="upper left", bbox_to_anchor=(0, 0), bbox_transform=axes.transAxes + below, frameon=False,
        fontsize=SMALL, labelcolor=INK, handlelength=2.6, columnspacing=1.2, borderaxespad=0, borderpad=0,
    )  # fmt: skip
    # Set afterwards: matplotlib leaves out labels that start with an underscore.
    for text, label in zip(shown.get_texts(), labels, strict=True):
        text.set_text(label)


def arm_handle(arm: str, *, marker: bool = True) -> Line2D:
    """What stands for an arm's line in a legend."""
    style = arm_style(arm)
    return Line2D(
        [], [], color=style.colour, ls=style.dash, marker=style.marker if marker else "", ms=5,
        mfc=style.face, lw=1.5, label=arm,
    )  # fmt: skip


def dress(axes: Axes, title: str, *notes: str) -> Axes:
    """Title with what it rests on, everything in ink, and no text read as mathematics."""
    note = "; ".join(note for note in notes if note)
    text = f"{shorten(title, 100)}\n{shorten(note, 300)}"
    axes.set_title(text, loc="left", fontsize=MEDIUM, color=INK, wrap=True)
    axes.spines[["top", "right"]].set_visible(False)
    ink(axes)
    for found in axes.findobj(Text):
        found.set_parse_math(False)  # a $ in a name is a dollar
    return axes


def ink(axes: Axes) -> None:
    """Everything that is not data in one colour, on no ground."""
    axes.set_facecolor("none")
    axes.spines[:].set_color(INK)
    axes.tick_params(which="both", colors=INK, labelsize=SMALL)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=MEDIUM)
