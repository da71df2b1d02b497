"""The house stands on its foundation: imports run downwards, and no two rooms have one name."""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

ORDER = (
    "advisor.telemetry", "advisor.errors", "advisor.values", "advisor.names", "advisor.progress",
    "advisor.files", "advisor.hub", "advisor.options", "advisor.chat", "advisor.data", "advisor.objectives",
    "advisor.model",
    "advisor.prior", "advisor.advice",
    "harness.runtime", "harness.statistics", "harness.records", "harness.ladder", "harness.gym",
    "harness.evaluate", "harness.generate", "harness.train", "harness.distill", "harness.reinforce",
    "harness.deep_probe",
    "harness.study", "harness.compare", "harness.plots", "harness.report",
    "harness.cli", "harness.library", "harness.experiments",
)  # fmt: skip
"""Packages, and the files beside them, from the foundation up: each imports from those before it."""
FACES = ("advisor", "advisor.__main__", "harness")
"""What may reach up, from within a function: the library's face and `python -m advisor`."""
HEAVY = {"torch", "transformers", "trl", "datasets"}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("advisor", "harness")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(node: ast.AST) -> Iterator[str]:
    """Every module of ours that is imported, wherever in the file."""
    for inner in ast.walk(node):
        names = []
        if isinstance(inner, ast.Import):
            names = [alias.name for alias in inner.names]
        elif isinstance(inner, ast.ImportFrom) and inner.module:
            names = [f"{inner.module}.{alias.name}" for alias in inner.names]
        for name in names:
            while name and name not in FILES:
                name = name.rpartition(".")[0]
            if name:
                yield name


@cache
def imports_of(module: str) -> frozenset[str]:
    return frozenset(imports(parsed(module)))


def room(module: str) -> str:
    """The package of a module, as it stands in ORDER."""
    return ".".join(module.split(".")[:2])


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", [name for name in FILES if name not in FACES])
def test_imports_run_downwards(module: str) -> None:
    mine = ORDER.index(room(module))  # ValueError: a package that has no place yet
    above = [
        found
        for found in imports_of(module)
        if found not in FACES and ORDER.index(room(found)) > mine
    ]
    assert not above, f"{module} imports from above"


@pytest.mark.parametrize("module", FACES)
def test_faces_reach_up_only_when_they_are_asked(module: str) -> None:
    def at_once(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            typing_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            if not isinstance(child, ast.FunctionDef) and not typing_only:
                yield child
                yield from at_once(child)

    found = {name for node in at_once(parsed(module)) for name in imports(node)}
    assert found <= {"advisor", "advisor.telemetry"} or module.endswith("__main__")


@pytest.mark.parametrize("package", ORDER)
def test_no_package_imports_itself_in_a_circle(package: str) -> None:
    inside = {name: {f for f in imports_of(name) if room(f) == package} for name in FILES}
    inside = {name: found - {name} for name, found in inside.items() if room(name) == package}
    while inside:
        free = [name for name, found in inside.items() if not found & inside.keys()]
        assert free, f"a circle among {sorted(inside)}"
        for name in free:
            del inside[name]


def test_no_file_name_stands_twice() -> None:
    free = ("harness/cli/", "harness/experiments/")
    names = Counter(
        path.name
        for path in FILES.values()
        if not path.name.startswith("__") and not path.relative_to(ROOT).as_posix().startswith(free)
    )
    assert not [name for name, count in names.items() if count > 1]


def test_what_the_wheel_leaves_out_is_imported_by_nothing_in_it() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]
    [left_out] = (folder.strip("/").replace("/", ".") for folder in wheel["exclude"])
    assert left_out == "harness.experiments" and left_out in FILES
    inside = [name for name in FILES if room(name) != left_out]
    importing = [name for name in inside if left_out in {room(f) for f in imports_of(name)}]
    assert not importing


def runtime_imports(path: Path) -> set[str]:
    """Top-level packages that a file imports when it is imported, those for types apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        (node.module or "").split(".")[0]
        if isinstance(node, ast.ImportFrom)
        else node.names[0].name
        for node in tree.body
        if isinstance(node, ast.ImportFrom | ast.Import)
    }


@pytest.mark.parametrize("module", [name for name in FILES if room(name) == "advisor.advice"])
def test_deciding_imports_no_torch(module: str) -> None:
    assert not runtime_imports(FILES[module]) & HEAVY
