"""The documentation says what the program does: figures, file tree, commands."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from harness.cli.parser import build_parser
from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_generated_files_are_current(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'docs'); import generate; "
        f"generate.main(Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    written = {path.name: path for path in tmp_path.iterdir()}
    assert set(written) == {
        "better-targets.md",
        "objectives.md",
        "speed.md",
        "what-predicts-the-winner.md",
        *(path.name for path in DOCS.glob("*.svg")),
    }
    if f"matplotlib=={version('matplotlib')}" not in (ROOT / "constraints.txt").read_text():
        # another draws with other bytes
        written = {name: path for name, path in written.items() if path.suffix == ".md"}
    for name, path in written.items():
        assert path.read_bytes() == (DOCS / name).read_bytes(), "run python docs/generate.py"


def test_the_table_of_rules_in_the_readme_is_current(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(README, encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'docs'); import predictors; "
        f"predictors.write_readme(Path({str(path)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert path.read_text(encoding="utf-8") == README and "| always nll |" in README


def test_links_and_pictures_of_the_documentation_exist() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / target).exists(), (page.name, target)
        anchors = re.findall(r"\]\(#([^)]+)\)", text)
        assert set(anchors) <= set(re.findall(r"^#+ (\S+)$", text, flags=re.M))


def test_the_tour_is_current(tmp_path: Path) -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        (tmp_path / page).write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'docs'); import tour; "
        f"tour.main(Path({str(tmp_path)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    for page in ("README.md", "CONTRIBUTING.md"):
        assert (tmp_path / page).read_text() == (ROOT / page).read_text(), "run python docs/tour.py"
    assert "harness/cli" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_of_the_readme_parses() -> None:
    parser = build_parser()
    commands = re.findall(
        r"^ *(?:\$ )?advisor ((?:recommend|validate|train|confirm|compare|calibrate|power|ls|env)\b[^\n#]*)",
        README,
        flags=re.M,
    )
    assert len(commands) >= 3
    for command in commands:
        parser.parse_args(command.split())


def test_every_command_is_in_the_readme() -> None:
    text = build_parser().format_help()
    for command in re.findall(r"^    (\w+) ", text, flags=re.M):
        assert f"advisor {command}" in README
