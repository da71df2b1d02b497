"""Contexts in which a library may do its work without leaving a trace: on the screen or in global state."""

from __future__ import annotations

import logging
import random
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def undisturbed(model: PreTrainedModel) -> Iterator[None]:
    """Gives back global random states and the model's mode as they were."""
    import torch

    python, legacy, training = random.getstate(), np.random.get_state(), model.training  # noqa: NPY002
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        model.train(training)


@contextmanager
def held_at_none(config: Any, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Some fields of a generation config are None within the block; yields what they were."""
    before = {name: getattr(config, name, None) for name in names}
    try:
        for name in before:
            setattr(config, name, None)
        yield before
    finally:
        for name, value in before.items():
            setattr(config, name, value)


@contextmanager
def without_remarks() -> Iterator[None]:
    """No remarks of lm-eval and what it uses; what a task prints goes to stderr."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    loggers = [logging.getLogger(name) for name in ("lm_eval", "lm_eval.models.huggingface")]
    levels = [logger.level for logger in loggers]
    try:
        transformers_logging.set_verbosity_error()
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def bars_closed(trainer: Any) -> Iterator[None]:
    """Closes the bars of a trainer that an error stops, so that what is said of it begins a line."""
    try:
        yield
    finally:
        for callback in trainer.callback_handler.callbacks:
            for name in ("prediction_bar", "training_bar"):
                if (bar := getattr(callback, name, None)) is not None:
                    bar.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Neither remarks nor bars."""
    from tqdm import tqdm

    start = tqdm.__init__

    def silent(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **{**kwargs, "disable": True})

    with without_remarks(), patch.object(tqdm, "__init__", silent):
        yield
