"""The study of racing: its plan, what is learnt from incomplete cells, and what policies keep and pay."""

import json
from pathlib import Path

import numpy as np
import pytest

from advisor.advice.belief import Array, Belief, angle_of
from advisor.advice.learnt_belief import shipped
from harness.experiments.calibration.grid import SOME, Cell, read_grid, write_grid
from harness.experiments.race.all_scores import all_scores
from harness.experiments.race.curve_plan import ARMS, HARD, MORE, more_cells
from harness.experiments.race.curves import RACERS, STAGES, CurveCell
from harness.experiments.race.fit_belief import Scored, fit_belief
from harness.experiments.race.race_policies import (
    LOOK,
    engine,
    halving,
    left_out,
    oracle,
    policy_of,
    regret,
    spent,
)
from harness.experiments.replay.ship import PLANS, records_of
from harness.experiments.staged.plan import read_plan, write_plan
from harness.records.arm import BASE
from tests.helpers.paths import ROOT

RESULTS = ROOT / "results"
GRIDS = tuple(RESULTS / "calibration" / name for name in ("fresh.csv", "grid.csv"))
SIZE = len(RACERS) * len(STAGES)


def test_the_plan_is_the_committed_one(tmp_path: Path) -> None:
    grid = [cell for path in GRIDS for cell in read_grid(path)]
    more = more_cells(grid)
    write_grid(more, tmp_path / "more.csv")
    assert (tmp_path / "more.csv").read_bytes() == (RESULTS / "race" / "more.csv").read_bytes()
    assert len(more) == MORE
    assert {(cell.noise, cell.rate) for cell in more} == set(HARD)
    planned = read_plan(RESULTS / "race" / "plan.csv", [*grid, *more])
    write_plan(planned, tmp_path / "plan.csv")
    assert (tmp_path / "plan.csv").read_bytes() == (RESULTS / "race" / "plan.csv").read_bytes()
    cells = list(dict.fromkeys(cell for cell, _ in planned))
    assert set(cells) == {*grid, *more}
    assert {cell.rows for cell in more} == {SOME}
    for cell in cells:
        runs = [run for of, run in planned if of == cell]
        assert runs[0].objective == BASE
        assert [run.objective for run in runs[1:-1]] == [name for name, _ in ARMS]


def test_what_is_shipped_is_of_the_committed_records() -> None:
    """Breaks where ledgers were added and `python -m harness.experiments.race fit` was not run."""
    of_now = records_of(RESULTS)
    assert shipped().records == of_now
    replay = json.loads((RESULTS / "race" / "replay.json").read_text())
    assert replay["records"] == of_now


def made_up(count: int, seed: int = 0) -> tuple[list[Scored], Array, Array]:
    """Cells drawn from a known mean and covariance; two of three have whole runs of some arms alone."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(SIZE, 3)) * 0.15
    covariance = root @ root.T + 0.003 * np.eye(SIZE)
    coefficients = np.vstack([np.full(SIZE, 0.8), *rng.normal(size=(2, SIZE)) * 0.05 + 0.3])
    cells = []
    for number in range(count):
        known = np.array([1.0, rng.uniform(0, 1), rng.uniform(0, 1)])
        angles = rng.multivariate_normal((known - [0, 0.5, 0.5]) @ coefficients, covariance)
        if number % 3:
            whole = np.zeros((len(RACERS), len(STAGES)), dtype=bool)
            whole[number % 2 :: 2, -1] = True
            angles = np.where(whole.ravel(), angles, np.nan)
        cells.append(
            Scored(
                size="m128",
                skill="rev",
                seed=0,
                known=known,
                angles=angles,
                noise=np.full(SIZE, 1e-4),
            )
        )
    return cells, coefficients, covariance


def test_mean_and_covariance_are_found_though_most_scores_are_missing() -> None:
    cells, coefficients, covariance = made_up(1500)
    learnt = fit_belief(cells)
    for known in ([1.0, 0.2, 0.7], [1.0, 0.8, 0.4]):
        found = learnt.belief(np.array(known), len(STAGES)).mean.ravel()
        exact = (np.array(known) - [0, 0.5, 0.5]) @ coefficients
        assert found == pytest.approx(exact, abs=0.04)
    assert learnt.covariance == pytest.approx(covariance, abs=0.02)
    alone = fit_belief([cell for cell in cells if not np.isnan(cell.angles).any()])
    error, by_few = (np.abs(one.covariance - covariance).mean() for one in (learnt, alone))
    assert error < by_few  # the incomplete cells say something too


def test_every_study_says_something_of_the_arms() -> None:
    for temperature in (0.0, 1.0):
        scores = all_scores(RESULTS, temperature)
        there = np.stack([~np.isnan(one.angles) for one in scores]).reshape(
            len(scores), len(RACERS), len(STAGES)
        )
        assert there[:, :, -1].any(axis=0).all()
        assert (there.sum(axis=(1, 2)) > len(RACERS)).any()  # curves
        angles = np.stack([one.angles for one in scores])
        assert np.nanmin(angles) > 0
        assert np.nanmax(angles) < np.pi / 2


def cell_of(shares: Array, seed: int = 0) -> CurveCell:
    """A cell whose arms score so at every stage, on the development and on the test problems alike."""
    rank = np.random.default_rng(seed).random(100)
    return CurveCell(
        cell=Cell(size="m64", seed=0, step=2000, skill="rev", noise="mix", rate=0.4, rows=480),
        fresh=False,
        known=np.array([1.0, *angle_of(np.array([0.2, 0.5]))]),
        development={
            (arm, stage): (rank < shares[arm, stage]).astype(float)
            for arm in range(len(RACERS))
            for stage in range(len(STAGES))
        },
        test=100 * shares[:, -1],
    )


def late() -> CurveCell:
    """The best arm at the end is the worst until then."""
    shares = np.full((len(RACERS), len(STAGES)), 0.4)
    shares[2] = 0.1, 0.1, 0.1, 0.9
    shares[RACERS.index(PLANS["one"].runs[0]), -1] = 0.6
    return cell_of(shares)


def test_what_is_dropped_early_is_not_kept() -> None:
    cell = late()
    assert oracle(cell).kept == 2
    assert halving((0, 0, 0, 1))(cell).kept == 2
    assert halving((4, 2, 1, 0))(cell).kept != 2
    assert halving((0, 0, 0, 1))(cell).cost == pytest.approx(len(RACERS))
    two = policy_of(PLANS["two"])(cell)
    assert (two.cost, regret(cell, two.kept)) == (2, pytest.approx(30))
    assert policy_of(PLANS["three"])(cell).cost == 3
    assert spent([cell, cell], policy_of(PLANS["two"])).mean == pytest.approx(30)


def test_a_race_that_is_sure_pays_for_one_run_and_its_looks() -> None:
    cell = late()
    mean = np.stack([angle_of(np.full(len(STAGES), share)) for share in cell.test / 100])
    sure = Belief(mean=mean, covariance=1e-8 * np.eye(SIZE))
    found = engine(lambda _: sure, 1.0)(cell)
    assert found.kept == 2
    assert found.cost == pytest.approx(1 + (len(STAGES) - 1) * LOOK)


def test_no_cell_is_judged_by_its_own_skill_or_text() -> None:
    cells = [cell_of(np.full((len(RACERS), len(STAGES)), 0.5))]
    scores, _, _ = made_up(30)
    others = [
        Scored(size="m128", skill="add", seed=1, known=s.known, angles=s.angles, noise=s.noise)
        for s in scores
    ]
    strange = [
        Scored(
            size="m128",
            skill=skill,
            seed=seed,
            known=s.known,
            angles=s.angles * 0 + 0.01,
            noise=s.noise,
        )
        for skill, seed in (("rev", 1), ("add", 0))
        for s in scores
    ]
    [apart] = left_out(cells, [*others, *strange]).values()
    assert apart.coefficients == pytest.approx(fit_belief(others).coefficients)
