"""The power formulas against simulated detection and against Miller's formula."""

import json

import numpy as np
import pytest
from scipy import stats

from advisor.errors import InputError
from harness.cli.main import main
from harness.statistics.paired import paired_difference
from harness.statistics.power import (
    Spread,
    documents_needed,
    minimum_detectable,
    sizes_that_settle,
    spread,
    spread_of_accuracy,
)
from tests.helpers.simulated import continuous, differences


@pytest.mark.parametrize(
    ("seeds", "seed_sd"), [(1, 0.0), (3, 0.0), (3, 0.05), (3, 0.5), (5, 0.1), (5, 0.5)]
)
def test_the_detectable_difference_is_detected(seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(4)
    residual = 0.4 if seeds > 1 else 0.0
    document = 0.5 if seeds > 1 else (0.5**2 + 0.4**2) ** 0.5
    assumed = Spread(document=document, seed=seed_sd, residual=residual)
    smallest = minimum_detectable(200, seeds, assumed)
    found = differences(continuous(rng, 2000, seeds, 200, seed_sd, mean=smallest))
    assert np.mean([d.p_value <= 0.05 for d in found]) == pytest.approx(0.8, abs=0.035)


def test_the_seeds_of_both_arms_vary(capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks where the standard deviation of one arm is taken for that of the difference of two."""
    assert main(["power", "--documents", "300", "--seeds", "3", "--seed_sd", "3", "--json"]) == 0
    smallest = json.loads(capsys.readouterr().out)["points"] / 100
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, 0.03, (2, 2000, 3, 1))
    apart = smallest + seeds[0] - seeds[1] + rng.normal(0, 0.5, (2000, 1, 300))
    found = [paired_difference(d, np.zeros(300)).p_value <= 0.05 for d in apart]
    assert np.mean(found) == pytest.approx(0.8, abs=0.035)


def test_power_of_one_seed_is_millers_formula() -> None:
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert documents_needed(0.03, 1, Spread(document=1 / 3)) == pytest.approx(
        (z / 0.09) ** 2, abs=3
    )
    assert documents_needed(0.03, 1, spread_of_accuracy(0.5)) == pytest.approx(2181, abs=3)
    answers = Spread(document=0.3, residual=0.3)
    assert minimum_detectable(5000, 1, answers) == pytest.approx(
        z * np.sqrt((0.09 + 0.09) / 5000), rel=1e-3
    )
    strict = stats.norm.ppf(1 - 0.01 / 2) + stats.norm.ppf(0.8)
    found = minimum_detectable(5000, 1, answers, alpha=0.01)
    assert found == pytest.approx(strict * np.sqrt(0.18 / 5000), rel=1e-3)


def test_what_never_varied_does_not_need_two_documents() -> None:
    """No sample shows a variance of zero: the spread is that of one document won and one lost."""
    alike = np.zeros((3, 80))
    found = spread(alike, alike)
    assert found.document == pytest.approx(80**0.5 * 2**0.5 / 82) and found.seed == 0
    needed = documents_needed(0.01, 3, found)
    assert needed is not None and needed > 1000


def test_sizes_that_settle_are_the_cheapest_that_do() -> None:
    assumed = Spread(document=0.5, seed=0.05, residual=0.4)
    size = sizes_that_settle(0.1, 1, assumed)
    assert size is not None and size[1] >= 2  # one seed settles nothing
    assert minimum_detectable(*size, assumed) <= 0.1
    others = ((documents_needed(0.1, seeds, assumed), seeds) for seeds in (2, 3, 5, 10))
    assert size[0] * size[1] == min(n * seeds for n, seeds in others if n)
    assert sizes_that_settle(0.001, 3, assumed) is None


def test_what_it_would_take() -> None:
    assumed = Spread(document=0.5, seed=0.05, residual=0.4)
    documents = documents_needed(0.25, 3, assumed)
    assert documents is not None
    assert (
        minimum_detectable(documents, 3, assumed)
        <= 0.25
        < minimum_detectable(documents - 1, 3, assumed)
    )
    assert documents_needed(0.05, 3, assumed) is None  # the seeds' spread remains
    with pytest.raises(InputError, match="one seed"):
        minimum_detectable(300, 1, assumed)
    with pytest.raises(InputError, match="plan at least"):
        minimum_detectable(1, 3, assumed)


def test_spread_finds_what_was_simulated() -> None:
    rng = np.random.default_rng(0)
    found = [spread(a, b) for a, b in continuous(rng, 20, 6, 400, 0.1)]
    assert np.sqrt(np.mean([s.document**2 for s in found])) == pytest.approx(0.5, rel=0.05)
    assert np.sqrt(np.mean([s.residual**2 for s in found])) == pytest.approx(0.4, rel=0.05)
    assert np.sqrt(np.mean([s.seed**2 for s in found])) == pytest.approx(0.1, rel=0.25)
    tasks = rng.normal(0, 0.5, 400) + np.repeat([0.9, 0.1], 200)
    within = spread(tasks, np.zeros(400), sizes=(200, 200))
    assert within.document == pytest.approx(0.5, rel=0.1)
    a, b = rng.normal(size=(2, 40))
    assert spread(a, b) == Spread(document=pytest.approx((a - b).std(ddof=1)))  # type: ignore[arg-type]
