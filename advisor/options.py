"""What a user can choose, as frozen dataclasses: how a model is loaded, a dataset read, a prior measured.

A field is the one definition of its flag: its type, default, help, bounds and choices. The command line
makes flags of them (`harness/cli/flags.py`); a library function takes them as keywords
(`**options.keywords()`), and a test holds that names and defaults are those of the function. Standard library
only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Flag:
    """What the command line has to know of a field beside its type and default."""

    help: str
    """In one line; `{default}` stands for the default."""
    name: str | None = None
    """Of the flag, where it is not that of the field."""
    short: str | None = None
    """One letter, for example "-L"."""
    metavar: str | None = None
    low: float | None = None
    """Smallest number; None: not looked at."""
    high: float = math.inf
    """Largest number."""
    choices: Sequence[str] | None = None
    bare: bool = False
    """Of true or false: whether the flag alone means true."""
    adds: bool = False
    """Of several values: whether each use of the flag adds to those before."""
    group: str | None = None
    """Flags of one name exclude each other."""


def option(default: Any = dataclasses.MISSING, *, help: str, **more: Any) -> Any:
    """A field of an options dataclass; without a default the user has to give it.

    Args:
        default: of the field, and so of the flag.
        help: what the flag's help says.
        more: fields of `Flag`.
    """
    return dataclasses.field(default=default, metadata={"flag": Flag(help=help, **more)})


class Options:
    """What options have in common."""

    def keywords(self) -> dict[str, Any]:
        """Field by name, as keyword arguments."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def flags(self) -> dict[str, Any]:
        """Value by the flag's name, in the order of the fields."""
        return {name: getattr(self, field.name) for name, field in flags_of(type(self)).items()}

    def said(self) -> dict[str, Any]:
        """As `flags`, with None for what stands at its default."""
        defaults = {name: field.default for name, field in flags_of(type(self)).items()}
        return {
            name: None if value == defaults[name] else value for name, value in self.flags().items()
        }


def check(options: Options) -> None:
    """Refuse values outside the bounds and choices of their fields, and fields that exclude each other.

    The command line does so as it reads words; this is for options that a call has made.

    Raises:
        InputError: names the field, its value and what is expected.
    """
    groups: dict[str, str] = {}
    for field in flags_of(type(options)).values():
        flag, value = field.metadata["flag"], getattr(options, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            _check_value(field.name, one, flag, whole="int" in str(field.type))
        if flag.group and value != field.default:
            if other := groups.get(flag.group):
                raise InputError(f"{other} and {field.name} exclude each other: give one of them")
            groups[flag.group] = field.name


def _check_value(name: str, value: Any, flag: Flag, *, whole: bool) -> None:
    if value is None:
        return
    if flag.choices and value not in flag.choices:
        raise InputError(f"{name} {value!r}: expected {' or '.join(flag.choices)}")
    if whole and (isinstance(value, bool) or not isinstance(value, int)):
        raise InputError(f"{name} {value!r}: expected a whole number")
    if flag.low is None:
        return
    limits = f"{flag.low:g} or more" if flag.high == math.inf else f"{flag.low:g} to {flag.high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} {value!r}: expected a number, {limits}")
    if not flag.low <= value <= flag.high or value == math.inf:
        raise InputError(f"{name} {value:g}: expected {limits}")


def flags_of(kind: type[Any]) -> Mapping[str, dataclasses.Field[Any]]:
    """The fields of a dataclass that are flags, by the name of the flag."""
    return {
        field.metadata["flag"].name or field.name: field
        for field in dataclasses.fields(kind)
        if "flag" in field.metadata
    }


def flag_words(*options: Options) -> list[str]:
    """The flags of options that do not stand at their defaults, as words."""
    return [
        word
        for one in options
        for name, value in one.said().items()
        if value is not None
        for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])
    ]


def setting_words(name: str, value: object) -> list[str]:
    """A setting as the words of its flag; a value that begins like a flag is tied to it."""
    first, *more = map(str, value if isinstance(value, list | tuple) else [value])
    flag = [f"--{name}={first}"] if first.startswith("-") else [f"--{name}", first]
    return [*flag, *more]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """How a model is loaded: keywords of `load_model`."""

    revision: str | None = option(None, help="of a model on the hub")
    trust_remote_code: bool = option(
        False,
        help="run code that comes with the model, and in confirm code that files of --tasks name (off)",
    )
    dtype: str = option("auto", help="auto, float32, bfloat16 or float16 (default: {default})")
    device: str = option("auto", help="auto, cpu, cuda, cuda:1, mps (default: {default})")
    allow_pickle: bool = option(False, help="read pickled weights (tensors only)")
    device_map: str | None = option(
        None, help="spread a large model as accelerate does, for example auto"
    )

    def hub(self) -> dict[str, Any]:
        """What decides which files of the hub are read: keywords of `load_tokenizer`."""
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """How a dataset is read: keywords of `load_dataset`."""

    config: str | None = option(
        None, name="dataset_config", help="configuration of a dataset on the hub"
    )
    split: str | None = option(None, help="needed where there are several")
    prompt_field: str | None = option(
        None, help="column with the prompt, where the name is not a known one"
    )
    completion_field: str | None = option(None, help="column with the completion")
    weight_field: str | None = option(
        None, help="column with the weight of a row, 0 for not trained (default: weight), or none"
    )
    delimiter: str | None = option(
        None,
        help="between the cells of a csv or tsv file (default: what its first line shows)",
    )
    drop_bad_rows: bool = option(
        False,
        help="drop rows that cannot be read, and count them, instead of refusing the dataset (off)",
    )
    chat_template: str | None = option(None, help="a Jinja file, or none for the plain format")
    eos_token: str | None = option(None, help="text of the token that ends a sequence, or none")
    max_length: int | None = option(
        None, help="tokens kept of an example (default: the context, at most 2048)"
    )

    @property
    def fields(self) -> tuple[str | None, str | None, str | None]:
        """The columns that are named: of the prompt, the completion and the weight."""
        return self.prompt_field, self.completion_field, self.weight_field


@dataclass(frozen=True, kw_only=True)
class PriorOptions(Options):
    """How a prior is measured: keywords of `measure_prior`."""

    limit: int | None = option(
        None, short="-L", low=1, group="size", help="measure exactly this many, drawn at random"
    )
    exact: bool = option(False, group="size", help="measure every example")
    seed: int = option(0, low=0, help="of the order of examples (default: {default})")
    batch_tokens: int | None = option(
        None, low=1, help="tokens the model reads at a time (default: 8192, on a CPU 1024)"
    )


@dataclass(frozen=True, kw_only=True)
class AdviceOptions(Options):
    """What else decides a recommendation."""

    model_kind: str | None = option(
        None, choices=("base", "instruct"), help="default: what the model's files say"
    )
    temperature: float | None = option(
        None, low=0.0, high=10.0,
        help="how the fine-tuned model will be decoded; 0 is greedy (default: the model's generation config)",
    )  # fmt: skip
    prior: str | None = option(
        None, metavar="FILE",
        help="file that an earlier `advisor recommend ... -o FILE` wrote: answer from its prior, without "
        "loading the model",
    )  # fmt: skip
    machine: str | None = option(
        None, metavar="NAME",
        help="estimate also what the plan takes on this machine: h100, h100x8, a100, l4, rtx4090, cpu2, ...",
    )  # fmt: skip
    depth: str = option(
        "quick", choices=("quick", "deep"),
        help="deep also trains with NLL for some steps on up to 480 rows, and reads gradients and sampled "
        "answers (default: {default})",
    )  # fmt: skip
    deep_steps: int = option(
        60, low=1, help="optimiser steps of that run, 8 rows each (default: {default})"
    )
    calibration: str | None = option(
        None, metavar="FILE",
        help="what `advisor calibrate` wrote (default: the one that comes with the package)",
    )  # fmt: skip


def switches(kind: type[Options]) -> tuple[str, ...]:
    """The flags of an options dataclass that take no value: those that are true or false."""
    return tuple(name for name, field in flags_of(kind).items() if field.type in (bool, "bool"))
