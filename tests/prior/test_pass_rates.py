"""What published rules make of how often a model answers rightly."""

import pytest

from advisor.prior.pass_rates import WAYS, PassRates, Way


def rates(pass_at_1: float, pass_at_k: float) -> PassRates:
    return PassRates(
        prompts=64, samples=16, pass_at_1=pass_at_1, pass_at_1_interval=(0.0, 1.0), pass_at_k=pass_at_k,
        pass_at_k_interval=(0.0, 1.0), between=0.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pass_at_1", "pass_at_k", "way"),
    [
        (0.0, 0.0, "demonstrations"),
        (0.01, 0.09, "demonstrations"),
        (0.01, 0.1, "fine-tuning first"),
        (0.09, 0.9, "fine-tuning first"),
        (0.1, 0.8, "reinforcement"),
        (0.7, 1.0, "reinforcement"),
        (0.8, 1.0, "fine-tuning"),
        (0.95, 1.0, "nothing"),
    ],
)
def test_the_rules_change_their_mind_where_they_say(
    pass_at_1: float, pass_at_k: float, way: Way
) -> None:
    found = rates(pass_at_1, pass_at_k)
    assert found.way == way and found.to_dict()["way"] == way
    assert WAYS[way] in found.words


def test_the_words_say_that_nothing_was_measured_here() -> None:
    words = rates(0.14, 0.84).words
    assert "of 16 answers to each of 64 prompts 14% are right (pass@1), 84% of the prompts" in words
    assert "published for large models, and that are not measured here" in words
