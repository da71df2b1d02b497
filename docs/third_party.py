"""Writes THIRD_PARTY.md: the packages that an installation brings, and under which licences they stand.

    python docs/third_party.py      # in an environment with every extra, at the versions of constraints.txt

What a package says of its own licence is read from its metadata; nothing is written by hand.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tables.markdown import ROOT, table

PAGE = ROOT / "THIRD_PARTY.md"
OURS = ("dev", "docs", "bench", "all")
"""Extras of the developers: nothing that a user runs needs them."""
UNKNOWN = ("", "UNKNOWN")
PREAMBLE = """# Packages of others

What `pip install objective-advisor` brings, and each extra on top, with the licence that each package states
in its own metadata. Written by `python docs/third_party.py` in an environment with the versions of
`constraints.txt` on Linux; none of it is part of this repository or of the wheel. PyTorch's builds for GPUs
bring NVIDIA's libraries besides, under NVIDIA's own terms.
"""


def asked_for() -> dict[str, list[str]]:
    """What pyproject.toml asks for: "" for the package itself, and each extra of users by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return {"": project["dependencies"]} | {
        name: wanted for name, wanted in extras.items() if name not in OURS
    }


def closure(wanted: Iterable[str]) -> set[str]:
    """Names of what some requirements bring on this machine, they themselves included."""
    found: set[str] = set()
    todo = [Requirement(text) for text in wanted]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        one = todo.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if name == "objective-advisor" or (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        todo += _asked_by(name, extras)
    return found


def _asked_by(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a package asks for, where it is installed with some extras."""
    for text in requires(name) or ():
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in ("", *extras)):
            yield one


def licence_of(name: str) -> str:
    """What a package says of its licence: an expression, else its classifiers, else the line it wrote."""
    said = metadata(name)
    if expression := said.get("License-Expression"):
        return str(expression)
    heads = ("License :: OSI Approved :: ", "License :: ")
    found = [
        line.removeprefix(heads[0]).removeprefix(heads[1])
        for line in said.get_all("Classifier") or ()
        if line.startswith(heads[1])
    ]
    if found and found != ["OSI Approved"]:
        return ", ".join(found)
    lines = [line.strip() for line in str(said.get("License") or "").splitlines()]
    return next((line for line in lines if line not in UNKNOWN), "not stated")


def row(name: str, extra: str) -> tuple[str, str, str, str]:
    """A line of the table; PackageNotFoundError where the package is not installed."""
    licence = licence_of(name).replace("|", "or")
    return name, version(name).partition("+")[0], licence, f"`[{extra}]`" if extra else ""


def page() -> str:
    """The whole page."""
    rows, known = [], set()
    for extra, wanted in asked_for().items():
        for name in sorted(closure(wanted) - known):
            known.add(name)
            rows.append(row(name, extra))
    return f"{PREAMBLE}\n{table(('package', 'version', 'licence', 'only with'), rows)}\n"


def main() -> int:
    """Write the page; the exit code."""
    try:
        PAGE.write_text(page(), encoding="utf-8")
    except PackageNotFoundError as error:
        sys.stderr.write(f"{error.name} is not installed: install every extra first\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
