"""The lines of a plan say what was counted."""

from dataclasses import replace

import pytest

from advisor.advice.calibration import shipped
from advisor.advice.recommend import Recommendation, recommend
from tests.helpers.priors import prior_of, with_model


def line(answer: Recommendation, name: str) -> str:
    (text,) = (text for word, text in answer.facts() if word == name)
    return text


@pytest.mark.parametrize(("mean_p", "temperature"), [(0.78, 1.0), (0.05, 0.0), (0.05, 1.0)])
def test_published_comparisons_are_counted_and_near_ones_apart(
    mean_p: float, temperature: float
) -> None:
    """Breaks where math is counted for figlet: all comparisons together say the opposite of the near ones."""
    how = "sampled" if temperature else "greedy"
    cells = [
        cell
        for cell in shipped().cells
        if cell.domain == "published" and cell.decoding in (how, "unknown")
        and cell.kind != "instruct" and "neg_p" in cell.gains
    ]  # fmt: skip
    near = [cell for cell in cells if cell.mean_p is not None and abs(cell.mean_p - mean_p) < 0.15]
    won, won_near = (sum(cell.gains["neg_p"] > 0 for cell in some) for some in (cells, near))
    text = line(recommend(prior_of(mean_p), temperature=temperature), "published")
    assert f"{won} of {len(cells)} published comparisons with base models" in text
    if near:
        assert f"{won_near} of {len(near)} with a mean p within" in text
        assert won_near == (len(near) if mean_p > 0.5 else 0)
    else:
        assert "none of them tells a mean p near" in text


def test_published_comparisons_with_instruct_models_are_called_so() -> None:
    answer = recommend(with_model(prior_of(0.8), kind="instruct"), temperature=0.0)
    assert "with instruct models" in line(answer, "published")


def test_examples_cut_without_loss_are_not_said_to_have_lost_their_targets() -> None:
    """Breaks where a warning says that 0 examples have no target left."""
    prior = prior_of(0.8, truncated=100)
    texts = [
        warning.text
        for one in (prior, replace(prior, dropped=30))
        for warning in recommend(one, temperature=1.0).warnings
        if warning.code == "truncated"
    ]
    assert ["no target left" in text for text in texts] == [False, True]
    assert "30 of these" in texts[1]
