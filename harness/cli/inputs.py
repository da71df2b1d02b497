"""MODEL and DATASET of a command line to what they name, with bars and notes; heavy imports stand inside."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from advisor.options import DataOptions, ModelOptions, PriorOptions
from harness.cli.flags import read
from harness.ladder.named_pair import Pair, pair_of

if TYPE_CHECKING:
    from advisor.data.dataset import SFTDataset
    from advisor.model.load import LoadedModel
    from advisor.prior.prior import Prior


def given_pair(args: argparse.Namespace) -> tuple[Pair, ModelOptions, DataOptions]:
    """The pair that is named, and how it is to be read.

    Raises:
        InputError: a rung that the ladder has not, or no dataset.
    """
    pair = pair_of(args.model, args.dataset)
    return pair, read(ModelOptions, args), read(DataOptions, args)


def read_model(pair: Pair, model: ModelOptions) -> LoadedModel:
    """The model, under the name that the user typed."""
    from advisor.model.load import load_model

    loaded = load_model(pair.model, **model.keywords())
    return replace(loaded, name=pair.model_name)  # ladder:strong, not where it is installed


def read_pair(pair: Pair, model: ModelOptions, data: DataOptions) -> tuple[LoadedModel, SFTDataset]:
    """The model and the dataset, and what was assumed of them on stderr."""
    from advisor.data.dataset import load_dataset
    from harness.cli import display

    loaded = read_model(pair, model)
    dataset = load_dataset(pair.dataset, loaded, **data.keywords())
    display.notes((*loaded.notes, *dataset.info.notes))
    return loaded, dataset


def read_pair_to_train(
    pair: Pair, model: ModelOptions, data: DataOptions
) -> tuple[LoadedModel, SFTDataset]:
    """Model and dataset; the model stops where the dataset's turns end, now and as it is saved."""
    from harness.generate.decoding import stop_where_turns_end

    loaded, dataset = read_pair(pair, model, data)
    stop_where_turns_end(loaded, dataset)
    return loaded, dataset


def read_evaluation(
    split: str | None, pair: Pair, data: DataOptions, loaded: LoadedModel
) -> SFTDataset | None:
    """The split to evaluate on."""
    from advisor.data.dataset import load_dataset
    from advisor.errors import InputError

    if not split:
        return None
    try:
        return load_dataset(pair.dataset, loaded, **replace(data, split=split).keywords())
    except InputError as error:
        raise InputError(str(error).replace("--split", "--eval_split")) from error


def measure(
    loaded: Any, dataset: SFTDataset, kind: str | None = None, prior: PriorOptions | None = None
) -> Prior:
    """The prior, and how far it is."""
    from advisor.advice.published_rule import is_settled
    from advisor.prior.prior import measure_prior
    from harness.cli.display import Shown, notes

    with Shown("measuring the prior", quick=False) as told:
        found = measure_prior(
            loaded,
            dataset,
            settled=lambda prior: is_settled(prior, kind),
            on_progress=told,
            **(prior or PriorOptions()).keywords(),
        )
    notes(dataset.row_notes)
    return found


def say(lines: list[str]) -> None:
    """Sentences for the user, on stderr."""
    from harness.cli import display

    display.notes(lines)
