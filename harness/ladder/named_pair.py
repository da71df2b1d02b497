"""MODEL and DATASET as they are named, and where they lie; `ladder:NAME` lies in the installation."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from advisor.errors import InputError
from advisor.options import DataOptions, ModelOptions, flag_words
from harness.ladder import LADDER, resolve


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A model and a dataset, found but not read."""

    model: str
    """Folder, .gguf file or hub id."""
    dataset: str
    """File, folder or hub id."""
    model_name: str
    """As the user typed it."""
    dataset_name: str
    """As the user typed it; the model's where a ladder brought its own."""
    kind: str | None = None
    """Of the model, where its name tells: those of the ladder are base models."""


def pair_of(model: str, dataset: str | None) -> Pair:
    """What two names lead to.

    Raises:
        InputError: a rung that the ladder has not, or no dataset to a model that brings none.
    """
    folder, rows, kind = model, dataset, None
    if model.startswith(LADDER):
        found, demonstrations = resolve(model.removeprefix(LADDER))
        folder, rows, kind = str(found), dataset or str(demonstrations), "base"
    if rows is None:
        raise InputError(f"DATASET is missing: give MODEL DATASET, as in {model} rows.jsonl")
    if rows.startswith(LADDER):
        rows = str(resolve(rows.removeprefix(LADDER))[1])
    return Pair(
        model=folder, dataset=rows, model_name=model, dataset_name=dataset or model, kind=kind
    )


def words_of(pair: Pair, model: ModelOptions, data: DataOptions) -> str:
    """MODEL DATASET and the flags that say how to read them, as a shell takes them.

    Without --device_map, which only measuring takes: `confirm` trains on one device.
    """
    words = [pair.model_name]
    if pair.dataset_name != pair.model_name:
        words.append(pair.dataset_name)
    return shlex.join((*words, *flag_words(replace(model, device_map=None), data)))
