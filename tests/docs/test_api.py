"""The page of the library is what the docstrings say, and they say what a caller has to know."""

import re

import pytest

import advisor
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs" / "api.md"


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
