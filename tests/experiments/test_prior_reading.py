"""What the prior reads: the rule of then, the simulated populations, and what the record has to show."""

import json

import numpy as np
import pytest

from harness.experiments.prior_reading import (
    EDGES,
    LOOKS,
    PAIRS,
    RECORD,
    SIMULATIONS,
    answers,
    between,
    columns,
    seen,
    sequence_before,
)
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def record() -> dict:
    found: dict = json.loads((ROOT / RECORD).read_text(encoding="utf-8"))
    return found


def test_the_sequence_of_then_is_what_it_was() -> None:
    """Breaks when "before" is simulated with another interval: ends that commit 590e6fa gave."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(20, 40, 300).astype(float)
    low, high = sequence_before(tokens * rng.beta(6, 4, 300), tokens, 0.05 / 6)
    assert (low, high) == pytest.approx((0.5563834561759586, 0.632921784739007), abs=1e-12)


def test_a_population_has_the_statistics_that_it_is_named_after() -> None:
    """Breaks when a simulated truth lies on the other side of its cut-off."""
    drawn = columns(np.random.default_rng(3), 200_000, **EDGES["spread .151, cut-off .15"])
    found = seen(drawn, "none")
    assert found.mean_p == pytest.approx(0.8, abs=0.002)
    assert found.conflict_share == pytest.approx(0.06, abs=0.001)
    assert found.ignorance_share == pytest.approx(0.02, abs=0.001)
    assert between(drawn).mean() == pytest.approx(0.151**2, rel=0.01)
    assert answers(found)[1] == ("model-strong", "cadft")


def test_the_record_shows_what_the_page_says(record: dict) -> None:
    """Breaks when a rerun no longer reads less, or errs more than is promised."""
    assert set(record["pairs"]) == set(PAIRS) and len(PAIRS) == 10
    for found in record["pairs"].values():
        assert found["after"]["examples"] < found["before"]["examples"]
    slack = 2 * (0.05 * 0.95 / SIMULATIONS) ** 0.5
    for found in record["coverage"].values():
        assert found["after"] <= 0.05 + slack
    for name, found in record["stopping"].items():
        assert found["after"]["wrong"] <= 0.05 + 2 * (0.05 * 0.95 / (SIMULATIONS // 4)) ** 0.5, name
        assert found["after"]["settled"] >= found["before"]["settled"], name
    assert max(LOOKS["after"]) <= max(LOOKS["before"])
