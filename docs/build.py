"""Fills the tables of the documentation and draws its figures; the prose around them is written by hand.

    python docs/build.py                    # every page, and the picture of the README
    python docs/build.py docs/speed.md      # one page
    python docs/build.py --check            # change nothing, name what is not current
    python docs/build.py --figures          # draw all figures into docs/build/, which git ignores

A table stands in a page between `<!-- table: NAME -->` and `<!-- end -->`. It comes from a function in
`docs/tables/` that computes it from the records in `results/` or from the code: `PAGES` says which.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import figures
from tables import (
    afterwards,
    api,
    better_targets,
    kills,
    neighbours,
    nodes,
    objectives,
    plans,
    race,
    reading,
    real,
    speed,
    staged,
    studies,
    templates,
    tour,
    trust,
    verdicts,
    winner,
)
from tables.markdown import ROOT

Tables = Callable[[], Mapping[str, str]]
PAGES: dict[str, tuple[Tables, ...]] = {
    "README.md": (plans.readme,),
    "CONTRIBUTING.md": (tour.files,),
    "docs/afterwards.md": (afterwards.tables,),
    "docs/api.md": (api.tables,),
    "docs/better-targets.md": (better_targets.tables,),
    "docs/confirm.md": (nodes.tables,),
    "docs/neighbours.md": (neighbours.tables,),
    "docs/objectives.md": (objectives.tables,),
    "docs/plans.md": (plans.tables,),
    "docs/race.md": (race.tables,),
    "docs/real-models.md": (real.tables,),
    "docs/reliability.md": (kills.tables, trust.tables),
    "docs/speed.md": (speed.tables, reading.tables),
    "docs/staged.md": (staged.tables,),
    "docs/templates.md": (templates.tables,),
    "docs/verdicts.md": (verdicts.tables,),
    "docs/what-predicts-the-winner.md": (winner.tables,),
    "results/README.md": (studies.tables,),
}
"""Page to the functions that compute its tables, by name; a new page is a line here."""
PICTURE = "docs/continuum.svg"
"""The one figure that is committed: the README shows it."""
BLOCK = re.compile(r"(<!-- table: ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, tables: Mapping[str, str]) -> str:
    """A page with every table in its place.

    Raises:
        ValueError: a place without a table, a table without a place, or two places for one.
    """
    places = sorted(name for _, name, _ in BLOCK.findall(text))
    if places != sorted(tables):
        raise ValueError(f"places of the page {places}, tables {sorted(tables)}")
    return BLOCK.sub(lambda found: f"{found[1]}{tables[found[2]]}\n{found[3]}", text)


def built(page: str) -> str:
    """A page as it should be."""
    tables = {name: text for source in PAGES[page] for name, text in source().items()}
    return filled((ROOT / page).read_text(encoding="utf-8"), tables)


def pinned() -> bool:
    """Whether matplotlib is the one that drew the committed picture: another draws other bytes."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return f"matplotlib=={version('matplotlib')}" in constraints


def stale(pages: Iterable[str]) -> dict[Path, str]:
    """Files that are not as they should be, with their right content."""
    right = {page: built(page) for page in pages if page != PICTURE}
    if PICTURE in pages and pinned():
        right[PICTURE] = figures.FIGURES[Path(PICTURE).stem]()
    wrong = {ROOT / name: text for name, text in right.items()}
    return {path: text for path, text in wrong.items() if path.read_text(encoding="utf-8") != text}


def draw(folder: Path) -> None:
    """Every figure into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.FIGURES.items():
        (folder / f"{name}.svg").write_text(figure(), encoding="utf-8")


def main() -> int:
    """Fill, check or draw; the exit code."""
    parser = argparse.ArgumentParser(description="Fill the tables of the documentation.")
    parser.add_argument("pages", nargs="*", help="some pages (default: all)")
    parser.add_argument("--check", action="store_true", help="change nothing, name what is stale")
    parser.add_argument(
        "--figures", nargs="?", type=Path, const=ROOT / "docs" / "build", help="draw into a folder"
    )
    args = parser.parse_args()
    known = (*PAGES, PICTURE)
    if unknown := set(args.pages) - set(known):
        parser.error(f"{', '.join(unknown)}: no such page; there are {', '.join(known)}")
    if args.figures:
        draw(args.figures)
        return 0
    found = stale(args.pages or known)
    for path, text in found.items():
        sys.stderr.write(f"{path.relative_to(ROOT)}: {'stale' if args.check else 'written'}\n")
        if not args.check:
            path.write_text(text, encoding="utf-8")
    return int(args.check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
