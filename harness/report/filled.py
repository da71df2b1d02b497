"""Templates of this folder filled with texts: each is escaped, and what cannot be seen is spelt out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from advisor import __version__
from advisor.errors import printable
from advisor.files import publish
from harness.plots import arm_style

FOLDER = Path(__file__).parent


def fill(name: str, **values: Any) -> str:
    """The page that a template of this folder makes of some values."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    return environment.get_template(name).render(
        colour=lambda arm: arm_style(arm).colour, version=__version__, **values
    )


def _visible(value: Any) -> Any:
    """Control characters and marks of direction spelt out; markup made here stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def write_page(path: Path, text: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    publish(
        path,
        text.encode("utf-8", "backslashreplace"),
        subject=f"--output_path {path}:",
        remedy="give another file",
    )
