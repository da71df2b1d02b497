"""Which checkpoint a training goes on from, and that it was made with the same settings.

A trainer takes over weights, optimiser and step from a checkpoint, whatever minimised what before. So what
is minimised, in which model and on which data, is kept in the checkpoint's `trainer_state.json` and compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from advisor.errors import InputError

STATE = "trainer_state.json"
Settings = Mapping[str, str | float | bool | None]
"""Flag, MODEL or DATASET to value; False and None are a flag that was not given."""


class MadeWith(TrainerCallback, ExportableState):
    """Keeps settings in every checkpoint, written together with the rest of the trainer's state."""

    def __init__(self, settings: Settings) -> None:
        """`settings` are what `refuse_others` compares."""
        self.settings = dict(settings)

    def state(self) -> dict[str, Any]:
        """What Trainer saves of a callback."""
        return {"args": {"settings": self.settings}, "attributes": {}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Trainer knows callbacks that stand in the checkpoint alone; in an older one this does not."""
        state.stateful_callbacks[type(self).__name__] = self.state()


def find_checkpoint(config: Any) -> str | None:
    """What `--resume_from_checkpoint` names: a folder, or with `true` the newest of the output folder.

    Raises:
        InputError: a folder that is no whole checkpoint.
    """
    text: str | None = config.resume_from_checkpoint
    if text is None or text.lower() in ("false", "0"):
        return None
    if text.lower() in ("true", "1"):
        return newest_checkpoint(config.output_dir)
    if _step(Path(text)) is None:
        raise InputError(
            f"--resume_from_checkpoint {text}: no checkpoint that was written to its end; name a folder "
            "checkpoint-N, or say true for the newest of --output_dir"
        )
    return text


def newest_checkpoint(folder: str) -> str | None:
    """The newest checkpoint that was written to its end; None where there is none.

    A process killed while it writes one leaves a part. Trainer writes `trainer_state.json` last.
    """
    steps = {path: _step(path) for path in Path(folder).glob("checkpoint-*")}
    whole = {path: step for path, step in steps.items() if step is not None}
    return str(max(whole, key=whole.__getitem__)) if whole else None


def refuse_others(checkpoint: str | None, settings: Settings) -> None:
    """Raise InputError at the first setting that is not the checkpoint's; older ones name none."""
    if checkpoint is None:
        return
    state = json.loads((Path(checkpoint) / STATE).read_text(encoding="utf-8"))
    found = (state.get("stateful_callbacks") or {}).get(MadeWith.__name__)
    before: Settings = found["args"]["settings"] if found else {}
    for flag, value in settings.items():
        old = before.get(flag, value)
        if old != value:
            mend = f"leave {flag} out" if _absent(old) else f"give {_words(flag, old)}"
            raise InputError(
                f"{checkpoint} was made {_said(flag, old)}, not {_said(flag, value)}: to go on from there "
                f"{mend}, to begin anew leave out --resume_from_checkpoint"
            )


def _step(checkpoint: Path) -> int | None:
    """Optimiser steps done at a checkpoint; None where it is none, or a part of one."""
    try:
        return int(json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _said(flag: str, value: Any) -> str:
    return f"without {flag}" if _absent(value) else f"with {_words(flag, value)}"


def _absent(value: Any) -> bool:
    return value is None or value is False


def _words(flag: str, value: Any) -> str:
    return flag if value is True else f"{flag} {value}"
