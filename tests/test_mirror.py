"""The tests mirror the house: a folder a package, helpers apart, and nothing private is reached for."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

TESTS = ROOT / "tests"
APART = {"helpers", "docs"}
"""Folders that are no package's."""
ROOMS = {
    path.parent.name: path.parent
    for house in ("advisor", "harness")
    for path in sorted((ROOT / house).glob("*/__init__.py"))
}
SOURCES = [path.relative_to(TESTS).as_posix() for path in sorted(TESTS.rglob("*.py"))]
TESTED = [name for name in SOURCES if Path(name).name.startswith("test_") and "/" in name]
NOT_OURS = {"_attn_implementation", "_forward_hooks", "_forward_pre_hooks", "_repr_pretty_"}
"""Names that transformers, torch and IPython gave, without a public one beside them."""


@cache
def parsed(name: str) -> ast.Module:
    return ast.parse((TESTS / name).read_text(encoding="utf-8"))


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NOT_OURS


def imported(tree: ast.Module) -> Iterator[str]:
    """Modules and names that are imported, wherever in the file, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reached(tree: ast.Module) -> Iterator[str]:
    """Private names of others: attributes that are read or set, imports, and texts that name attributes."""
    for node in ast.walk(tree):
        own = isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "os")
        if isinstance(node, ast.Attribute) and private(node.attr) and not own:
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setattr", "getattr")):
            texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
            yield from (str(t) for t in texts if private(str(t).rpartition(".")[2]))
    yield from (name for name in imported(tree) if private(name.rpartition(".")[2]))


def test_each_folder_is_a_packages() -> None:
    folders = {name.partition("/")[0] for name in SOURCES if "/" in name}
    assert folders - APART <= ROOMS.keys()


@pytest.mark.parametrize("name", TESTED)
def test_a_test_that_is_named_after_a_file_stands_in_its_folder(name: str) -> None:
    folder, file = name.split("/")
    source = file.removeprefix("test_")
    homes = {room for room, path in ROOMS.items() for found in path.rglob(source) if found}
    assert not homes - {"cli"} or folder in homes  # a command is called after its subject


@pytest.mark.parametrize("name", SOURCES)
def test_no_test_imports_another_test(name: str) -> None:
    for module in imported(parsed(name)):
        first, *rest = module.split(".")
        assert first != "tests" or rest[0] == "helpers"
        assert not any(part.startswith("test_") for part in (first, *rest))


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_private_is_patched_or_called(name: str) -> None:
    assert not list(reached(parsed(name)))


def slow(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Names and docstrings of tests that `make test` leaves out, the file's where it is all of them."""
    marked: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Assign)]
    if any(ast.unparse(node) == "pytestmark = pytest.mark.slow" for node in marked):
        yield "the file", ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and "pytest.mark.slow" in map(
            ast.unparse, node.decorator_list
        ):
            yield node.name, ast.get_docstring(node) or ""


def test_a_slow_test_says_what_it_protects() -> None:
    found = {(name, *told) for name in SOURCES for told in slow(parsed(name))}
    assert found
    assert not [(file, name) for file, name, text in found if "Protects " not in text]
