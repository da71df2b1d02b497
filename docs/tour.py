"""Writes the list of packages into README.md and that of files into CONTRIBUTING.md: `python docs/tour.py`.

Both come from the first lines of the docstrings, so that they say what the code says. A test checks that
they are current.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- written by docs/tour.py -->\n", "<!-- end -->\n"


def main(root: Path = ROOT) -> None:
    """Write both lists into the pages of `root`; the code described is always this one."""
    for page, lines in (("README.md", packages()), ("CONTRIBUTING.md", files())):
        path = root / page
        before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        path.write_text(f"{before}{BEGIN}{''.join(lines)}{END}{after}", encoding="utf-8")


def packages() -> list[str]:
    """A table of packages, from the foundation up."""
    rows = [
        f"| `{folder.relative_to(ROOT)}` | {purpose(folder / '__init__.py')} |\n"
        for top in ("advisor", "harness")
        for folder in sorted((ROOT / top).iterdir())
        if (folder / "__init__.py").is_file()
    ]
    return ["| package | what it is |\n", "|---|---|\n", *rows]


def files() -> list[str]:
    """A table of the files of every package."""
    lines = []
    for top in ("advisor", "harness"):
        for folder in sorted({path.parent for path in (ROOT / top).rglob("*.py")}):
            name = folder.relative_to(ROOT)
            lines += [
                f"\n`{name}`: {purpose(folder / '__init__.py')}\n\n",
                "| file | what it holds |\n",
            ]
            lines += ["|---|---|\n"]
            paths = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
            lines += [f"| `{path.name}` | {purpose(path)} |\n" for path in paths]
    return lines


def purpose(path: Path) -> str:
    """The first line of a module's docstring, as a cell of a table."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].replace("|", "\\|")


if __name__ == "__main__":
    main()
