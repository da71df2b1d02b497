"""A guard is a task that nothing is trained for: what is none is refused in one line."""

import pytest

from advisor.errors import InputError
from harness.evaluate.guard_tasks import guard_names
from harness.evaluate.lm_eval import questions


def test_a_guard_is_named_as_it_is_scored() -> None:
    assert guard_names(["ladder_add", "ladder_rev"], {"ladder_chain"}, [{"prompt": "none"}]) == (
        "ladder_add", "ladder_rev"
    )  # fmt: skip


def test_the_task_itself_is_no_guard() -> None:
    with pytest.raises(
        InputError, match=r"--guard ladder_add: ladder_add is the task that is trained for"
    ):
        guard_names(["ladder_add"], {"ladder_add"}, [])


@pytest.mark.parametrize(
    "row", [lambda text: {"prompt": f" {text}\n"}, lambda text: {"messages": [{"content": text}]}]
)
def test_a_guard_whose_documents_are_trained_on_is_refused(row: object) -> None:
    one, other, *_ = questions("ladder_add")["ladder_add"]
    assert callable(row)
    with pytest.raises(InputError, match=r"--guard ladder_add: 2 of its \d+ documents stand in"):
        guard_names(["ladder_add"], {"ladder_chain"}, [row(one), row(other), row("another")])
