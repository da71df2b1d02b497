"""What several commands do first: resolve a ladder's name, read the pair, measure the prior."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError

if TYPE_CHECKING:
    from advisor.data.dataset import SFTDataset
    from advisor.model.load import LoadedModel
    from advisor.prior.prior import Prior


def resolve_ladder(args: argparse.Namespace) -> None:
    """Replace `ladder:NAME` by the folder and the demonstrations that come with the installation."""
    from harness.ladder import LADDER, resolve

    args.model_name, args.dataset_name = args.model, args.dataset or args.model
    if args.model.startswith(LADDER):
        model, demonstrations = resolve(args.model.removeprefix(LADDER))
        args.model, args.dataset = str(model), args.dataset or str(demonstrations)
        args.model_kind = getattr(args, "model_kind", None) or "base"
    if args.dataset is None:
        raise InputError(f"DATASET is missing: advisor {args.command} {args.model} DATASET")
    if args.dataset.startswith(LADDER):
        args.dataset = str(resolve(args.dataset.removeprefix(LADDER))[1])


def read_pair(args: argparse.Namespace) -> tuple[LoadedModel, SFTDataset]:
    """The model and the dataset, and what was assumed of them on stderr."""
    from harness.cli import display
    from harness.cli.inputs import read_dataset, read_model

    loaded = read_model(args)
    dataset = read_dataset(args, loaded.tokenizer)
    display.notes((*loaded.notes, *dataset.info.notes))
    return loaded, dataset


def measure(loaded: Any, dataset: SFTDataset, kind: str | None = None, **settings: Any) -> Prior:
    """The prior; `settings` are those of `measure_prior`."""
    from advisor.advice.published_rule import is_settled
    from advisor.prior.prior import measure_prior
    from harness.cli.display import Shown, notes

    with Shown("measuring the prior", quick=False) as told:
        prior = measure_prior(
            loaded,
            dataset,
            settled=lambda prior: is_settled(prior, kind),
            on_progress=told,
            **settings,
        )
    notes(dataset.row_notes)
    return prior
