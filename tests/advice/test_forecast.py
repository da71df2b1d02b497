"""The forecast and its calibration: levels, the correction by cells that are akin, what is shipped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from advisor.advice import calibration as calibrated
from advisor.advice.calibration import Calibration, Cell, Kinship, Pair, read, shipped
from advisor.advice.features import expit, features, logit
from advisor.advice.forecast import ALIKE, BOUND, Level, Line, expect, forecast_of, root, square
from advisor.errors import InputError
from harness.cli.main import main
from harness.experiments.calibration import ship
from harness.experiments.calibration.findings import described
from harness.experiments.calibration.grid import read_grid
from harness.experiments.calibration.ledger import read as read_ledger
from harness.experiments.calibration.study import both
from tests.helpers.paths import ROOT

RESULTS = ROOT / "results"


def level(
    names: tuple[str, ...], intercept: float = 1.0, slope: float = 2.0, noise: float = 9.0
) -> Level:
    """One arm, whose root gain is intercept + slope * the first feature."""
    size = len(names)
    coefficients = (slope, *[0.0] * (size - 1)) if names else ()
    covariance = tuple(tuple(0.0 for _ in names) for _ in names)
    line = Line(intercept=intercept, coefficients=coefficients, covariance=covariance, noise=noise)
    return Level(
        names=names, mean=(0.0,) * size, scale=(1.0,) * size, lines={"neg_p": line},
        correlation=((1.0,),),
    )  # fmt: skip


def calibration(*cells: Cell, spread: float = 0.0, other: float = 0.0) -> Calibration:
    levels = [level(("accuracy", "mean_p"), intercept=5.0), level(("mean_p",))]
    return Calibration(
        records="", sizes=(1e5, 1e6), spread=spread, kinship=Kinship(dataset=0.4, other=other),
        order={"greedy": (), "sampled": ()},
        levels={"greedy": levels, "sampled": levels}, cells=cells,
    )  # fmt: skip


def pair(mean_p: float, **changes: Any) -> Pair:
    given = {
        "features": features({"mean_p": mean_p}), "parameters": 7e9, "decoding": "sampled",
        "model": "m", "dataset": "d", **changes,
    }  # fmt: skip
    return Pair(**given)


def cell(mean_p: float, gain: float, **changes: Any) -> Cell:
    given = {
        "name": "c", "domain": "user", "gains": {"neg_p": gain}, "error": 2.0,
        **vars(pair(mean_p)), **changes,
    }  # fmt: skip
    return Cell(**given)


def test_roots_are_inverted_and_no_gain_exceeds_a_hundred() -> None:
    gains = np.array([-99.0, -4.0, 0.0, 0.25, 81.0])
    np.testing.assert_allclose(square(root(gains)), gains)
    assert square(12.0) == 100 and square(-12.0) == -100


def test_regret_and_interval_are_those_of_the_normal_distribution() -> None:
    found = expect(level(("mean_p",)), {"mean_p": 0.5})  # root gain is normal(2, 3)
    density = norm(2, 3)
    lost, _ = quad(lambda x: density.pdf(x) * min(x * x, 100), -40, 0)
    won, _ = quad(lambda x: density.pdf(x) * min(x * x, 100), 0, 40)
    assert found.gains["neg_p"] == pytest.approx(won - lost, abs=0.8)
    assert (found.recommended, found.regret) == ("neg_p", pytest.approx(lost, abs=0.4))
    assert found.intervals["neg_p"][0] == pytest.approx(float(square(density.ppf(0.025))), abs=2)
    assert found.p_best["neg_p"] == pytest.approx(density.sf(0), abs=0.03)
    assert sum(found.p_best.values()) == pytest.approx(1)
    other = expect(level(("mean_p",), intercept=-3.0), {"mean_p": 0.5})  # normal(-2, 3)
    assert (other.recommended, other.regret) == ("nll", pytest.approx(lost, abs=0.4))
    assert found.decided == (found.regret <= BOUND)
    assert other.regrets["neg_p"] == pytest.approx(
        won, abs=0.8
    )  # it loses where the other side wins


def test_probabilities_of_being_best_sum_to_one_beyond_the_largest_gain() -> None:
    found = forecast_of(("a", "b"), np.array([30.0, 30.0]), np.eye(2))
    assert found.gains == {"nll": 0, "a": 100, "b": 100}
    assert sum(found.p_best.values()) == pytest.approx(1) and 0.4 < found.p_best["a"] < 0.6


def test_of_arms_that_are_alike_the_one_with_the_best_record_leads() -> None:
    covariance = 0.01 * np.eye(3)
    means = root(np.array([12.0, 12.0 - 0.5 * ALIKE, 12.0 - 2 * ALIKE]))
    found = forecast_of(("a", "b", "c"), means, covariance, ("c", "b", "a"))
    assert found.ranking == ("b", "a", "c", "nll")
    lost = forecast_of(("a", "b", "c"), -means, covariance, ("c", "b", "a"))
    assert lost.recommended == "nll"


def test_cells_correct_as_a_gaussian_process_does() -> None:
    akin = {"model": "other", "dataset": "d"}
    cells = [cell(0.8, 25.0, **akin), cell(0.6, 9.0, parameters=2.1e9), cell(0.1, -16.0, **akin)]
    known = calibration(*cells, spread=2.0)
    target = pair(0.7, model="new")
    found = known.corrected(
        np.array([1 + 2 * logit(0.7)]), np.array([13**0.5]), target, cells, known.levels["sampled"]
    )
    x = np.array([one.place for one in cells])
    residual = root(np.array([25.0, 9.0, -16.0])) - (1 + 2 * x[:, 0])
    error = np.hypot(2.0, calibrated.UNSEEN) / (2 * np.sqrt([25.0, 9.0, 16.0]))
    # All of one dataset, two of one model: what is peculiar to a pair is noise to the others.
    kernel = ConstantKernel(0.4 * 13, "fixed") * RBF(1.0, "fixed")
    own = 0.6 * 13 * np.eye(3)
    own[0, 2] = own[2, 0] = 0.6 * 13 * np.exp(-0.5 * np.sum((x[0] - x[2]) ** 2))
    covariance = kernel(x) + own + np.diag(error**2)
    to = kernel(target.place[None], x)
    assert found[0][0] == pytest.approx(
        1 + 2 * logit(0.7) + float((to @ np.linalg.solve(covariance, residual))[0])
    )
    assert found[1][0, 0] == pytest.approx(
        13 - float((to @ np.linalg.solve(covariance, to.T))[0, 0])
    )


def test_one_cell_is_corrected_as_scikit_learn_does() -> None:
    one = cell(0.8, 25.0)
    known = calibration(one, spread=2.0)
    found = known.forecast(pair(0.7))
    residual = root(25.0) - (1 + 2 * logit(0.8))
    alpha = (np.hypot(2.0, calibrated.UNSEEN) / (2 * 5.0)) ** 2
    process = GaussianProcessRegressor(
        ConstantKernel(13.0, "fixed") * RBF(1.0, "fixed"), alpha=alpha, optimizer=None
    ).fit([one.place], [residual])
    mean, deviation = process.predict([pair(0.7).place], return_std=True)
    same = forecast_of(("neg_p",), 1 + 2 * logit(0.7) + mean, np.array([[deviation[0] ** 2]]))
    assert found.gains == pytest.approx(same.gains)


def test_cells_of_other_datasets_tell_nothing_where_the_ladder_says_so() -> None:
    alone = calibration().forecast(pair(0.7))
    near = calibration(*(cell(0.7, -60.0, dataset=str(i)) for i in range(5)))
    assert near.forecast(pair(0.7)).gains == alone.gains
    assert near.basis(pair(0.7)) == "published"
    akin = calibration(cell(0.7, -60.0, model="other"))
    same = calibration(cell(0.7, -60.0))
    moved = [known.forecast(pair(0.7)).gains["neg_p"] for known in (same, akin)]
    assert moved[0] < -40 and moved[0] < moved[1] < alone.gains["neg_p"]


def test_own_losses_are_not_answered_with_an_arm_that_was_not_tried() -> None:
    known = replace(
        shipped(), cells=[*shipped().cells, cell(0.8, -20.0, dataset="theirs", error=1.0)]
    )
    said = known.forecast(pair(0.8, dataset="theirs"))
    assert said.recommended == "nll" and said.gains["threshold(0.2)"] < 0


def test_an_own_cell_is_read_as_the_pair_is() -> None:
    known, small = calibration(cell(0.5, 25.0, parameters=8e5)), {"parameters": 8e5}
    rich = pair(0.5, features=features({"mean_p": 0.5}) | {"accuracy": 0.0}, **small)
    assert known.forecast(rich).gains == known.forecast(pair(0.5, **small)).gains


def test_the_richest_level_that_can_be_read_is_used_and_none_but_mean_p_far_away() -> None:
    known = calibration()
    both_read = features({"mean_p": 0.5}) | {"accuracy": 0.0}
    rich = known.forecast(pair(0.5, features=both_read, parameters=8e5))
    poor = known.forecast(pair(0.5, parameters=8e5))
    assert rich.gains["neg_p"] > poor.gains["neg_p"] + 10
    far = known.forecast(pair(0.5, features=both_read))
    assert far.gains == poor.gains
    wide = calibration(spread=3.0).forecast(pair(0.5))
    assert wide.intervals["neg_p"][0] < far.intervals["neg_p"][0] - 10
    assert (
        known.outside(pair(0.5, parameters=1.1e6)) == 0 < known.outside(pair(0.5, parameters=3e6))
    )


def test_a_pair_is_judged_on_what_is_akin_to_it() -> None:
    known = calibration(cell(0.8, 5.0), cell(0.5, 1.0, dataset="e", domain="published"))
    assert known.basis(pair(0.75)) == "user" and known.basis(pair(0.75, dataset="f")) == "published"
    assert known.basis(pair(0.1)) == "published"  # too far for one correlation
    assert known.basis(pair(0.75, decoding="greedy")) == "published"
    assert known.basis(pair(0.75, dataset="f", parameters=3e5)) == "ladder"
    assert known.basis(pair(0.75, dataset="f", parameters=3e5, kind="instruct")) == "published"
    assert known.basis(pair(0.75, kind="instruct")) == "published"  # base models tell it nothing
    own = calibration(cell(0.8, 5.0, kind="instruct"))
    assert own.basis(pair(0.75, kind="instruct")) == "user" and own.basis(pair(0.75)) == "published"
    assert [c.gains["neg_p"] for c in known.nearest(pair(0.5))] == [5.0, 1.0]  # its dataset first
    foreign = calibration(cell(0.8, 5.0, gains={"dpo": 5.0}), cell(0.8, 5.0, gains={}))
    assert foreign.basis(pair(0.8)) == "published"
    assert foreign.forecast(pair(0.8)).gains == calibration().forecast(pair(0.8)).gains


def test_a_calibration_survives_being_written(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    calibrated.write(shipped(), path)
    assert path.read_bytes() == calibrated.SHIPPED.read_bytes()
    again = read(path)
    assert again.levels == shipped().levels and list(again.cells) == list(shipped().cells)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "levels": 3}'])
def test_what_is_no_calibration_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"c\.json: not a calibration"):
        read(path)


def test_the_shipped_calibration_is_the_fit_of_the_records() -> None:
    """What `python -m harness.experiments.calibration fit` would write, from the records that are here."""
    folder = RESULTS / "calibration"
    measured, runs = read_ledger(folder)
    cells = read_grid(folder / "grid.csv")
    samples = both(cells, measured, runs)
    words = {cell.name: described(cell) for cell in cells}
    published = ship.published_cells(RESULTS / "published.csv")
    again = ship.calibrate(
        samples, measured, published, records=ship.records_of(folder), words=words
    )
    assert again.records == shipped().records, "run `make calibrate`"
    for how, levels in again.levels.items():
        for mine, theirs in zip(levels, shipped().levels[how], strict=True):
            assert mine.names == theirs.names
            for arm, line in mine.lines.items():
                there = theirs.lines[arm]
                assert line.intercept == pytest.approx(there.intercept, rel=1e-3, abs=1e-3)
                assert line.coefficients == pytest.approx(there.coefficients, rel=1e-3, abs=1e-3)
                assert line.noise == pytest.approx(there.noise, rel=1e-3)
    held_out = json.loads((folder / "held-out.json").read_text())
    assert held_out["records"] == again.records


def test_published_strong_and_weak_cells_get_their_sign_from_mean_p_alone() -> None:
    ladder = replace(shipped(), cells=[c for c in shipped().cells if c.domain == "ladder"])
    ends = [
        cell
        for cell in shipped().cells
        if cell.domain == "published" and cell.mean_p and not 0.1 < cell.mean_p < 0.7
    ]
    assert {one.decoding for one in ends} == {"greedy", "sampled"} and len(ends) == 8
    for one in ends:
        assert (ladder.forecast(one).gains["neg_p"] > 0) == (one.gains["neg_p"] > 0), one.name


def test_features_and_probabilities_invert() -> None:
    assert expit(logit(0.3)) == pytest.approx(0.3)
    assert features({"nll_before": 1.0}, {"nll_before": 2.0, "nll_after": 0.5}) == {"learned": 1.5}
    answered = {"accuracy": 0.5, "temperature": 0.0}  # not as the cells were measured
    assert features(None, answered) == {}
    assert features(None, {**answered, "temperature": 1.0}) == {"accuracy": 0.5}


KEPT = ROOT / "tests" / "helpers" / "kept"
"""Calibrations as earlier versions wrote them, with two cells each."""


def test_calibrations_of_earlier_versions_are_read_or_refused_with_the_remedy(capsys: Any) -> None:
    assert len(calibrated.read(KEPT / "calibration-1.json").cells) == 2
    words = [
        "recommend",
        "--prior",
        str(KEPT / "prior-first.json"),
        "--temperature",
        "1",
        "--calibration",
    ]
    assert main([*words, str(KEPT / "calibration-1.json")]) == 0
    assert main([*words, str(KEPT / "calibration-1-without-kinship.json")]) == 2
    said = capsys.readouterr().err.strip()
    assert "calibration lacks 'kinship'" in said and "write one with `advisor calibrate`" in said
    assert len(said.splitlines()) == 1
