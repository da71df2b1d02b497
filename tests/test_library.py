"""`import advisor`: instant, and every public name is there when it is asked for."""

import subprocess
import sys

import pytest

import advisor
from tests.helpers.paths import ROOT

NAMES = [
    "OBJECTIVES", "add_objective_head", "confirm", "get_objective", "load_dataset", "load_model",
    "measure_prior", "objective_loss", "recommend", "train",
]  # fmt: skip


def test_importing_it_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import advisor; advisor.__version__; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "['advisor']"


def test_every_name_is_there() -> None:
    assert advisor.__all__ == NAMES == sorted(NAMES)
    assert set(NAMES) <= set(dir(advisor)) and "__version__" in dir(advisor)
    for name in NAMES:
        found = getattr(advisor, name)
        assert name == "OBJECTIVES" or (found.__name__ == name and found.__doc__)
    assert advisor.OBJECTIVES["cadft"].name == "cadft"
    with pytest.raises(AttributeError, match="module 'advisor' has no attribute 'recomend'"):
        advisor.recomend  # noqa: B018  # type: ignore[attr-defined]
