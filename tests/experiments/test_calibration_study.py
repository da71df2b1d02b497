"""The calibration study: its grid, its ledger, and that a study goes on where it was killed."""

import itertools
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advisor.errors import InputError
from advisor.objectives.table import get_objective
from harness.experiments.calibration import models, run
from harness.experiments.calibration.__main__ import main
from harness.experiments.calibration.grid import Cell, make_fresh, make_grid, read_grid, write_grid
from harness.experiments.calibration.ledger import CellLine, RunLine, append, pack, read, unpack
from harness.ladder import model_folder, skills
from harness.ladder import resolve as resolve_rung
from harness.ladder.ladder_tasks import problem_sets
from tests.helpers.paths import ROOT

GRID = ROOT / "results" / "calibration" / "grid.csv"
CELL = Cell(size="m128", seed=0, step=4000, skill="chain", noise="mix", rate=0.4, rows=96)


def line(number: int = 0) -> RunLine:
    return RunLine(
        cell="a", objective="nll", learning_rate=0.001, seed=number, answers={"test@1": "3:a0"}
    )


def test_the_grid_is_the_committed_one_and_has_what_the_study_asks(tmp_path: Path) -> None:
    cells = make_grid()
    write_grid(cells, tmp_path / "grid.csv")
    assert (tmp_path / "grid.csv").read_bytes() == GRID.read_bytes()
    assert read_grid(GRID) == cells
    assert len({cell.name for cell in cells}) == len(cells) >= 120
    assert len({cell.seed for cell in cells if cell.size == "m128"}) == 3
    assert set(skills.UNKNOWN) <= {cell.skill for cell in cells}
    assert {cell.noise for cell in cells} >= {
        "none", "mix", "systematic", "bare", "filler", "styles", "notation"
    }  # fmt: skip
    assert {cell.rows for cell in cells} == {96, 480, 1920}


def test_the_fresh_cells_are_the_committed_ones_and_new(tmp_path: Path) -> None:
    cells, grid = make_fresh(), make_grid()
    write_grid(cells, tmp_path / "fresh.csv")
    assert (tmp_path / "fresh.csv").read_bytes() == GRID.with_name("fresh.csv").read_bytes()
    assert len({cell.name for cell in cells}) == 12
    assert not {cell.seed for cell in cells} & {cell.seed for cell in grid}
    skilled = [cell for cell in cells if cell.skill not in {cell.skill for cell in grid}]
    assert {(cell.skill, cell.noise) for cell in skilled} == {
        (skill, noise) for skill in ("ring", "top", "sec") for noise in ("none", "mix")
    }
    assert {cell.rows for cell in skilled} == {480, 1920}
    known = [cell for cell in cells if cell not in skilled]
    assert len({cell.skill for cell in known}) == len(known) == 6
    assert {cell.noise for cell in known} == {"none", "mix", "systematic", "styles"}


@pytest.mark.parametrize(
    ("family", "steps"),
    [(("m64", 1), (2000, 4000)), (("m64", 5), (2000,)), (("m128", 3), (2000, 4000))],
)
def test_a_family_is_kept_at_the_steps_of_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: tuple[str, int], steps: tuple[int, ...]
) -> None:
    stops: list[tuple[int, ...]] = []
    monkeypatch.setattr(models, "pretrain", lambda *_, **named: stops.append(named["stops"]) or ())
    models.pretrain_family(tmp_path, *family)
    assert stops == [steps]
    cells = [cell for cell in (*make_grid(), *make_fresh()) if (cell.size, cell.seed) == family]
    assert {cell.step for cell in cells} == set(steps)


def test_fresh_cells_have_a_ledger_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[list[Cell], Path]] = []
    monkeypatch.setattr(
        run, "run_study", lambda cells, **named: given.append((cells, named["results"]))
    )
    words = ["harness.experiments.calibration", "--results", str(tmp_path)]
    for step in (["grid"], ["run"], ["run", "--fresh"]):
        monkeypatch.setattr(sys, "argv", [*words, *step])
        main()
    assert given == [(make_grid(), tmp_path), (make_fresh(), tmp_path / "fresh")]


def test_a_broken_grid_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "grid.csv").write_text("size,seed\nm128,x\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a grid"):
        read_grid(tmp_path / "grid.csv")


def test_an_unknown_family_is_refused_before_any_is_pretrained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(
        models, "pretrain_family", lambda folder, size, seed: made.append((size, seed))
    )
    words = ["harness.experiments.calibration", "models", "--family", "m64-1"]
    monkeypatch.setattr(sys, "argv", [*words, "--family", "m999-0"])
    with pytest.raises(SystemExit) as caught:
        main()
    [said] = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and made == []
    known = "m128-0, m128-1, m128-2, m128-3, m64-0, m64-1, m64-4, m64-5, m256-0"
    assert said.endswith(f"--family m999-0: not one of {known}")
    monkeypatch.setattr(sys, "argv", words)
    main()
    assert made == [("m64", 1)]
    monkeypatch.setattr(sys, "argv", words[:2])
    main()
    assert made[1:] == [("m128", 0), ("m128", 1), ("m128", 2), ("m64", 0), ("m64", 1)]
    monkeypatch.setattr(sys, "argv", [*words[:2], "--fresh"])
    main()
    assert made[6:] == [("m128", 3), ("m64", 4), ("m64", 5)]


def test_every_arm_has_a_label_of_the_table_and_the_same_rates() -> None:
    runs = run.wanted(CELL, 0)
    rates: dict[str, set[float | None]] = {}
    raced = [wanted.objective for wanted in runs if wanted.share < 1]
    assert raced == ["nll", *run.ARMS]
    assert not any(wanted.share < 1 for wanted in run.wanted(CELL, 1))
    for wanted in runs:
        rates.setdefault(wanted.objective, set()).add(wanted.learning_rate)
    assert rates.pop("base") == {None}
    assert rates.pop("nll") == {3e-4, 1e-3, 3e-5, 1e-4}
    assert all(found == {3e-4, 1e-3} for found in rates.values())
    assert all(get_objective(label).label == label for label in rates)


@pytest.mark.parametrize("size", [1, 7, 8, 300])
def test_packed_answers_come_back(size: int) -> None:
    right = np.random.default_rng(size).random(size) < 0.5
    assert unpack(pack(list(right))).tolist() == right.tolist()
    assert pack([True, False, True]) == "3:a0"


def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger-1-of-1.jsonl"
    append(path, line(0))
    whole = path.read_bytes()
    append(path, line(1))
    path.write_bytes(path.read_bytes()[: len(whole) + 20])
    assert [found.seed for found in read(tmp_path)[1]] == [0]
    append(path, line(2))
    append(path, line(2))  # twice in the file, once in the study
    assert [found.seed for found in read(tmp_path)[1]] == [0, 2]
    assert read(tmp_path)[1][0].right("test", 1.0).tolist() == [True, False, True]


def test_a_line_broken_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger-1-of-1.jsonl"
    path.write_text('{"kind": "run", "cel\nx\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"ledger-1-of-1\.jsonl, line 1: broken"):
        read(tmp_path)


def test_demonstrations_hold_no_problem_that_is_scored(tmp_path: Path) -> None:
    folder, _ = resolve_rung("strong")
    cell = Cell(size="m128", seed=0, step=4000, skill="unit", noise="none", rate=0.0, rows=1920)
    bench = run.LadderBench(cell, folder)
    prompts = {bench.demonstrations.raw(i)["prompt"] for i in range(1920)}
    scored = {row["prompt"] for part in problem_sets("unit").values() for row in part}
    assert len(scored) == 400
    assert not prompts & scored


@pytest.mark.slow
def test_a_killed_study_goes_on_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the calibration's hours: killed after every run, the study goes on where it was."""
    root = Path(model_folder(Path(run.__file__).parents[2] / "ladder", "strong"))
    shutil.copytree(root, tmp_path / "models" / CELL.family / "step-4000")
    monkeypatch.setattr(run, "PARTS", ("development",))
    monkeypatch.setattr(run, "TEMPERATURES", (1.0,))

    def measure(bench: run.LadderBench) -> CellLine:
        return CellLine(
            cell=CELL.name, prior={"mean_p": 0.9}, deep=None,
            fingerprints=bench.fingerprints, environment={},
        )  # fmt: skip

    monkeypatch.setattr(run.LadderBench, "measure", measure)
    base, nll, *_, race = run.wanted(CELL, 0)
    chosen = [base, nll, race]
    monkeypatch.setattr(run, "wanted", lambda cell, seed: chosen)
    done: list[str] = []
    for _ in itertools.repeat(None, 4):  # killed after every run

        def kill(progress: run.Progress) -> None:
            done.append(progress.run.objective)
            raise KeyboardInterrupt

        try:
            run.run_study(
                [CELL], models=tmp_path / "models", results=tmp_path, shard=(1, 1), on_run=kill
            )
        except KeyboardInterrupt:
            continue
    assert done == ["base", "nll", run.ARMS[-1]]
    cells, runs = read(tmp_path)
    assert list(cells) == [CELL.name]
    assert [found.share for found in runs] == [1.0, 1.0, run.RACE]
    assert runs[2].last.get("step", 0) <= 8  # of 60
    before, after = (found.right("development", 1.0) for found in runs[:2])
    assert len(before) == len(after) == 100
    assert after.mean() > before.mean() - 0.2
    assert runs[1].last["nll"] > 0
    assert json.loads(next(tmp_path.glob("*.jsonl")).read_text().splitlines()[0])["kind"] == "cell"


def test_a_ledger_of_another_model_is_not_continued(tmp_path: Path) -> None:
    folder, _ = resolve_rung("strong")
    bench = run.LadderBench(CELL, folder)
    other = CellLine(
        cell=CELL.name, prior={}, deep=None, environment={},
        fingerprints={**bench.fingerprints, "model": "another"},
    )  # fmt: skip
    bench.refuse_another(replace(other, fingerprints=bench.fingerprints))
    with pytest.raises(InputError, match="begun with another model"):
        bench.refuse_another(other)
