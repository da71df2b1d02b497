"""The forecast: levels, the correction by cells nearby, and what is shipped."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from advisor import forecast
from advisor.errors import InputError
from advisor.features import expit, features, logit
from advisor.forecast import Calibration, Cell, Level, Line, expect, read, root, shipped, square
from harness.calibration import ship
from harness.calibration.grid import read_grid
from harness.calibration.ledger import read as read_ledger
from harness.calibration.study import both

RESULTS = Path(__file__).parents[1] / "results"


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


def calibration(*cells: Cell, spread: float = 0.0) -> Calibration:
    levels = [level(("accuracy", "mean_p"), intercept=5.0), level(("mean_p",))]
    return Calibration(
        records="", sizes=(1e5, 1e6), spread=spread,
        levels={"greedy": levels, "sampled": levels}, cells=cells,
    )  # fmt: skip


def cell(mean_p: float, gain: float, *, parameters: float = 7e9, error: float = 2.0) -> Cell:
    return Cell(
        name="c", domain="published", decoding="sampled", parameters=parameters,
        features=features({"mean_p": mean_p}), gains={"neg_p": gain}, error=error,
    )  # fmt: skip


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
    assert found.decided == (found.regret <= forecast.BOUND)


def test_cells_nearby_correct_as_a_gaussian_process_does() -> None:
    cells = [cell(0.8, 25.0), cell(0.6, 9.0, parameters=1e9), cell(0.1, -16.0)]
    known = calibration(*cells, spread=2.0)
    found = known._corrected(
        np.array([1 + 2 * logit(0.7)]), np.array([13**0.5]),
        np.array([logit(0.7), np.log10(7e9)]), cells, known.levels["sampled"],
    )  # fmt: skip
    x = np.array([[c.features["mean_p"], np.log10(c.parameters)] for c in cells])
    residual = root(np.array([25.0, 9.0, -16.0])) - (1 + 2 * x[:, 0])
    error = np.hypot(2.0, forecast.UNSEEN) / (2 * np.sqrt([25.0, 9.0, 16.0]))
    kernel = ConstantKernel(9.0 + 2.0**2, "fixed") * RBF(1.0, "fixed")
    process = GaussianProcessRegressor(kernel, alpha=error**2, optimizer=None).fit(x, residual)
    mean, deviation = process.predict([[logit(0.7), np.log10(7e9)]], return_std=True)
    assert found[0][0] == pytest.approx(1 + 2 * logit(0.7) + mean[0])
    assert found[1][0, 0] == pytest.approx(deviation[0] ** 2)


def test_the_richest_level_that_can_be_read_is_used_and_none_but_mean_p_far_away() -> None:
    known, pair = calibration(), {"temperature": 1.0, "parameters": 8e5}
    rich = known.forecast({"mean_p": 0.5}, {"accuracy": 0.0}, **pair)
    poor = known.forecast({"mean_p": 0.5}, {"accuracy": None}, **pair)
    assert rich.gains["neg_p"] > poor.gains["neg_p"] + 10
    far = known.forecast({"mean_p": 0.5}, {"accuracy": 0.0}, temperature=1.0, parameters=7e9)
    assert far.gains == poor.gains
    wide = calibration(spread=3.0).forecast({"mean_p": 0.5}, None, temperature=1.0, parameters=7e9)
    assert wide.intervals["neg_p"][0] < far.intervals["neg_p"][0] - 10


def test_a_pair_is_judged_on_what_lies_near_it() -> None:
    own = replace(cell(0.8, 5.0), domain="user")
    known = calibration(own, cell(0.5, 1.0))
    at = {"temperature": 1.0, "parameters": 7e9}
    assert known.basis(0.75, **at) == "user" and known.basis(0.3, **at) == "published"
    assert known.basis(0.75, temperature=0.0, parameters=7e9) == "published"
    assert known.basis(0.75, temperature=1.0, parameters=3e5) == "ladder"
    assert [c.gains["neg_p"] for c in known.nearest(0.55, **at)] == [1.0, 5.0]


def test_a_calibration_survives_being_written(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    forecast.write(shipped(), path)
    assert path.read_bytes() == forecast.SHIPPED.read_bytes()
    again = read(path)
    assert again.levels == shipped().levels and list(again.cells) == list(shipped().cells)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "levels": 3}'])
def test_what_is_no_calibration_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"c\.json: not a calibration"):
        read(path)


def test_the_shipped_calibration_is_the_fit_of_the_records() -> None:
    """What `python -m harness.calibration fit` would write, from the records that are here."""
    folder = RESULTS / "calibration"
    measured, runs = read_ledger(folder)
    samples = both(read_grid(folder / "grid.csv"), measured, runs)
    published = ship.published_cells(RESULTS / "published.csv")
    again = ship.calibrate(samples, measured, published, records=ship.records_of(folder))
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


def test_published_cells_left_out_get_their_sign_from_mean_p_alone() -> None:
    ladder = replace(shipped(), cells=[c for c in shipped().cells if c.domain == "ladder"])
    for one in (c for c in shipped().cells if c.domain == "published" and c.features):
        heat = 1.0 if one.decoding == "sampled" else 0.0
        mean_p = one.mean_p
        assert mean_p is not None
        said = ladder.forecast(
            {"mean_p": mean_p}, None, temperature=heat, parameters=one.parameters
        )
        if mean_p > 0.7 or mean_p < 0.1:
            assert (said.gains["neg_p"] > 0) == (one.gains["neg_p"] > 0), one.name


def test_features_and_probabilities_invert() -> None:
    assert expit(logit(0.3)) == pytest.approx(0.3)
    assert features({"nll_before": 1.0}, {"nll_before": 2.0, "nll_after": 0.5}) == {"learned": 1.5}
