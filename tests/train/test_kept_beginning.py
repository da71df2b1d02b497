"""From which step a training may go on that becomes another one: the rule of its objective, step by step."""

from pathlib import Path

import pytest

from advisor.objectives.table import get_objective
from harness.train.kept_beginning import is_exact, last_common_step, remove


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.58, 0.7, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 7, 10, 60, 97])
def test_no_step_before_it_is_of_the_second_stage(share: float, steps: int) -> None:
    staged = get_objective(f"nll>neg_p(at={share!r})")
    names = [staged.at(done / steps).name for done in range(steps)]
    step = last_common_step(share, steps, 1)
    assert names[:step] == ["nll"] * step
    assert step == steps - 1 or names[step] == "neg_p"
    for logged in (2, 5, 5.0, 2.5):
        common = last_common_step(share, steps, logged)
        assert common <= step < common + 2 * logged and common % logged == 0


def test_settings_that_nobody_has_tried_are_not_exact() -> None:
    assert is_exact(["num_train_epochs", "lora_r", "warmup_ratio", "adam_beta2", "bf16"])
    assert not is_exact(["num_train_epochs", "setting_of_a_later_version"])


def test_what_is_not_there_is_removed_already(tmp_path: Path) -> None:
    (tmp_path / "there" / "in").mkdir(parents=True)
    for name in ("there", "there", "never"):
        remove(tmp_path / name)
    assert not list(tmp_path.iterdir())
