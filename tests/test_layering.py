"""Which package may import which, and what each command costs to import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPOSITION = ("cli.py", "commands.py", "training_commands.py")
"""They know both sides."""
CORE = sorted((ROOT / "advisor").glob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_never_imports_the_harness(path: Path) -> None:
    if path.name not in COMPOSITION:
        assert "harness" not in imported(path)


@pytest.mark.parametrize(
    "name", ["objectives", "recommend", "deep", "cautions", "sequential", "export", "errors"]
)
def test_deciding_imports_no_torch(name: str) -> None:
    tree = ast.parse((ROOT / "advisor" / f"{name}.py").read_text(encoding="utf-8"))
    outside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    typing_only = {id(inner) for block in outside for inner in ast.walk(block)}
    modules = {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and id(node) not in typing_only
    }
    assert not modules & {"torch", "transformers", "trl", "datasets"}
