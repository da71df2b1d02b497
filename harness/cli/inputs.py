"""MODEL and DATASET of a command line to what they name; heavy imports stand inside."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advisor.data.dataset import SFTDataset
    from advisor.model.load import LoadedModel

DATA_FLAGS = (
    "dataset_config", "split", "prompt_field", "completion_field", "delimiter", "drop_bad_rows",
    "chat_template", "eos_token", "max_length",
)  # fmt: skip
"""Flags that say how a dataset is read."""

"""Those of them that take no value."""


def read_model(args: argparse.Namespace) -> LoadedModel:
    """The model, under the name that the user typed."""
    from dataclasses import replace

    from advisor.model.load import load_model

    loaded = load_model(
        args.model,
        dtype=args.dtype,
        device=args.device,
        device_map=getattr(args, "device_map", None),
        revision=args.revision,
        trust_remote_code=args.trust_remote_code,
        allow_pickle=args.allow_pickle,
    )
    return replace(loaded, name=args.model_name)  # ladder:strong, not where it is installed


def read_dataset(
    args: argparse.Namespace, tokenizer: Any, *, split: str | None = None, source: Any = None
) -> SFTDataset:
    """The dataset, or another source read in the same way."""
    from advisor.data.dataset import load_dataset
    from advisor.model.load import context_length

    hub = {"revision": args.revision, "trust_remote_code": args.trust_remote_code}

    return load_dataset(
        args.dataset if source is None else source,
        tokenizer,
        split=split or args.split,
        config=args.dataset_config,
        prompt_field=args.prompt_field,
        completion_field=args.completion_field,
        delimiter=args.delimiter,
        drop_bad_rows=bool(args.drop_bad_rows),
        chat_template=args.chat_template,
        max_length=args.max_length,
        eos_token=args.eos_token,
        context_length=context_length(args.model, **hub),
    )


def read_rows(
    args: argparse.Namespace,
    tokenizer: Any,
    rows: Sequence[Mapping[str, Any]],
    *,
    whole_context: bool = False,
) -> SFTDataset:
    """Source rows as a dataset, read as the user's is, but on wish up to the model's whole context."""
    part = argparse.Namespace(**vars(args))
    part.split, part.dataset_config = None, None
    if whole_context:
        from advisor.model.load import context_length

        hub = {"revision": args.revision, "trust_remote_code": args.trust_remote_code}
        part.max_length = context_length(args.model, **hub) or args.max_length
    return read_dataset(part, tokenizer, source=list(rows))


def pair_of(args: argparse.Namespace) -> str:
    """MODEL DATASET and the flags that say how to read it, as a shell takes them."""
    words = [args.model_name]
    if args.dataset_name != args.model_name:
        words.append(args.dataset_name)
    for name in DATA_FLAGS:
        value = getattr(args, name)
        if value is not None and value is not False:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(words)
