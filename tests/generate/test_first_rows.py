"""What is said after the first rows, and when it is not."""

import pytest

from harness.generate.first_rows import MENDS, FirstRows
from harness.generate.provenance import FAILED, Outcome


def said_of(*origins: str) -> list[str]:
    """What is said while these rows come in, four by four."""
    said: list[str] = []
    first = FirstRows(said.append, "####")
    outcomes = [Outcome(row=row, origin=origin) for row, origin in enumerate(origins)]
    for end in range(4, len(outcomes) + 1, 4):
        assert first.waits(outcomes[:end]) == (end < 8)
        first.look(outcomes[:end])
    return said


@pytest.mark.parametrize("reason", FAILED)
def test_one_reason_of_all_first_rows_is_said_once_with_a_remedy(reason: str) -> None:
    [line] = said_of(*[reason] * 12)
    assert "first 4 rows" in line and FAILED[reason] in line and "\n" not in line
    assert MENDS[reason].partition("{")[0] in line and "{splitter}" not in line


def test_rows_that_fail_for_several_reasons_or_are_right_say_nothing() -> None:
    assert not said_of(*["wrong", "repeated"] * 6)
    assert not said_of(*["own"] * 12)
    assert not said_of("hinted", *["wrong"] * 11)
    assert not said_of(*["wrong"] * 3)


def test_right_answers_of_its_own_do_not_hide_a_reason() -> None:
    [line] = said_of("own", "wrong", "wrong", "own", "wrong", "wrong", "wrong", "own")
    assert "first 5 rows" in line and "wrong" in line
