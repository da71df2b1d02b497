"""The page of the library is what the docstrings say, and they say what a caller has to know."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import advisor
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs" / "api.md"


def test_the_page_is_current(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'docs'); import api; "
        f"api.main(Path({str(tmp_path / 'api.md')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert (tmp_path / "api.md").read_bytes() == PAGE.read_bytes(), "run python docs/api.py"


@pytest.mark.parametrize("name", advisor.__all__)
def test_every_name_has_its_section(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert section
    if name != "OBJECTIVES":
        for part in ("Args:", "Returns:", "Raises:", "`InputError`"):
            assert part in section, part
        parameters = re.findall(r"^    (\w+)[=,]", section, flags=re.M)
        assert all(f"- `{parameter}`: " in section for parameter in parameters)
