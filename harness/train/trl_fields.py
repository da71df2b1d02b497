"""Names of TRL's settings, read from its sources: a mistyped one is refused without importing TRL or torch.

The libraries' own parser (`trl_settings`) speaks of values, and of names where the sources cannot be read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from advisor.errors import InputError
from advisor.names import did_you_mean

SFT, DISTILLATION, MODEL = "SFTConfig", "DistillationConfig", "ModelConfig"
PLACES = {
    SFT: ("trl", "trainer/sft_config.py"),
    DISTILLATION: ("trl", "trainer/distillation_config.py"),
    MODEL: ("trl", "trainer/model_config.py"),
    "_BaseConfig": ("trl", "trainer/base_config.py"),
    "TrainingArguments": ("transformers", "training_args.py"),
}
"""Package and file of each class."""
QUANTISED = "the model is loaded as --dtype says, not quantised"
NOT_YOURS = {
    "loss_type": "the objective is chosen with --objective",
    "use_liger_kernel": "its fused loss is NLL; the loss here is fused already",
    "label_smoothing_factor": "it is defined for NLL alone",
    "dataset_kwargs": "the dataset is read and tokenised by the advisor",
    "dataset_text_field": "name columns with --prompt_field and --completion_field",
    "completion_only_loss": "targets are what `advisor validate` marks",
    "assistant_only_loss": "targets are what `advisor validate` marks",
    "chat_template_path": "give it with --chat_template",
    "model_name_or_path": "the model is the first argument",
    "model_revision": "give it with --revision",
    "teacher_model_name_or_path": "give it with --teacher",
    "teacher_model_revision": "give a local folder with --teacher",
    "teacher_model_init_kwargs": "teachers are loaded as the student is",
    "attn_implementation": "the model's own is used",
    "restore_callback_states_from_checkpoint": "the advisor's callbacks go on from a checkpoint without it",
    "load_in_8bit": QUANTISED,
    "load_in_4bit": QUANTISED,
    "bnb_4bit_quant_type": QUANTISED,
    "bnb_4bit_quant_storage": QUANTISED,
    "use_bnb_nested_quant": QUANTISED,
}
"""Fields that something else decides here, with what."""


def check_names(words: Sequence[str], config: str, others: Iterable[str] = ()) -> None:
    """Refuse a flag that is no setting of TRL's, and one that something else decides.

    Args:
        words: `--name value` words that the command does not know.
        config: name of TRL's configuration.
        others: the command's own flags, which may have been meant.

    Raises:
        InputError: names the nearest flag.
    """
    refuse_ours(word.removeprefix("--").split("=")[0] for word in words if word.startswith("--"))
    names = known_names(config)
    if not names:
        return
    for word in words[:1]:
        if not word.startswith("-"):
            raise InputError(unknown(word, names, config))
    for word in words:
        name = word.removeprefix("--").split("=")[0]
        if word.startswith("--") and name not in names and name.removeprefix("no_") not in names:
            raise InputError(unknown(word, [*names, *others], config))


def refuse_ours(names: Iterable[str]) -> None:
    """Raise InputError at a field that something else decides here."""
    for name in names:
        if name in NOT_YOURS:
            raise InputError(f"--{name} cannot be set: {NOT_YOURS[name]}")


def unknown(word: str, names: Iterable[str], config: str) -> str:
    """What is said of a word that is no setting, with the nearest that is one."""
    if not word.startswith("-"):
        return f"unknown argument {word}: MODEL and DATASET come first, all else has a flag"
    flags = [f"--{name.removeprefix('--')}" for name in names]
    near = did_you_mean(word.split("=")[0], flags)
    hint = f": {near}" if near else f" (fields of TRL's {config} are accepted)"
    return f"unknown argument {word}{hint}"


@cache
def known_names(config: str) -> frozenset[str]:
    """Fields of one of TRL's configurations and of its ModelConfig; empty where a source cannot be read."""
    own, adapter = _fields(config), _fields(MODEL)
    return frozenset(own | adapter) if own and adapter else frozenset()


def _fields(name: str) -> set[str]:
    """The fields of a class and of what it inherits from."""
    package, place = PLACES.get(name, ("", ""))
    found = find_spec(package) if package else None
    if found is None or found.origin is None:
        return set()
    try:
        tree = ast.parse((Path(found.origin).parent / place).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return set()
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        return set()
    fields = set(_annotated(node))
    for base in node.bases:
        inherited = _fields(base.id) if isinstance(base, ast.Name) else set()
        if not inherited:
            return set()
        fields |= inherited
    return fields


def _annotated(node: ast.ClassDef) -> Iterator[str]:
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            yield line.target.id
