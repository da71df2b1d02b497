"""Starts before and after GRPO on the page and on the screen: the same figures, and what is missing."""

from typing import Any

import numpy as np

from harness.cli.afterwards_table import show_afterwards
from harness.records.arm import Arm
from harness.report.afterwards_view import afterwards_tables
from harness.statistics.paired import paired_difference
from harness.statistics.pass_at_k import Coverage
from harness.study.afterwards import Afterwards, Continued

BEFORE = np.array([[0.0, 50.0, 100.0, 50.0]])
AFTER = BEFORE + np.array([[50.0, 25.0, 0.0, 25.0]])
CHANGE = paired_difference(AFTER, BEFORE)


def found_of(**changes: Any) -> Afterwards:
    row = Continued(
        arm=Arm(objective="nll", learning_rate=1e-3), seeds=(0,), documents=4,
        before={1: 50.0, 16: 75.0}, after={1: 75.0, 16: 74.0}, change={1: CHANGE, 16: CHANGE},
    )  # fmt: skip
    settings: dict[str, Any] = {
        "rows": (row,), "coverage": None, "failed": (), "left": 0, "steps": 40, **changes,
    }  # fmt: skip
    return Afterwards(**settings)


def test_the_page_has_a_row_a_start() -> None:
    [table] = afterwards_tables(found_of())
    [(_, [cells])] = [(heading, list(rows)) for heading, rows in table.groups]
    assert table.columns[:6] == ("start", "seeds", "pass@1", "after", "change", "95 % interval")
    assert cells[:5] == ("nll", "1", "50.0", "75.0", "+25.0")
    assert cells[6:8] == ("75.0", "74.0")
    assert "40 steps of GRPO: points on 4 test documents" in table.caption
    assert afterwards_tables(None) == () == afterwards_tables(found_of(rows=()))


def test_the_screen_says_the_same_and_what_is_left(capsys: Any) -> None:
    narrow = Coverage(items=20, lost=0.3, gained=0.1)
    show_afterwards(found_of(left=2, coverage=narrow))
    said = " ".join(capsys.readouterr().out.split())
    low, high = CHANGE.interval
    assert f"nll 50.0 75.0 +25.0 [{low:+.1f}, {high:+.1f}] 75.0 74.0" in said
    assert "2 start(s) are not continued yet" in said
    assert "rho_16 3.00: on the 20 test documents" in said and "10 of 11" in said
    show_afterwards(None)
    assert not capsys.readouterr().out


def test_a_ratio_up_to_1_promises_nothing() -> None:
    [line] = found_of(coverage=Coverage(items=20, lost=0.1, gained=0.1)).lines
    assert "rho_16 1.00" in line and "10 of 11" not in line
    [none] = found_of(coverage=Coverage(items=0, lost=0.0, gained=0.0)).lines
    assert "there is no rho_16" in none
