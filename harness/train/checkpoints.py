"""Which checkpoint a training goes on from, and that it was made with the same settings.

A trainer takes over weights, optimiser and step from a checkpoint, whatever minimised what before. So what
is minimised, in which model and on which data, is kept in the checkpoint's `trainer_state.json` and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from advisor.errors import InputError
from advisor.files import read_json
from advisor.objectives.table import get_objective
from harness.train.trained_with import ROWS, STEPS, Setting, found_in
from harness.train.whole_checkpoint import check_whole

STATE = "trainer_state.json"
Settings = Mapping[str, Setting]
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
        InputError: a folder that is no checkpoint, or of which a part is missing or cannot be read.
    """
    given = (
        config.resume_from_checkpoint
    )  # a word of the command line, in Python also True or a Path
    text = None if given is None else str(given)
    if text is None or text.lower() in ("false", "0"):
        return None
    if text.lower() in ("true", "1"):
        text = newest_checkpoint(config.output_dir)
    elif _step(Path(text)) is None:
        raise InputError(
            f"--resume_from_checkpoint {text}: no checkpoint that was written to its end; name a folder "
            "checkpoint-N, or say true for the newest of --output_dir"
        )
    check_whole(text)
    return text


class GoesOn(TrainerCallback):
    """Says from where a training goes on, once the trainer knows of how many steps it is."""

    def __init__(self, checkpoint: str, say: Callable[[list[str]], None]) -> None:
        """`say` takes the sentence."""
        self.checkpoint, self.say = checkpoint, say

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Epochs are steps by now."""
        done, steps = state.global_step, state.max_steps
        found = f"Training goes on from {self.checkpoint}, {done} of {steps} steps."
        if done >= steps:
            found = (
                f"{self.checkpoint} has done all of its {steps} steps: nothing is left to train."
            )
        self.say([found])


def say_where_it_goes_on(
    trainer: Any, checkpoint: str | None, say: Callable[[list[str]], None]
) -> None:
    """Have a trainer say so before its bar begins."""
    if checkpoint is not None:
        trainer.callback_handler.callbacks.insert(0, GoesOn(checkpoint, say))


def remarks(config: Any, checkpoint: str | None) -> list[str]:
    """What is missing in what a training was told to go on from, one sentence each."""
    given = (
        config.resume_from_checkpoint
    )  # a word of the command line, in Python also True or a Path
    text = None if given is None else str(given)
    if text is None or text.lower() in ("false", "0"):
        return []
    if checkpoint is None:
        return [
            f"There is no whole checkpoint in {config.output_dir}: training begins at its first step."
        ]
    found = list[str]()
    done = _state(checkpoint)["global_step"]
    if text.lower() in ("true", "1"):
        newer = [
            path for path in Path(config.output_dir).glob("checkpoint-*") if _number(path) > done
        ]
        left = [str(path) for path in sorted(newer, key=_number) if _step(path) is None]
        found += [f"Passed over, as not written to its end: {path}." for path in left]
    if not list(Path(checkpoint).glob("rng_state*.pth")):
        found.append(
            "The checkpoint has no state of the random numbers: dropout goes on with others."
        )
    return found


def newest_checkpoint(folder: str, *, upto: int | None = None) -> str | None:
    """The newest checkpoint that was written to its end; None where there is none.

    A process killed while it writes one leaves a part. Trainer writes `trainer_state.json` last.

    Args:
        folder: with the checkpoints.
        upto: optimiser steps that the training has done: what is beyond is another training's.
    """
    steps = {path: _step(path) for path in Path(folder).glob("checkpoint-*")}
    whole = {
        path: step for path, step in steps.items()
        if step is not None and (upto is None or step <= upto)
    }  # fmt: skip
    return str(max(whole, key=whole.__getitem__)) if whole else None


def what_is_left(folder: str, *, proven: int, done: int) -> str:
    """Which checkpoint is good after a training has diverged.

    Args:
        folder: with the checkpoints.
        proven: updates after which weights last had a finite loss and gradient.
        done: updates in all; a checkpoint after the last may hold what broke the model.
    """
    good, newest = newest_checkpoint(folder, upto=proven), newest_checkpoint(folder, upto=done)
    if newest is None:
        return "no checkpoint was saved"
    unproven = f"{newest} was saved after the last update, which may have broken the model"
    if good is None:
        return f"there is no good checkpoint ({unproven})"
    left = f"{good} is the last good checkpoint"
    return left if good == newest else f"{left} ({unproven})"


def refuse_others(checkpoint: str | None, settings: Settings) -> None:
    """Raise InputError at the first setting that is not the checkpoint's.

    An older checkpoint, or another trainer's, lists none: then what its files say themselves is compared.
    With a constant learning rate a training may be made longer: nothing but the number of steps changes. Not
    where the objective changes at a share of them.
    """
    if checkpoint is None:
        return
    state = _state(checkpoint)
    found = (state.get("stateful_callbacks") or {}).get(MadeWith.__name__)
    listed: Settings = found["args"]["settings"] if found else {}
    # Older checkpoints say rewriting for resampling
    listed = {flag.replace("--rewrite", "--resample"): old for flag, old in listed.items()}
    before = {**found_in(Path(checkpoint), settings), **listed} if ROWS in settings else listed
    longer = _may_be_longer(settings)
    for flag, value in settings.items():
        old = before.get(flag, value)
        if old != value and not (flag in STEPS and longer):
            mend = f"leave {flag} out" if _absent(old) else f"give {_words(flag, old)}"
            raise InputError(
                f"{checkpoint} was made {_said(flag, old)}, not {_said(flag, value)}: to go on from there "
                f"{mend}, to begin anew leave out --resume_from_checkpoint"
            )
    steps = settings.get("--max_steps")
    if isinstance(steps, int) and 0 < steps < state["global_step"]:
        raise InputError(
            f"{checkpoint} has done {state['global_step']} steps, more than --max_steps {steps}: name an "
            "older checkpoint, or give more steps"
        )


def _may_be_longer(settings: Settings) -> bool:
    """Whether the steps done are the same whatever the number of steps in all."""
    constant = settings.get("--lr_scheduler_type") == "constant"
    objective = settings.get("--objective")
    moves = isinstance(objective, str) and get_objective(objective).scheduled
    return constant and not settings.get("--resample") and not moves


def _state(checkpoint: str) -> dict[str, Any]:
    state: dict[str, Any] = read_json(Path(checkpoint) / STATE)
    return state


def _number(checkpoint: Path) -> int:
    text = checkpoint.name.rpartition("-")[2]
    return int(text) if text.isdigit() else -1


def _step(checkpoint: Path) -> int | None:
    """Optimiser steps done at a checkpoint; None where it is none, or a part of one."""
    try:
        return int(read_json(checkpoint / STATE)["global_step"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _said(flag: str, value: Any) -> str:
    return f"without {flag}" if _absent(value) else f"with {_words(flag, value)}"


def _absent(value: Any) -> bool:
    return value is None or value is False


def _words(flag: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = f"{value:.15g}"  # 2.0 and 2 are the same number
    return flag if value is True else f"{flag} {value}"
