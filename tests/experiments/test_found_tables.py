"""What the page of the real model says, on a made-up ledger whose regrets and correlations are known."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.experiments.calibration.ledger import CellLine, RunLine, append, pack
from harness.experiments.real import __main__ as command
from harness.experiments.real import found
from harness.experiments.real.found import found_cells, moved, spearman
from harness.experiments.real.found_tables import real_tables
from harness.experiments.real.real_plan import higher_rate, longer, planned_runs
from harness.experiments.real.tidy import COLUMNS
from harness.experiments.staged.plan import write_plan

PLANNED = planned_runs()
CELLS = list(dict.fromkeys(cell for cell, _ in PLANNED))[:4]
ARMS = ("nll", 1e-4), ("p_pow(0.5)", 1e-4), ("cadft(1)", 3e-5)
RIGHT = {ARMS[0]: 80, ARMS[1]: 60, ARMS[2]: 90}
"""Points of some runs; all others have 20."""


def share(points: int, number: int) -> str:
    return pack([row < points * number / 100 for row in range(number)])


def line(cell: str, run: Any, points: int, kl: float) -> RunLine:
    """A run with so many points everywhere, that has lost 10 points on the guards for each nat of `kl`."""
    answers = {
        f"{part}@{heat}": share(points, size)
        for part, size in (("development", 100), ("test", 200))
        for heat in (0, 1)
    }
    guards = {f"{guard}@0": share(round(80 - 10 * kl), 100) for guard in ("capital", "plural")}
    return RunLine(
        cell=cell, objective=run.arm, learning_rate=run.learning_rate, seed=0, seconds=60,
        answers=answers | guards, forgetting={"kl": kl, "text_nll": 4 + kl / 10},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found, "DRAWS", 20)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three whole cells and one that has been begun."""
    folder = tmp_path_factory.mktemp("results")
    write_plan(PLANNED, folder / "real" / "plan.csv")
    plan = [
        {"objective": "p_pow(0.5)", "learning_rate": 1e-4, "below": None},
        {"objective": "cadft(1)", "learning_rate": 3e-5, "below": None},
        {"objective": "nll", "learning_rate": 1e-4, "below": 95.0},
    ]
    ranking = [{"objective": "cadft", "predicted_gain": 5.0, "interval": [-10.0, 20.0]}]
    told = {"regret": 1.8, "plan": plan, "ranking": ranking}
    for number, cell in enumerate(CELLS):
        measured = CellLine(
            cell=cell.name, prior={"mean_p": 0.4}, deep=None, fingerprints={}, environment={},
            forecast={"0": told, "1": told},
        )  # fmt: skip
        append(folder / "real" / "ledger.jsonl", measured)
        runs = [run for of, run in PLANNED if of == cell and not run.note][
            : 3 if number == 3 else 8
        ]
        for at, run in enumerate(runs):
            points = RIGHT.get((run.objective, run.learning_rate or 0), 20)
            append(folder / "real" / "ledger.jsonl", line(cell.name, run, points, at / 2))
    higher = next(run for of, run in higher_rate() if of == CELLS[1])
    append(folder / "real" / "ledger.jsonl", line(CELLS[1].name, higher, 97, 0))
    for points, (_, run) in zip((90, 70, 95, 97), longer(), strict=False):
        append(folder / "real" / "ledger.jsonl", line(CELLS[1].name, run, points, 0))
    for (of, run), points in zip(((CELLS[0], ARMS[0]), (CELLS[1], ARMS[0])), (70, 76), strict=True):
        first = next(
            one for at, one in PLANNED if at == of and (one.objective, one.learning_rate) == run
        )
        again = dataclasses.replace(line(of.name, first, points, 0), seed=1)
        append(folder / "real" / "ledger.jsonl", again)
    return folder


def test_the_higher_rate_takes_the_place_of_the_low_one_where_it_was_run(results: Path) -> None:
    """Breaks where the kept run is not chosen anew, or a cell without that run counts."""
    _, rows = real_tables(results)["higher"]
    assert [row[0] for row in rows] == [f"`{CELLS[1].name}`", "mean of 1"]
    assert rows[0][1:] == ["90.0", "97.0", "80.0"] * 2 + ["90.0", "97.0"] * 2 == rows[1][1:]


def test_four_epochs_stand_beside_one_with_what_the_default_plan_loses_at_each(
    results: Path,
) -> None:
    """Breaks where the plan chooses by the other training, or its regret counts runs that both have not."""
    _, rows = real_tables(results)["longer"]
    assert [row[:2] for row in rows] == [
        [name, how] for how in ("sampled", "greedy") for name in (f"`{CELLS[1].name}`", "mean of 1")
    ]
    shown = ["80.0 → 90.0", "20.0 → 70.0", "90.0 → 95.0", "60.0 → 97.0", "0.0 → 2.0"]
    assert all(row[2:] == shown for row in rows)


def test_second_seeds_are_held_to_the_first_of_the_same_cell(results: Path) -> None:
    _, rows = real_tables(results)["seeds"]
    each = ["80.0", "73.0", "7.0", "10.0"] * 2
    assert rows == [["`nll` at 0.0001", "2", *each], ["all", "2", *each]]


def test_regret_is_of_what_the_development_problems_choose(results: Path) -> None:
    one = found_cells(results)[0]
    assert one.whole and one.plan(1.0) == (ARMS[1], ARMS[2], ARMS[0])
    assert one.regret(one.plan(1.0), 1.0) == 0 and one.regret([ARMS[0]], 0.0) == 10
    assert one.plan(1.0, runs=1) == (ARMS[1],) and one.regret(one.plan(1.0, runs=1), 1.0) == 30
    best = dataclasses.replace(one.runs[ARMS[2]], answers=one.runs[ARMS[2]].answers | {
        "development@1": share(96, 100)
    })  # fmt: skip
    enough = dataclasses.replace(one, runs={**one.runs, ARMS[2]: best})
    assert enough.plan(1.0) == (
        ARMS[1],
        ARMS[2],
    )  # nll is made only where the others score below 95


def test_tables_count_whole_cells_alone(results: Path) -> None:
    tables = real_tables(results)
    _, done = tables["done"]
    assert (
        done[0][3:5] == ("8", "8")
        and done[3][4] == "3"
        and done[-1][3:5] == (str(len(PLANNED)), "27")
    )
    regrets = {row[0]: row[1:] for row in tables["regret"][1]}
    assert regrets["the plan frozen before"] == ["3", "0.0", "0.0", "0.0 (3), 0.0 (3)"]
    assert regrets["`--plan one` as it is now"][1:] == ["70.0", "70.0", "70.0 (3), 70.0 (3)"]
    assert regrets["`--plan two` as it is now"] == regrets["the plan frozen before"]
    assert regrets["nll, high"] == ["3", "10.0", "10.0", "10.0 (3), 10.0 (3)"]
    frozen = tables["frozen"][1]
    assert len(frozen) == 6
    assert frozen[0][2:4] == ["`cadft(1)`", "+5 [-10, +20]"] and frozen[0][5:] == [
        "right",
        "yes",
        "1.8",
        "0.0",
    ]


def test_the_divergence_is_held_against_what_is_lost(results: Path) -> None:
    runs = list(moved(found_cells(results)))
    assert len(runs) == 3 * 7 + 2
    assert runs[0].lost == pytest.approx(5) and runs[0].text == pytest.approx(0.05)
    whole = spearman(runs, "lost")
    assert whole is not None and whole[0] == pytest.approx(1) and whole[1] == pytest.approx(1)
    assert spearman([one for one in runs if one.cell == CELLS[0].name], "lost") is None
    assert real_tables(results)["kl"][1][0][3] == "+1.00 [+1.00, +1.00]"


def test_a_study_that_has_not_begun_has_tables_too(tmp_path: Path) -> None:
    write_plan(PLANNED, tmp_path / "real" / "plan.csv")
    tables = real_tables(tmp_path)
    assert tables["scores"][1] == [] and tables["regret"][1][0][2] == "none yet"


def test_the_records_are_one_tidy_table(
    results: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["real", "--results", str(results / "real"), "table"])
    caplog.set_level("INFO")
    command.main()
    rows = pd.read_parquet(results / "real" / "runs.parquet")
    assert tuple(rows.columns) == COLUMNS and len(rows) == 34 * 6
    nll = rows[(rows.objective == "nll") & (rows.learning_rate == 1e-4) & (rows.part == "test")]
    assert set(nll.points[nll.seed == 1]) == {70, 76}
    nll = nll[nll.seed == 0]
    assert set(nll.points) == {80} and set(nll.documents) == {200} and set(nll.trained) == {1}
