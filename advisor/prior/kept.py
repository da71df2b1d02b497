"""A prior that was measured before: read from a file, checked, and held against the pair that it is used for.

What `advisor recommend ... -o FILE` writes is the whole answer, in which the prior is one entry; the prior
alone (`Prior.to_dict()`) is read as well.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from advisor.chat.template_source import given_source, template_hash
from advisor.data import data_files
from advisor.errors import InputError
from advisor.files import find, read_json
from advisor.model import checkpoint
from advisor.options import DataOptions, flags_of
from advisor.prior.prior import Prior

Names = tuple[str, str]
"""Of model and dataset."""
FLAG = "--prior"
RESOLVED = ("split", "max_length", "weight_field")
"""Flags whose value the prior itself holds, typed or not."""
_BESIDE = ("model", "dataset", "kind", "date", "command", "next")
"""What an answer says beside its prior that is read here."""
_NEXT = re.compile(r"advisor confirm (.+) --temperature \S+ --plan \S+(?: --tasks TASK)?")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A prior from a file, under the names that were typed when it was measured."""

    file: str
    """As the user typed it."""
    prior: Prior
    """What was measured."""
    model: str
    """Name of the model."""
    dataset: str
    """Name of the dataset."""
    kind: str | None
    """Of the model, where the answer was given for one: "base", "instruct" or "unknown"."""
    date: str | None
    """The day on which it was measured, ISO 8601; None where the file does not tell."""
    command: str | None
    """That measured it; likewise."""
    words: str
    """MODEL DATASET with the flags that say how they are read, as the answer's next command has them."""
    reading: Mapping[str, str] | None
    """Of those flags the dataset's, by name; None: the file does not tell how it was read."""

    def beside(self, data: DataOptions) -> list[str]:
        """The words of the dataset's flags that stand in the file and are not given now."""
        given = data.said()
        return [
            word
            for name, value in (self.reading or {}).items()
            if given[name] is None
            for word in (f"--{name}", value)
            if word
        ]


def read_prior(file: str) -> Kept:
    """The prior that a file holds, alone or within an answer.

    Raises:
        InputError: the file cannot be read, or it is no prior.
    """
    path, there = find(file)
    if there != "file":
        raise InputError(
            f"{FLAG} {file}: no such file: write one with `advisor recommend ... -o FILE`"
        )
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise _no_prior(file, str(error)) from error
    if not isinstance(found, dict):
        raise _no_prior(file, "it holds no JSON object")
    whole = isinstance(found.get("prior"), dict)
    try:
        prior = Prior.from_dict(found["prior"] if whole else found)
    except InputError as error:
        raise _no_prior(file, str(error)) from error
    named = {name: _text(found.get(name)) if whole else None for name in _BESIDE}
    model = named["model"] or prior.model["name"]
    dataset = named["dataset"] or prior.dataset["name"]
    words = _words(named["next"])
    return Kept(
        file=file,
        prior=prior,
        model=model,
        dataset=dataset,
        kind=named["kind"],
        date=named["date"],
        command=named["command"],
        words=words or shlex.join(dict.fromkeys((model, dataset))),
        reading=None if words is None else _reading(words),
    )


def _words(command: str | None) -> str | None:
    """What stands between the next command's name and the flags of its plan; quoted anew, as it is shown."""
    found = _NEXT.fullmatch(command or "")
    try:
        return shlex.join(shlex.split(found[1])) if found else None
    except ValueError:  # no words of a shell
        return None


def _reading(words: str) -> dict[str, str]:
    """The flags among some words that say how a dataset is read; a switch has no value."""
    flags = flags_of(DataOptions)
    return {
        word[2:]: "" if after.startswith("--") else after
        for word, after in itertools.pairwise((*shlex.split(words), "--"))
        if word[:2] == "--" and word[2:] in flags
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _no_prior(file: str, why: str) -> InputError:
    return InputError(
        f"{FLAG} {file}: not a prior ({why}): write one with `advisor recommend MODEL DATASET -o FILE`"
    )


def refuse_another(kept: Kept, *, names: Names, places: Names, data: DataOptions) -> None:
    """Refuse a prior of another model or dataset; nothing of them is loaded.

    What lies on this machine is known by its content, what does not by its name.

    Args:
        kept: the prior.
        names: of model and dataset, as the user typed them.
        places: folder, file or hub id of each.
        data: how the dataset would be read.

    Raises:
        InputError: names both.
    """
    measured = (kept.prior.model, kept.prior.dataset)
    marks = (_mark_of_model(places[0]), _mark_of_dataset(places[1]))
    for what, name, old, mark, found in zip(
        ("model", "dataset"), names, (kept.model, kept.dataset), marks, measured, strict=True
    ):
        if mark == found["fingerprint"] or (mark is None and name == old):
            continue
        differs = "as it was then, and it has changed" if name == old else f"not of {name}"
        raise _another(kept, f"{what} {old}, {differs}")
    then, now = kept.prior.model.get("tokenizer_fingerprint"), _mark_of_tokenizer(places[0])
    if None not in (then, now) and then != now:
        raise _another(kept, f"model {kept.model} with another tokenizer or chat template")
    found = dict(kept.prior.dataset)
    if "weight_field" in found:  # an earlier version read none
        found["weight_field"] = found["weight_field"] or "none"
    for flag in RESOLVED:
        given, then = getattr(data, flag), found.get(flag)
        if None not in (given, then) and given != then:
            raise _another(kept, f"dataset {kept.dataset} with --{flag} {then}, not {given}")
    for flag, value in data.said().items():
        if kept.reading is None or value is None or flag in RESOLVED:
            continue
        now, then = "" if value is True else str(value), kept.reading.get(flag)
        if now != then:
            old = f"without --{flag}" if then is None else f"with --{flag} {then}, not {now}"
            raise _another(kept, f"dataset {kept.dataset} {old}")
    _refuse_another_template(kept, data)


def _refuse_another_template(kept: Kept, data: DataOptions) -> None:
    """Refuse a chat template that was given for the prior, and says something else by now."""
    found = kept.prior.dataset
    source = data.chat_template or (kept.reading or {}).get("chat_template")
    if not source or found.get("template") not in ("file", "string"):
        return
    if template_hash(given_source(source)[1]) != found.get("template_hash"):
        said = f"dataset {kept.dataset} with --chat_template {source} as it was then"
        raise _another(kept, f"{said}, and it has changed")


def _another(kept: Kept, what: str) -> InputError:
    return InputError(
        f"{FLAG} {kept.file}: is the prior of {what}: leave out {FLAG} to measure it anew"
    )


def _mark_of_model(model: str) -> str | None:
    """The fingerprint of a model that lies here."""
    path, there = find(model)
    if there == "folder":
        return checkpoint.fingerprint(path)[0]
    return checkpoint.fingerprint(path.parent, path)[0] if there == "file" else None


def _mark_of_tokenizer(model: str) -> str | None:
    """The fingerprint of the tokenizer of a model whose folder lies here."""
    path, there = find(model)
    return checkpoint.tokenizer_fingerprint(path) if there == "folder" else None


def _mark_of_dataset(dataset: str) -> str | None:
    """The fingerprint of a dataset that lies here."""
    path, there = find(dataset)
    return data_files.fingerprint(path) if there else None
