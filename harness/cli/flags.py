"""Flags that several commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

from advisor.errors import InputError

RENAMED = {
    "--rewrite": "--resample",
    "--rewrite_share": "--resample_share",
    "--rewrite_verify": "--resample_verify",
}
"""Flags of earlier versions, with their names of today."""


def add_model_and_dataset(parser: argparse.ArgumentParser) -> None:
    """MODEL, DATASET and how they are read."""
    parser.add_argument(
        "model", metavar="MODEL",
        help="local folder, hub id, or ladder:strong|mid|weak; recommend and validate also read a .gguf file",
    )  # fmt: skip
    parser.add_argument(
        "dataset", metavar="DATASET", nargs="?",
        help="json, jsonl, csv, tsv, parquet or arrow file (also .gz, .zst), save_to_disk folder, or hub id "
        "(a ladder brings its own)",
    )  # fmt: skip
    parser.add_argument(
        "--config", "-C", metavar="FILE", help="YAML with the same names; flags win"
    )
    parser.add_argument("--revision", help="of a model on the hub")
    parser.add_argument(
        "--trust_remote_code", action="store_true",
        help="run code that comes with the model, and in confirm code that files of --tasks name (off)",
    )  # fmt: skip
    data = parser.add_argument_group("data")
    data.add_argument("--dataset_config", help="configuration of a dataset on the hub")
    data.add_argument("--split", help="needed where there are several")
    data.add_argument(
        "--prompt_field", help="column with the prompt, where the name is not a known one"
    )
    data.add_argument("--completion_field", help="column with the completion")
    data.add_argument(
        "--delimiter",
        help="between the cells of a csv or tsv file (default: what its first line shows)",
    )
    data.add_argument(
        "--drop_bad_rows", action="store_true", default=None,
        help="drop rows that cannot be read, and count them, instead of refusing the dataset (off)",
    )  # fmt: skip
    data.add_argument("--chat_template", help="a Jinja file, or none for the plain format")
    data.add_argument("--eos_token", help="text of the token that ends a sequence, or none")
    data.add_argument(
        "--max_length",
        type=int,
        help="tokens kept of an example (default: the context, at most 2048)",
    )


def add_weights(parser: argparse.ArgumentParser) -> Any:
    """How weights are loaded; the group, for more."""
    weights = parser.add_argument_group("model")
    weights.add_argument(
        "--dtype", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)"
    )
    weights.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)"
    )
    weights.add_argument(
        "--allow_pickle", action="store_true", help="read pickled weights (tensors only)"
    )
    return weights


def add_calibration(parser: Any) -> None:
    """Which calibration."""
    parser.add_argument(
        "--calibration", metavar="FILE",
        help="what `advisor calibrate` wrote (default: the one that comes with the package)",
    )  # fmt: skip


def add_score(parser: Any) -> None:
    """Which of a task's scores, and which way it points."""
    parser.add_argument(
        "--metric",
        help="score of lm-eval tasks, as their results name it (default: the task's first)",
    )
    parser.add_argument(
        "--filter", metavar="NAME",
        help="of answers, as lm-eval's results name it, for example flexible-extract or none "
        "(default: the task's first)",
    )  # fmt: skip
    parser.add_argument(
        "--higher_is_better", type=true_or_false, metavar="BOOL",
        help="true or false, of a metric whose direction neither the task nor lm-eval tells",
    )  # fmt: skip


def add_prompts(parser: Any) -> None:
    """How lm-eval's tasks are asked, under lm-eval's names."""
    parser.add_argument(
        "--num_fewshot",
        type=number(int, 0),
        help="examples in a prompt of --tasks (default: the task's)",
    )
    parser.add_argument(
        "--apply_chat_template", nargs="?", const=True, type=true_or_false, metavar="BOOL",
        help="ask --tasks as chats (default: with the chat template that the model is trained with, if any)",
    )  # fmt: skip
    parser.add_argument(
        "--fewshot_as_multiturn", nargs="?", const=True, type=true_or_false, metavar="BOOL",
        help="examples as turns of the chat (default: where the chat template is applied)",
    )  # fmt: skip


def true_or_false(text: str) -> bool:
    """A type for argparse: true or false, as YAML and lm-eval write them."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r}: expected true or false")
    return known[text.lower()]


def add_margin(parser: Any) -> None:
    """Which difference does not matter."""
    parser.add_argument(
        "--margin",
        type=number(float, 0.0),
        help="difference that does not matter, in the unit of the scores (default: 1 point; none for scores "
        "that are no shares)",
    )


def add_json(parser: argparse.ArgumentParser) -> Any:
    """Output for machines; the group, for more."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    return group


def number(
    kind: Callable[[str], float], low: float, high: float = math.inf
) -> Callable[[str], float]:
    """A type for argparse: a finite number within bounds, refused in one line otherwise."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if value == math.inf:
            raise argparse.ArgumentTypeError(f"{text}: expected a finite number")
        if not low <= value <= high:
            limits = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"{text}: expected {limits}")
        return value

    return read


def refuse_renamed(words: Sequence[str]) -> None:
    """Raise InputError at a flag that has another name today."""
    for word in words:
        flag = word.partition("=")[0]
        if flag in RENAMED:
            raise InputError(f"{flag} is now {RENAMED[flag]}")
