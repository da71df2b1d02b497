"""The documentation says what the program does: tables, pictures, links, commands."""

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.cli.parser import build_parser
from tests.helpers.documentation import DOCS, build, figures
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in build.PAGES if page != "docs/templates.md"])
def test_the_tables_of_a_page_are_current(page: str) -> None:
    """Those of `templates.md` are checked where they are measured: tests/chat/test_packaged_templates.py."""
    right = build.built(page)
    assert (ROOT / page).read_text(encoding="utf-8") == right, f"run python docs/build.py {page}"


def test_the_picture_of_the_readme_is_current_and_the_only_one_committed() -> None:
    assert f"]({build.PICTURE})" in README
    assert [path.name for path in DOCS.glob("*.svg")] == [Path(build.PICTURE).name]
    if not build.pinned():
        pytest.skip("another matplotlib draws other bytes")
    assert (ROOT / build.PICTURE).read_text(encoding="utf-8") == figures.continuum()


@pytest.mark.slow
def test_every_figure_is_drawn_and_named_in_a_page(tmp_path: Path) -> None:
    """Protects the figures, which are built and not committed: each is drawn and stands in a page."""
    build.draw(tmp_path)
    pages = " ".join(
        path.read_text(encoding="utf-8") for path in (*DOCS.glob("*.md"), ROOT / "README.md")
    )
    written = sorted(tmp_path.iterdir())
    assert [path.stem for path in written] == sorted(figures.FIGURES)
    for path in written:
        assert path.name in pages
        assert "currentColor" not in path.read_text(encoding="utf-8")
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("no place", {"a": "x"}),
        ("<!-- table: a -->\n<!-- end -->", {}),
        ("<!-- table: a -->\n<!-- end -->\n<!-- table: a -->\n<!-- end -->", {"a": "x"}),
    ],
    ids=["no place", "no table", "two places"],
)
def test_a_table_that_would_not_be_seen_is_an_error(text: str, tables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="places of the page"):
        build.filled(text, tables)


def test_a_table_replaces_what_stood_in_its_place_and_nothing_else() -> None:
    first, second, end = "<!-- table: a -->\n", "<!-- table: b -->\n", "<!-- end -->\n"
    text = f"before\n{first}old\n{end}between\n{second}{end}after"
    tables = {"a": r"new \1", "b": "| x |"}
    found = build.filled(text, tables)
    assert found == f"before\n{first}new \\1\n{end}between\n{second}| x |\n{end}after"
    assert build.filled(found, tables) == found


def test_every_file_of_the_ten_tasks_exists() -> None:
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:advisor|harness|tests)/[\w/.]+)`", text)
    assert len(set(named)) >= 15
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_test_that_the_security_page_names_exists() -> None:
    named = re.findall(
        r"`(tests/[\w/.]+)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    )
    assert len(named) >= 11
    absent = [
        f for f, test in named if f"def {test}(" not in (ROOT / f).read_text(encoding="utf-8")
    ]
    assert absent == []


def test_the_tour_names_every_package() -> None:
    tour = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for package in ("advisor", "harness"):
        for path in (ROOT / package).glob("*/[a-z]*.py"):
            assert f"\n`{path.parent.relative_to(ROOT)}`: " in tour


@pytest.mark.parametrize(
    "page", ["README.md", "docs/commands.md", "docs/confirm.md", "docs/choosing.md"]
)
def test_every_command_of_a_page_parses(page: str) -> None:
    parser = build_parser()
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = re.findall(r"^ *advisor ([a-z]+ [^\n#]*)", text, flags=re.M)
    assert len(commands) >= 2
    for command in commands:
        parser.parse_args(shlex.split(command))


def test_every_command_has_its_line() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    text = build_parser().format_help()
    for command in re.findall(r"^    (\w+) ", text, flags=re.M):
        assert f"\n    advisor {command}" in page


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_readme_quotes_the_example_that_is_run() -> None:
    example = (DOCS / "library_example.py").read_text(encoding="utf-8").split('"""\n', 1)[1].strip()
    assert f"```python\n{example}\n```" in README
