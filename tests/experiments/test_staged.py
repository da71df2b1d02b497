"""The study of staged objectives: its plan, what a run loses, and which token is form, skill or noise."""

from pathlib import Path

import pytest

from advisor.errors import InputError
from advisor.objectives.table import get_objective
from harness.experiments.calibration.grid import RATES, Cell, read_grid
from harness.experiments.calibration.ledger import CellLine, RunLine, append, pack, read
from harness.experiments.staged import plan
from harness.experiments.staged.__main__ import main
from harness.experiments.staged.plan import HIGH, LOW, OLD
from harness.experiments.staged.regret import FIRST, KEY, RunKey, loss, scored
from harness.experiments.staged.regret_tables import regret_tables
from harness.experiments.staged.trace import marked
from harness.records.arm import BASE
from tests.helpers.paths import ROOT

RESULTS = ROOT / "results"
CELL = Cell(size="m128", seed=0, step=3000, skill="rev", noise="mix", rate=1.0, rows=480)


def line(cell: Cell, run: RunKey, development: int, test: int) -> RunLine:
    """A run that answers so many of ten problems rightly, sampled and greedily alike."""
    parts = {"development": development, "test": test}
    return RunLine(
        cell=cell.name,
        objective=run[0],
        learning_rate=RATES[cell.size][run[1]],
        seed=0,
        answers={
            f"{part}@{heat}": pack([i < right for i in range(10)])
            for part, right in parts.items()
            for heat in (0, 1)
        },
    )


def test_the_plan_is_the_committed_one(tmp_path: Path) -> None:
    folder = RESULTS / "calibration"
    cells = [*read_grid(folder / "fresh.csv"), *read_grid(folder / "grid.csv")]
    for name in ("plan.csv", "second.csv", "rivals.csv"):
        planned = plan.read_plan(RESULTS / "staged" / name, cells)
        plan.write_plan(planned, tmp_path / name)
        assert (tmp_path / name).read_bytes() == (RESULTS / "staged" / name).read_bytes()
        for cell, run in planned:
            assert run.objective == BASE or get_objective(run.objective).label == run.objective
            assert run.note == "" or run.settings == plan.NOTES[run.note]
            assert cell in cells


def test_a_plan_of_other_cells_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plan.csv").write_text("cell,objective,learning_rate,seed,note\nm1,nll,1e-3,0,\n")
    with pytest.raises(InputError, match="not a plan"):
        plan.read_plan(tmp_path / "plan.csv", [CELL])
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["staged", "--results", str(tmp_path), "run"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "plan.csv: not a plan" in capsys.readouterr().err


def test_regret_is_taken_on_the_test_problems_of_what_development_problems_choose() -> None:
    """NLL counts with the rate that it would keep, though the other one is better in the test."""
    points = {run: (5, 5) for run in KEY}
    points[("nll", HIGH)], points[("nll", LOW)] = (7, 6), (6, 9)
    points[("cadft(1)", LOW)] = (4, 8)
    points[("nll>neg_p(at=0.5)", HIGH)] = (9, 10)
    runs = [line(CELL, run, *both) for run, both in points.items()]
    (case,) = scored([CELL], runs, KEY, 1.0)
    assert case.best(OLD) == pytest.approx(80)
    two = loss([case], [("nll", HIGH), ("cadft(1)", LOW)])
    assert two.old.estimate == pytest.approx(20)
    assert two.all.estimate == pytest.approx(40)
    staged = loss([case], [("nll>neg_p(at=0.5)", HIGH)])
    assert staged.old.estimate == pytest.approx(-20)
    assert (staged.all.estimate, staged.often) == (0, 0)
    assert not scored([CELL], runs[1:], KEY, 1.0)


def test_the_tables_say_what_the_ledger_holds(tmp_path: Path) -> None:
    calibration, staged = tmp_path / "calibration", tmp_path / "staged"
    calibration.mkdir()
    for name in ("grid.csv", "fresh.csv"):
        (calibration / name).write_bytes((RESULTS / "calibration" / name).read_bytes())
    cell = read_grid(calibration / "grid.csv")[0]
    with pytest.raises(InputError, match="no cell has all runs"):
        regret_tables(tmp_path)
    for number, run in enumerate(dict.fromkeys((*KEY, *FIRST))):
        append(staged / "ledger.jsonl", line(cell, run, 5, min(number, 10)))
    found = regret_tables(tmp_path)
    assert {name: len(rows) for name, (_, rows) in found.items()} == {
        "cells": 2, "single": 12, "plans": 8, "kinds": 12, "first": 15, "rivals": 0, "traces": 0, "real": 0
    }  # fmt: skip
    assert all(len(row) == len(head) for head, rows in found.values() for row in rows)
    nll = found["single"][1][0]
    assert nll[:3] == ["`nll`, high", "1", "40.0"]


@pytest.mark.parametrize("noise", ["none", "mix", "systematic", "notation"])
def test_the_first_wrong_token_is_the_noise_and_the_right_one_stands_in_its_place(
    noise: str,
) -> None:
    cell = Cell(size="m128", seed=0, step=1, skill="lin", noise=noise, rate=1.0, rows=480)
    found = marked(cell, 30)
    wrong = [one for one in found if "noise" in one.places.values()]
    assert bool(wrong) == (noise != "none")
    for place, one in enumerate(found):
        text = one.row["completion"] + "$"
        if one in wrong:
            right = found[place + 1]
            ((at, kind),) = right.places.items()
            assert kind == "right"
            assert [at] == list(one.places)
            assert right.row["completion"][:at] == one.row["completion"][:at]
            assert (right.row["completion"] + "$")[at] != text[at]
        elif "right" not in one.places.values():
            assert [text[at] in "#,$" for at in one.places] == [
                kind == "form" for kind in one.places.values()
            ]
            assert len(one.places) == len(text)


def test_the_committed_ledger_is_of_the_plan() -> None:
    """A run that nobody planned would count in no table and mislead who reads the file."""
    folder = RESULTS / "calibration"
    cells = [*read_grid(folder / "fresh.csv"), *read_grid(folder / "grid.csv")]
    planned = {
        (cell.name, run.arm, run.learning_rate, run.seed, run.share)
        for path in (RESULTS / "staged").glob("*.csv")
        if not path.name.startswith("real")
        for cell, run in plan.read_plan(path, cells)
    }
    measured, runs = read(RESULTS / "staged")
    assert {run.key for run in runs} <= planned
    assert {run.cell for run in runs} == set(measured)
    assert all(isinstance(found, CellLine) for found in measured.values())
