"""The pages of the documentation site, where mkdocs finds them: `python docs/site_pages.py`, before mkdocs.

Every page of the navigation in `mkdocs.yml` is copied to `docs/build/pages` under its own path, with the
files that it links to, so that links work there as they do in the repository. Standard library only.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "build" / "pages"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def navigation() -> list[str]:
    """Every page of the navigation, in its order, relative to the root."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    return re.findall(r"([\w./-]+\.md)$", text, flags=re.M)


def links(text: str) -> Iterator[tuple[str, str]]:
    """Path and anchor of every relative link of a page; code is not read."""
    prose = re.sub(r"^```.*?^```|^(?: {4}|\t).*?$|`[^`\n]*`", "", text, flags=re.M | re.S)
    for target in LINK.findall(prose):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def files() -> Iterator[Path]:
    """The pages, and the files that they link to, each once."""
    pages = [ROOT / page for page in navigation()]
    linked = {
        (page.parent / path).resolve()
        for page in pages
        for path, _ in links(page.read_text(encoding="utf-8"))
        if path
    }
    yield from sorted({*pages, *(path for path in linked if path.is_file())})


def main() -> int:
    """Copies them; the exit code."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in files():
        target = PAGES / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
