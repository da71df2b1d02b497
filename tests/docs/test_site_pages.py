"""The documentation hangs together: every page in the navigation, every link and anchor leads somewhere."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.documentation import DOCS, site_pages
from tests.helpers.paths import ROOT

NAVIGATION = site_pages.navigation()


@cache
def anchors(page: Path) -> frozenset[str]:
    """The places of a page's headings, as GitHub and the site name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    named = [anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, flags=re.M)]
    return frozenset(named)


def anchor(heading: str) -> str:
    """How GitHub names the place of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_in_the_navigation_once() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *DOCS.glob("*.md"))}
    assert there <= set(NAVIGATION)
    assert len(NAVIGATION) == len(set(NAVIGATION))
    assert all((ROOT / page).is_file() for page in NAVIGATION)


def test_the_page_to_start_from_names_every_other() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    named = {(DOCS / path).resolve() for path, _ in site_pages.links(text)}
    assert {path for path in DOCS.glob("*.md") if path.name != "index.md"} <= named


@pytest.mark.parametrize("page", NAVIGATION)
def test_links_and_anchors_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target, place in site_pages.links(path.read_text(encoding="utf-8")):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f"{page}: {target}"
        if place:
            assert place in anchors(found), f"{page}: {target}#{place}"


def test_links_are_read_where_they_are_links() -> None:
    text = "a [b](c.md#d) ![e](f.svg) [g](#h) [i](https://j) `[k](l)`\n\n    [m](n)\n```\n[o](p)\n```\n"
    assert list(site_pages.links(text)) == [("c.md", "d"), ("f.svg", ""), ("", "h")]


def test_what_is_linked_goes_with_the_pages() -> None:
    copied = {path.relative_to(ROOT).as_posix() for path in site_pages.files()}
    assert set(NAVIGATION) < copied
    assert {"docs/continuum.svg", "docs/library_example.py", "CITATION.cff"} <= copied
