"""The model and the dataset of a call, whatever they are given as, made a loaded model and an SFTDataset."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import huggingface_hub
import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.data.sources import Source
from advisor.errors import InputError
from advisor.model.in_memory import fingerprint_of
from advisor.model.load import load_model
from advisor.model.loaded import LoadedModel
from advisor.model.model_checks import check_bare
from harness.ladder import LADDER, resolve
from harness.ladder.named_pair import Pair, pair_of

ModelSource: TypeAlias = str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase] | LoadedModel
"""A folder, hub id or `ladder:NAME`; a transformers model with its tokenizer; or what `load_model` gave."""
DatasetSource: TypeAlias = Source | SFTDataset
"""What `load_dataset` takes, `ladder:NAME`, or what it gave."""
IN_MEMORY = "in memory"
"""The name of rows that are in no file."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Gives back as they were: random states, threads, filters of warnings, bars and loggers of libraries."""
    python, legacy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002
    bars = datasets.are_progress_bars_disabled()
    loggers = (datasets.logging, huggingface_hub.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    try:
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_num_threads(threads)
        (datasets.disable_progress_bars if bars else datasets.enable_progress_bars)()
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)


@contextmanager
def as_it_was(model: ModelSource) -> Iterator[None]:
    """Gives the modules of a model in memory back in the mode, training or evaluation, that they were in."""
    given = model[0] if isinstance(model, tuple) and model else None
    modules = list(given.modules()) if isinstance(given, torch.nn.Module) else []
    modes = [module.training for module in modules]
    try:
        yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.training = training


def loaded_of(model: ModelSource, loading: dict[str, Any]) -> LoadedModel:
    """The loaded model; `loading` are keyword arguments of `load_model`.

    Raises:
        InputError: what `load_model` refuses, or something that is no model.
    """
    if isinstance(model, LoadedModel):
        if loading:
            raise InputError(
                f"the model is loaded already: give {', '.join(loading)} to load_model"
            )
        check_bare(model.name, model.model)
        return model
    if isinstance(model, tuple):
        if len(model) != 2:
            raise InputError(f"MODEL is a tuple of {len(model)}: give (model, tokenizer)")
        return load_model(model[0], tokenizer=model[1], **loading)
    if rung := _rung(model):  # under its own name, not where it is installed
        return replace(load_model(resolve(rung)[0], **loading), name=str(model))
    return load_model(model, **loading)


def as_it_is(model: ModelSource, loading: dict[str, Any]) -> LoadedModel:
    """The loaded model with the fingerprint of its weights as they are: it may have been trained since."""
    loaded = loaded_of(model, loading)
    if isinstance(model, LoadedModel):
        return replace(loaded, fingerprint=fingerprint_of(loaded.model)[0])
    return loaded


def _rung(source: object) -> str | None:
    """NAME of `ladder:NAME`."""
    is_rung = isinstance(source, str) and source.startswith(LADDER)
    return str(source).removeprefix(LADDER) if is_rung else None


def dataset_of(
    dataset: DatasetSource | None, loaded: LoadedModel, reading: dict[str, Any]
) -> SFTDataset:
    """The dataset for a loaded model; `reading` are keyword arguments of `load_dataset`.

    Without a dataset a rung of the ladder brings its own demonstrations.

    Raises:
        InputError: what `load_dataset` refuses, or a dataset that another tokenizer has read.
    """
    if isinstance(dataset, SFTDataset):
        if reading:
            raise InputError(
                f"the dataset is loaded already: give {', '.join(reading)} to load_dataset"
            )
        _check_tokenizer(dataset, loaded)
        return dataset
    if dataset is None and _rung(loaded.name) is None:
        raise InputError("DATASET is missing: give a path, a hub id or rows in memory")
    source = loaded.name if dataset is None else dataset
    if rung := _rung(source):
        source = resolve(rung)[1]
    return load_dataset(source, loaded, **reading)


def _check_tokenizer(dataset: SFTDataset, loaded: LoadedModel) -> None:
    one, other = dataset.tokenizer, loaded.tokenizer
    if one is not other and one.get_vocab() != other.get_vocab():
        raise InputError(
            f"{dataset.info.name} was tokenised with another vocabulary than that of {loaded.name}: "
            "load_dataset(source, loaded) reads it with the model's own"
        )


def kind_of(loaded: LoadedModel, kind: str | None) -> str | None:
    """What the model is taken for, where that was said: models of the ladder are base models."""
    return kind or ("base" if _rung(loaded.name) else None)


def named(model: ModelSource, dataset: DatasetSource | None) -> Pair:
    """Model and dataset by name, before anything is read; rows in memory lie nowhere.

    Raises:
        InputError: a rung that the ladder has not, or no dataset to a model that brings none.
    """
    if isinstance(model, str | Path):
        own = str(model)
    else:
        own = model.name if isinstance(model, LoadedModel) else _origin(model)
    rows = str(dataset) if isinstance(dataset, str | Path) else IN_MEMORY
    return pair_of(own, None if dataset is None else rows)


def _origin(model: object) -> str:
    """Where a model in memory came from, or its class."""
    first = model[0] if isinstance(model, tuple) and model else model
    return getattr(first, "name_or_path", "") or type(first).__name__
