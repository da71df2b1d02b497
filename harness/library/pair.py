"""The model and the dataset of a call, whatever they are given as, made a loaded model and an SFTDataset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.data.sources import Source
from advisor.errors import InputError
from advisor.model.load import load_model
from advisor.model.loaded import LoadedModel
from advisor.names import did_you_mean
from harness.ladder import LADDER, resolve

ModelSource: TypeAlias = str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase] | LoadedModel
"""A folder, hub id or `ladder:NAME`; a transformers model with its tokenizer; or what `load_model` gave."""
DatasetSource: TypeAlias = Source | SFTDataset
"""What `load_dataset` takes, `ladder:NAME`, or what it gave."""


@contextmanager
def taken(model: ModelSource) -> Iterator[LoadedModel]:
    """The loaded model; one that was in memory, and the number of threads, are afterwards as they were.

    Raises:
        InputError: what `load_model` refuses, or something that is no model.
    """
    threads = torch.get_num_threads()
    given = model[0] if isinstance(model, tuple) and model else None
    modules = list(given.modules()) if isinstance(given, torch.nn.Module) else []
    modes = [module.training for module in modules]
    try:
        yield _loaded(model)
    finally:
        torch.set_num_threads(threads)
        for module, training in zip(modules, modes, strict=True):
            module.training = training


def _loaded(model: ModelSource) -> LoadedModel:
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, tuple):
        if len(model) != 2:
            raise InputError(f"MODEL is a tuple of {len(model)}: give (model, tokenizer)")
        return load_model(model[0], tokenizer=model[1])
    if rung := _rung(model):
        return _named(load_model(resolve(rung)[0]), str(model))
    return load_model(model)


def _named(loaded: LoadedModel, name: str) -> LoadedModel:
    """Under the name that the user gave: ladder:strong, not where it is installed."""
    return replace(loaded, name=name)


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
    _check_names(reading)
    return load_dataset(source, loaded, **reading)


def _check_names(reading: dict[str, Any]) -> None:
    """InputError for a setting that neither the call nor `load_dataset` knows."""
    known = [
        name for name, p in signature(load_dataset).parameters.items() if p.kind is p.KEYWORD_ONLY
    ]
    for name in reading:
        if name not in known:
            hint = did_you_mean(name, known) or f"of load_dataset there are {', '.join(known)}"
            raise InputError(f"no setting {name!r}: {hint}")


def _check_tokenizer(dataset: SFTDataset, loaded: LoadedModel) -> None:
    one, other = dataset.tokenizer, loaded.tokenizer
    if one is not other and one.get_vocab() != other.get_vocab():
        raise InputError(
            f"{dataset.info.name} was tokenised with another vocabulary than that of {loaded.name}: "
            "load_dataset(source, loaded) reads it with the model's own"
        )


def kind_of(model: ModelSource, kind: str | None) -> str | None:
    """What the model is taken for, where that was said: models of the ladder are base models."""
    if kind not in (None, "base", "instruct"):
        raise InputError(f"model_kind {kind!r}: expected base or instruct")
    name = model.name if isinstance(model, LoadedModel) else model
    return kind or ("base" if _rung(name) else None)
