"""The teachers of a distillation: named, loaded, and checked against the student and the rows.

Several teachers have keys: the values of a column of the dataset, which says whose a row is. They are loaded
once, however often they are asked for, until they are freed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from advisor.data.dataset import SFTDataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from harness.ladder import LADDER, resolve
from harness.train.precision import take_off_autocast

LOADING = ("dtype", "device", "trust_remote_code", "allow_pickle")
"""How a model is loaded, the student as its teachers: flags, and keyword arguments of `load_model`."""


@dataclass(frozen=True, kw_only=True)
class Teachers:
    """Which teachers there are, and whose a row is."""

    names: Mapping[str, str]
    """Key to model: a folder, a hub id or a rung of the ladder."""
    route: str | None = None
    """Column with the key of a row's teacher; None where there is one teacher."""
    loading: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `load_model`."""
    held: dict[str, LoadedModel] = field(default_factory=dict, repr=False, compare=False)
    """What is loaded."""
    resting: dict[str, torch.device] = field(default_factory=dict, repr=False, compare=False)
    """Of those that wait in the machine's memory, where they compute."""

    def load(self) -> dict[str, LoadedModel]:
        """The models by key, as they were loaded, whatever a trainer has wrapped them in since."""
        for key, name in self.names.items():
            if key not in self.held:
                self.held[key] = load_model(_folder(name), **self.loading)
            model: Any = self.held[key].model
            take_off_autocast(model)
            if key in self.resting:
                model.to(self.resting.pop(key))
        return dict(self.held)

    def rest(self) -> None:
        """Clear the accelerator's memory of them, as far as they can be moved: a run does without."""
        for key, loaded in self.held.items():
            model: Any = loaded.model
            fixed = getattr(model, "hf_device_map", None) or getattr(model, "is_quantized", False)
            if model.device.type != "cpu" and not fixed:
                self.resting[key] = model.device
                model.to("cpu")

    def free(self) -> None:
        """Forget them: the next who asks loads them anew."""
        self.held.clear()
        self.resting.clear()

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which loads its own."""
        return {**self.__dict__, "held": {}, "resting": {}}


def read_teachers(words: Sequence[str], route: str | None, loading: Mapping[str, Any]) -> Teachers:
    """Teachers as the user names them: with a route `KEY=MODEL`, or a model whose name is the key.

    Raises:
        InputError: several without a route, two of one key, or a rung that the ladder has not.
    """
    check_route(words, route)
    if route is None and "=" in words[0] and not Path(words[0]).exists():
        raise InputError(
            f"--teacher {words[0]}: VALUE=MODEL goes with --route FIELD, the column of VALUE; without it "
            "give the model alone"
        )
    if route is None:
        return _known(Teachers(names={words[0]: words[0]}, loading=loading))
    pairs = [word.partition("=") for word in words]
    names = {key: name or key for key, _, name in pairs}
    if len(names) < len(words):
        raise InputError("--teacher: two have the same key; give each as KEY=MODEL")
    return _known(Teachers(names=names, route=route, loading=loading))


def check_route(teachers: Collection[str], route: str | None) -> None:
    """Raise InputError where nothing says whose a row is, or nobody teaches."""
    if not teachers:
        raise InputError("no teacher: give one with --teacher")
    if route is None and len(teachers) > 1:
        raise InputError(
            "several teachers: --route FIELD names the column that says whose a row is"
        )


def check_teacher(student: LoadedModel, teacher: LoadedModel) -> None:
    """InputError where the two cannot be compared token by token."""
    tokens = student.tokenizer.get_vocab()
    if teacher.tokenizer.get_vocab() != tokens:
        raise InputError(
            f"teacher {teacher.name}: its tokenizer's vocabulary is not the student's: distillation compares "
            "them token by token, take a teacher of its family"
        )
    rows, own = _head_rows(teacher), _head_rows(student)
    if rows != own and max(tokens.values()) >= min(rows, own):
        raise InputError(
            f"teacher {teacher.name}: it has {rows} rows of the vocabulary and the student {own}, their "
            f"tokenizer numbers up to {max(tokens.values())}: resize the smaller one's embeddings"
        )


def shared_vocabulary(student: LoadedModel, teachers: Iterable[LoadedModel]) -> int | None:
    """Rows that heads of different sizes have in common; None where all are of the same size.

    Models of a family share a tokenizer and may pad their heads to different numbers of rows.
    """
    if {_head_rows(teacher) for teacher in teachers} == {_head_rows(student)}:
        return None
    return int(max(student.tokenizer.get_vocab().values())) + 1


def _head_rows(loaded: LoadedModel) -> int:
    return int(loaded.model.config.get_text_config().vocab_size)


def teacher_of(dataset: SFTDataset, row: int, keys: Sequence[str], route: str | None) -> int:
    """Number of a row's teacher among the keys.

    Raises:
        InputError: no such column, or a value that is no teacher's.
    """
    if route is None:
        return 0
    raw = dataset.raw(row)
    if route not in raw:
        raise InputError(
            f"--route {route}: no such column in {named(dataset)}; there are {', '.join(map(str, raw))}"
        )
    if str(raw[route]) not in keys:
        raise InputError(
            f"{named(dataset)}: row {row} (counted from 0): no teacher for {route} {str(raw[route])!r}; "
            f"there are {', '.join(keys)}; give it as --teacher {raw[route]}=MODEL"
        )
    return keys.index(str(raw[route]))


def fingerprints(teachers: Mapping[str, LoadedModel], route: str | None) -> str:
    """Which teachers these are, wherever they lie; with a route, whose rows are whose too."""
    found = {key: f"of fingerprint {teacher.fingerprint}" for key, teacher in teachers.items()}
    return ", ".join(f"{key} {text}" if route else text for key, text in sorted(found.items()))


def named(dataset: SFTDataset) -> str:
    """The dataset and its split, for a refusal."""
    name, split = dataset.info.name, dataset.info.split
    return f"{name} ({split})" if split else name


def _known(teachers: Teachers) -> Teachers:
    """The same, once every rung of the ladder among them is found: before a student is loaded."""
    for name in teachers.names.values():
        _folder(name)
    return teachers


def _folder(name: str) -> str:
    """What a model's name stands for: `ladder:NAME` is a folder of the installation."""
    return str(resolve(name.removeprefix(LADDER))[0]) if name.startswith(LADDER) else name
