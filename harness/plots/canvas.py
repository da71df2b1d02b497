"""Making figures and turning them into files and into SVG for a page."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advisor.files import publish
from harness.plots.style import INK

DPI = 200
"""Of PNG files."""
_ROOT_STYLE = "stroke-linejoin: round; stroke-linecap: butt"
"""What matplotlib says in a <style> for all elements, which in a page would be all of the page's."""

_DECIMALS = 2
"""Of a coordinate in a page: a hundredth of a point is not seen, and a page of many studies holds many."""
_LONG = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"^#|url\(#")
_REFERRED = ("clipPath", "path")
"""Elements that matplotlib refers to; the ids of others only name them."""


def make_figure(
    *, rows: int | None = None, width: float = 4.8, height: float = 3.6
) -> tuple[Figure, Axes]:
    """A figure with one Axes and a transparent background.

    Args:
        rows: lines of a figure that has one per comparison (forest: rows; ranks: arms; benchmarks: tasks
            times arms); gives the height instead of `height`.
        width: inches.
        height: inches.
    """
    if rows is not None:
        height = 1.4 + 0.22 * rows
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    return figure, figure.subplots()


def svg(figure: Figure) -> str:
    """An `<svg>` element to put into a page: text as text, the axes in the colour of its text (currentColor).

    Deterministic; ids are derived from the content, so that figures of one page do not clash. It has a width
    and a height in pt: style it with `max-width: 100%; height: auto`. `role="img"`, its titles as aria-label.
    """
    return _element(figure, "currentColor")


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write STEM.svg and STEM.png, each whole or not at all, and return their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    vector, bitmap = (stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png"))
    contents = {
        vector: f"{_element(figure, INK)}\n".encode(),
        bitmap: _render(figure, "png", {"Software": None}),
    }
    for path, content in contents.items():
        publish(path, content, subject=str(stem.parent), remedy="make room or give another folder")
    return vector, bitmap


def _element(figure: Figure, ink: str) -> str:
    """The SVG element with another ink, and with no id but those that are referred to."""
    drawn = _render(figure, "svg", dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(drawn)
    for child in list(root):
        if any(inner.tag.endswith("}style") for inner in child):
            root.remove(child)
    prefix = f"f{hashlib.sha256(drawn).hexdigest()[:10]}-"
    for element in root.iter():
        element.tag = _local(element.tag)
        own = element.attrib.pop("id", None)
        element.attrib = {
            _local(name): _short(_REFERENCE.sub(rf"\g<0>{prefix}", value).replace(INK, ink))
            for name, value in element.attrib.items()
        }
        if own and element.tag in _REFERRED:
            element.set("id", prefix + own)
        for text in ("text", "tail"):
            if not (getattr(element, text) or "").strip():
                setattr(element, text, None)
    titles = (axes.get_title(loc="left") for axes in figure.axes)
    label = ". ".join(title.replace("\n", ": ") for title in titles if title)
    root.attrib |= {
        "xmlns": "http://www.w3.org/2000/svg",
        "style": _ROOT_STYLE,
        "role": "img",
        "aria-label": label,
    }
    return ElementTree.tostring(root, encoding="unicode").strip()


def _short(value: str) -> str:
    """An attribute with its coordinates rounded, and without what only breaks its lines."""
    rounded = _LONG.sub(
        lambda found: f"{float(found[0]):.{_DECIMALS}f}".rstrip("0").rstrip("."), value
    )
    return " ".join(rounded.split())


def _local(name: str) -> str:
    """`{namespace}name` -> `name`: of the namespaces only SVG's is left, on the root."""
    return name.rpartition("}")[2]


def _render(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    target = io.BytesIO()
    settings = mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
            "svg.fonttype": "none",
            "svg.hashsalt": "objective-advisor",
        }
    )
    with settings, warnings.catch_warnings():
        # Only PNG files lack the glyph; a page has fonts for every script.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(target, format=kind, dpi=DPI, metadata=metadata)
    return target.getvalue()
