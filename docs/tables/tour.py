"""The packages and files for CONTRIBUTING, from the first lines of docstrings."""

import ast
from pathlib import Path

from tables.markdown import ROOT, table

TOPS = ("advisor", "harness")


def files() -> dict[str, str]:
    """A table of files for every package that has any."""
    folders = [path.parent for top in TOPS for path in sorted((ROOT / top).rglob("__init__.py"))]
    return {"files": "\n\n".join(filter(None, map(_files, sorted(folders))))}


def _files(folder: Path) -> str:
    paths = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    rows = [(f"`{path.name}`", purpose(path)) for path in paths]
    head = f"`{folder.relative_to(ROOT)}`: {purpose(folder / '__init__.py')}"
    return f"{head}\n\n{table(('file', 'what it holds'), rows)}" if rows else ""


def purpose(path: Path) -> str:
    """The first line of a module's docstring, as a cell of a table."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].replace("|", "\\|")
