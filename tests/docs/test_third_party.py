"""The page on packages of others names all that an installation brings, each with what it says of itself."""

from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.documentation import third_party
from tests.helpers.paths import ROOT

ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ")
][2:]
"""Package, version, licence, extra."""
NAMES = [row[0] for row in ROWS]


def test_all_that_is_asked_for_is_named_with_its_extra() -> None:
    extras = dict(zip(NAMES, (row[3].strip("`[]") for row in ROWS), strict=True))
    for extra, wanted in third_party.asked_for().items():
        for name in (canonicalize_name(Requirement(text).name) for text in wanted):
            assert extras[name] in ("", extra), f"{name}: run python docs/third_party.py"
    brought = third_party.closure(third_party.asked_for()[""])
    assert brought <= {name for name, extra in extras.items() if not extra}
    assert len(NAMES) == len(set(NAMES))


def test_a_line_is_what_the_package_says_of_itself() -> None:
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    pinned = {canonicalize_name(name): number for name, number in pinned.items()}
    seen = 0
    for name, number, licence, extra in ROWS:
        assert (
            licence and number == pinned.get(name, number).partition("+")[0]
        )  # pip brings setuptools
        try:
            there = version(name).partition("+")[0]
        except PackageNotFoundError:  # an extra that is not installed here
            continue
        if there == number:
            seen += 1
            assert third_party.row(name, extra.strip("`[]")) == (name, number, licence, extra)
    assert seen > 50
