"""Making figures and turning them into files and into SVG for a page."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advisor.files import publish
from harness.plots.style import INK

DPI = 200
"""Of PNG files."""
_ROOT_STYLE = (
    "stroke-linejoin: round; stroke-linecap: butt; "
    "font: 8px 'DejaVu Sans', Verdana, Arial, sans-serif"
)
"""What matplotlib says in a <style> for all elements, which in a page would be all of the page's; and the
font, which it says with every text."""
_UNTURNED = re.compile(r"rotate\(-?0 ")
_UNSAID = re.compile(
    r"font-size: 8px; ?|font-family: [^;]+; ?|stroke-dashoffset: 0; ?|text-anchor: start; ?|(?<=[:;]) "
)
"""Of a style: what the root says, what holds without being said, and spaces."""
_LINES = re.compile(r"[ML][-\d. ]+(?:L[-\d. ]+)+")
"""Of a path: a line through points, of which SVG needs the first letter."""

_DECIMALS = 1
"""Of a coordinate in a page: a tenth of a point is hardly seen, and a page of many studies holds many."""
_LONG = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"(?<=^#)\w+$|(?<=url\(#)\w+")
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
    prefix = f"f{hashlib.sha256(drawn).hexdigest()[:8]}-"
    referred = [one.get("id") for one in root.iter() if _local(one.tag) in _REFERRED]
    ids = {own: f"{prefix}{number}" for number, own in enumerate(filter(None, referred))}
    for element in root.iter():
        element.tag = _local(element.tag)
        own = ids.get(element.attrib.pop("id", ""))
        element.attrib = {
            _local(name): _short(name, value, ids).replace(INK, ink)
            for name, value in element.attrib.items()
            if not _UNTURNED.match(value)
        }
        if own:
            element.set("id", own)
        for text in ("text", "tail"):
            if not (getattr(element, text) or "").strip():
                setattr(element, text, None)
    _unwrap(root)
    titles = (axes.get_title(loc="left") for axes in figure.axes)
    label = ". ".join(title.replace("\n", ": ") for title in titles if title)
    root.attrib |= {
        "xmlns": "http://www.w3.org/2000/svg",
        "style": _ROOT_STYLE,
        "role": "img",
        "aria-label": label,
    }
    return ElementTree.tostring(root, encoding="unicode").strip()


def _unwrap(element: ElementTree.Element) -> None:
    """Put what stands in a group that says nothing in the group's place."""
    for child in element:
        _unwrap(child)
    found: list[ElementTree.Element] = []
    for child in element:
        found += child if child.tag == "g" and not child.attrib else [child]
    element[:] = found


def _short(name: str, value: str, ids: Mapping[str, str]) -> str:
    """The value of an attribute: coordinates rounded, other ids, and nothing that need not be said."""
    value = _REFERENCE.sub(lambda found: ids[found[0]], value)
    value = _LONG.sub(
        lambda found: f"{float(found[0]):.{_DECIMALS}f}".rstrip("0").rstrip("."),
        " ".join(value.split()),
    )
    if name == "style":
        return _UNSAID.sub("", value)
    return _LINES.sub(lambda found: found[0][0] + found[0][1:].replace("L ", ""), value)


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
