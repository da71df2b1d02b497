"""The log of a race: a line a piece, none twice, and what a kill left of one is passed over."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from advisor.advice.belief import Belief
from advisor.errors import InputError
from harness.study.race import Piece, State
from harness.study.race_log import LOG, note, standings


def told(mean: float, *, over: bool = False) -> Any:
    """A race of two arms, the second of which goes on to half of its steps, or that is over."""
    belief = Belief(mean=np.array([[0.5], [mean]]), covariance=0.01 * np.eye(2))
    piece = None if over else Piece(arm=1, share=0, worth=2.0, cost=0.4)
    state = State(belief=belief, leader=1, regret=1.5, chance_over_5=0.1, piece=piece)
    arms = (SimpleNamespace(id="one"), SimpleNamespace(id="two"))
    return SimpleNamespace(arms=arms, shares=(0.5, 1.0), state=state)


def test_every_state_is_kept_once_and_comes_back(tmp_path: Path) -> None:
    for state in (told(0.8), told(0.8), told(0.9), told(0.9, over=True)):
        note(tmp_path, state)
    first, second, last = standings(tmp_path)
    assert (first.next, first.until, first.worth, first.cost) == ("two", 0.5, 2.0, 0.4)
    assert (last.next, last.until, last.worth, last.cost) == (None, None, None, None)
    assert first.points.keys() == {"one", "two"}
    assert first.points["two"] < second.points["two"] == last.points["two"]
    assert first.interval[0] < first.points[first.leader] < first.interval[1]
    assert first.leader == "two" and first.regret == 1.5 and first.chance_over_5 == 0.1


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    note(tmp_path, told(0.8))
    whole = (tmp_path / LOG).read_text()
    (tmp_path / LOG).write_text(f"{whole}{whole[:40]}\n[1]\n{{}}\n{whole}")
    assert standings(tmp_path) == standings(tmp_path)[:1] * 2
    assert standings(tmp_path / "nowhere") == []
    with (tmp_path / LOG).open("a") as file:
        file.write('{"points": ')
    note(tmp_path, told(0.9))
    assert len(standings(tmp_path)) == 3


def test_a_log_that_cannot_be_written_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with pytest.raises(InputError, match=r"race\.jsonl: .*: make room"):
        note(tmp_path, told(0.8))
