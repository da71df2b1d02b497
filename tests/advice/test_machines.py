"""What a plan takes on another machine: against sums by hand, and what is refused."""

from dataclasses import replace

import pytest

from advisor.advice.machines import CORE, elsewhere, machine_of
from advisor.advice.recommend import recommend
from advisor.errors import InputError
from tests.helpers.priors import prior_of, with_model

LARGE = replace(
    with_model(prior_of(0.8), parameters=4_500_000_000, dtype="bfloat16"),
    examples=500,
    tokens=250_000,
)
"""500 tokens a row, 100 of them targets; 50,000 rows."""


def test_training_is_six_operations_a_parameter_and_token() -> None:
    """Breaks where the backward pass, the prompts or the share of peak are left out."""
    found = elsewhere(machine_of("h100"), LARGE, runs=1, answers=0)
    seconds = 6 * 4.5e9 * 50_000 * 500 / (0.3 * 989e12) + 0.03 * 6250
    assert found.minutes == pytest.approx(seconds / 60)
    half = elsewhere(machine_of("h100x2"), LARGE, runs=1, answers=0)
    assert half.minutes == pytest.approx((seconds + 0.03 * 6250) / 2 / 60)
    assert (found.needed, found.memory) == (72e9, 80e9)  # 4 numbers of 4 bytes


def test_a_step_of_decoding_is_bound_by_bandwidth_where_that_is_slower() -> None:
    """Breaks where 64 answers are taken to read the weights 64 times, or their prompts are free."""

    def seconds(answers: int) -> float:
        both = [
            elsewhere(machine_of("h100"), LARGE, runs=1, answers=n).minutes for n in (answers, 0)
        ]
        assert both[0] is not None and both[1] is not None
        return 60 * (both[0] - both[1])

    prompts = 2 * 4.5e9 * 64 * 400 / (0.3 * 989e12)
    assert seconds(64) == pytest.approx(100 * (0.004 + 9e9 / (0.6 * 3.35e12)) + prompts)
    assert seconds(65) > 1.9 * seconds(64) - prompts


def test_what_does_not_fit_is_said_and_has_no_minutes() -> None:
    answer = recommend(LARGE, temperature=0.0, machine=machine_of("rtx4090"))
    assert answer.plan.elsewhere is not None and answer.plan.elsewhere.minutes is None
    assert "does not fit on rtx4090" in str(answer) and "72 GB of 24 GB" in str(answer)
    fits = recommend(LARGE, temperature=0.0, machine=machine_of("h100x8"))
    assert "h on h100x8" in str(fits) or "min on h100x8" in str(fits)
    spread = recommend(
        LARGE, temperature=0.0, machine=machine_of("rtx4090x8")
    )  # a run has one device
    assert spread.plan.elsewhere is not None and spread.plan.elsewhere.minutes is None
    assert "72 GB of 24 GB of a device" in str(spread) and "or spread it with FSDP2" in str(spread)
    plain = recommend(LARGE, temperature=0.0)
    assert plain.plan.elsewhere is None and plain.to_dict()["plan"]["elsewhere"] is None


def test_a_core_and_many() -> None:
    assert CORE.peak == pytest.approx(78.4e9) and machine_of("cpu4").peak == 4 * CORE.peak
    assert machine_of("H200x8").memory == 8 * 141e9


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("h1000", "did you mean h100"),
        ("h100x0", "did you mean h100x8"),
        ("cpu", "cpu2"),
        ("", "cpu2"),
    ],
)
def test_unknown_machines_are_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        machine_of(name)


def test_a_prior_of_an_earlier_version_is_refused() -> None:
    with pytest.raises(InputError, match="measure it again"):
        elsewhere(machine_of("h100"), replace(LARGE, tokens=None), runs=1, answers=1)
