"""The settings with which a checkpoint was trained are read as data, whatever its files hold."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import torch

from harness.train.trained_with import found_in


class Hostile:
    """What makes a folder when it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return self.ran.mkdir, ()


def test_a_pickled_state_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text(json.dumps({"max_steps": 3}))
    torch.save({"base_lrs": Hostile(tmp_path / "ran")}, tmp_path / "scheduler.pt")
    with pytest.raises(UnpicklingError):
        found_in(tmp_path, {})
    assert not (tmp_path / "ran").exists()
