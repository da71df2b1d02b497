"""What an objective reads of the model before training, measured once for every target of a dataset.

With a folder to keep it in, a training that goes on does not measure it again: it is known by its content,
the weights, the tokens and which of them are targets, and anything else is measured anew.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from advisor.data.dataset import Example
from advisor.files import publish
from advisor.model.in_memory import fingerprint_of
from advisor.model.load import LoadedModel
from advisor.objectives.weights import FROM_DISTRIBUTION, REFERENCE
from advisor.prior.probe import Probe, Scored
from advisor.progress import Progress, untold

KEPT = "before_training.npz"
"""Name of the file in the folder of a training."""
Columns = dict[str, NDArray[np.float32]]
"""[targets] each, example after example, by their names in TokenStats: `reference_logp`, ..."""


def measured(
    loaded: LoadedModel,
    examples: Sequence[Example],
    names: Sequence[str],
    *,
    keep: Path | None = None,
    on_progress: Progress = untold,
) -> Columns:
    """Statistics of every target under the model as it is now.

    Args:
        loaded: the model, not yet trained.
        examples: with a target each.
        names: statistics by their names in TokenStats: `logp`, `mass`, ...
        keep: folder in which they are looked for first, and left.
        on_progress: told how many examples of how many were read.

    Raises:
        InputError: as of `Probe.score`; the folder cannot be written.
    """
    mark = _mark(loaded, examples, names) if keep else ""
    if keep and (found := _read(keep / KEPT, mark)) is not None:
        return found
    columns = _measure(loaded, examples, names, on_progress)
    if keep:
        content = io.BytesIO()
        arrays: dict[str, Any] = {**columns, "mark": np.array(mark)}
        np.savez(content, **arrays)
        remedy = "give a folder with room for it"
        publish(keep / KEPT, content.getvalue(), subject=str(keep / KEPT), remedy=remedy)
    return columns


def positions(example: Example) -> NDArray[np.int64]:
    """[targets] where the targets of an example stand in it."""
    return np.flatnonzero(np.asarray(example.labels)[1:] != -100) + 1


def _measure(
    loaded: LoadedModel, examples: Sequence[Example], names: Sequence[str], on_progress: Progress
) -> Columns:
    place = {id(example): number for number, example in enumerate(examples)}
    seen: list[Columns] = [{}] * len(examples)
    done = 0
    for batch in Probe(loaded, needs=[n for n in names if n in FROM_DISTRIBUTION]).score(examples):
        for scored in batch:
            seen[place[id(scored.example)]] = {name: _column(scored, name) for name in names}
        done += len(batch)
        on_progress(done, len(examples))
    return {REFERENCE + name: np.concatenate([one[name] for one in seen]) for name in names}


def _column(scored: Scored, name: str) -> NDArray[np.float32]:
    own = {"logp": scored.log_p, "entropy": scored.entropy}
    return own[name] if name in own else scored.more[name]


def _mark(loaded: LoadedModel, examples: Sequence[Example], names: Sequence[str]) -> str:
    """Hash of all that the columns depend on."""
    asked = [fingerprint_of(loaded.model)[0], loaded.dtype, loaded.device.split(":")[0], *names]
    digest = hashlib.sha256(json.dumps(asked).encode())
    for example in examples:
        digest.update(json.dumps([example.input_ids, example.labels]).encode())
    return digest.hexdigest()


def _read(path: Path, mark: str) -> Columns | None:
    """What was kept, unless it is of something else or cannot be read."""
    try:
        with np.load(path) as kept:
            if str(kept["mark"]) != mark:
                return None
            return {name: kept[name] for name in kept.files if name != "mark"}
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
