"""What is believed before a race: shipped, written, read; without preference where nothing was measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advisor.advice.belief import Belief
from advisor.advice.learnt_belief import DOUBT, known_of, read, shipped, write
from advisor.advice.mixture import Mixture
from advisor.errors import InputError


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    before = shipped()
    write(before, tmp_path / "beliefs.json")
    after = read(tmp_path / "beliefs.json")
    assert replace(after, by_decoding={}) == replace(before, by_decoding={})
    known = known_of(0.4, 0.6)
    for how, learnt in before.by_decoding.items():
        found = after.by_decoding[how].belief(known, len(after.at))
        assert found.mean == pytest.approx(learnt.belief(known, len(before.at)).mean)
        assert found.covariance == pytest.approx(learnt.belief(known, len(before.at)).covariance)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}'])
def test_what_is_none_is_refused_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "beliefs.json").write_text(text)
    with pytest.raises(InputError, match="no learnt beliefs"):
        read(tmp_path / "beliefs.json")


@pytest.mark.parametrize("decoding", ["greedy", "sampled"])
def test_of_other_sizes_no_arm_is_preferred(decoding: str) -> None:
    beliefs = shipped()
    given = {"accuracy": 0.3, "mean_p": 0.6}
    mixed = beliefs.belief(decoding, parameters=beliefs.sizes[0], **given)  # type: ignore[arg-type]
    large = beliefs.belief(decoding, parameters=7e9, **given)  # type: ignore[arg-type]
    assert isinstance(mixed, Mixture) and isinstance(large, Belief)
    of_size = mixed.beliefs[0]
    assert np.ptp(of_size.mean[:, -1]) > 0.02
    assert np.ptp(large.mean[:, -1]) == pytest.approx(0)
    assert np.ptp(np.diag(large.finals()[1])) == pytest.approx(0)
    for belief in (of_size, large):
        assert np.linalg.eigvalsh(belief.covariance).min() > 0
    assert beliefs.at[-1] == 1
    assert of_size.shape == (len(beliefs.racers), len(beliefs.at))


def test_what_doubts_the_records_prefers_no_arm_and_keeps_how_they_go_together() -> None:
    beliefs = shipped()
    learnt, shares = beliefs.by_decoding["greedy"], len(beliefs.at)
    mixed = learnt.doubted(known_of(0.3, 0.6), shares)
    trusted, undecided = mixed.beliefs
    assert mixed.odds == (1 - DOUBT, DOUBT)
    assert np.ptp(undecided.mean, axis=0) == pytest.approx(0)
    assert undecided.mean[0] == pytest.approx(trusted.mean.mean(axis=0))
    added = undecided.covariance - trusted.covariance
    assert np.linalg.eigvalsh(added).min() > -1e-12
    arms = len(beliefs.racers)
    ends = added.reshape(arms, shares, arms, shares)[:, -1, :, -1]
    assert ends.sum(axis=0) == pytest.approx(0)  # nothing is added to what all arms have in common
    assert np.trace(ends) > 0
