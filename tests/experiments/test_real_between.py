"""A plan for a real cell is chosen on the ladder and on real cells of other skills, as the weight says."""

from types import SimpleNamespace
from typing import Any

import pytest

from harness.experiments.real import between
from harness.experiments.real.between import AMONG, WEIGHTS, weighed
from harness.experiments.real.found_tables import real_tables
from harness.experiments.replay.cells import Scores
from tests.helpers.paths import ROOT

LADDERS, REAL = AMONG[1], AMONG[2]
"""The run that is best on the ladder, and the one that is best on the real cells."""


def cell(skill: str, best: Any = REAL) -> Any:
    """A real cell on which one run loses nothing and any other ten points."""
    points = {run: 90.0 if run == best else 80.0 for run in AMONG}
    scores = Scores(development=points, test=points)
    return SimpleNamespace(cell=SimpleNamespace(skill=skill), scores=lambda heat: scores)


@pytest.fixture
def ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of the ladder on which one run loses nothing, and any other four points."""
    monkeypatch.setattr(between, "later", lambda results, wanted, heat: [])

    def lost(cells: Any, kept: Any) -> Any:
        return SimpleNamespace(mean=0.0 if LADDERS in kept.__self__.runs else 4.0)

    monkeypatch.setattr(between, "lost", lost)


@pytest.mark.usefixtures("ladder")
def test_the_weight_moves_the_choice_from_the_ladder_to_the_real_cells() -> None:
    found = weighed([cell("add"), cell("spell")], ROOT / "results", 1)
    assert [one.weight for one in found] == list(WEIGHTS)
    assert [one.plan for one in found] == [(LADDERS,)] * 2 + [(REAL,)] * 3
    assert [one.sampled for one in found] == [10.0, 10.0, 0.0, 0.0, 0.0]


@pytest.mark.usefixtures("ladder")
def test_cells_of_the_same_skill_do_not_choose() -> None:
    """The plan for `add` is chosen on `spell`, so that what `add` itself would choose counts for nothing."""
    found = weighed(
        [cell("add", AMONG[3]), cell("add", AMONG[3]), cell("spell")], ROOT / "results", 1
    )
    assert found[-1].plan == (REAL,)
    assert found[-1].greedy == pytest.approx(10.0)


def test_one_skill_is_too_few() -> None:
    assert weighed([cell("add"), cell("add")], ROOT / "results", 2) == []


def test_the_readme_says_what_the_records_do() -> None:
    """Breaks where more cells are run and the sentence on the real model stays as it was."""
    rows = {row[0]: row[1:4] for row in real_tables(ROOT / "results")["regret"][1]}
    cells, *plan = rows["`--plan three` as it is now"]
    _, *nll = rows["nll, high"]
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert (
        f"[{cells} cells](docs/real-models.md): the plan lost {plan[0]} points sampled and {plan[1]} "
        f"greedily, NLL alone {nll[0]} and {nll[1]}."
    ) in said
