"""`advisor rewrite`: rewrite a dataset's answers in the model's own words, verified."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from advisor import files
from advisor.errors import InputError, printable
from advisor.model.gguf import refuse as refuse_gguf
from advisor.options import DataOptions, ModelOptions
from harness.cli.early import check_pair
from harness.cli.flags import add_json, add_options, add_pair, read
from harness.cli.inputs import given_pair, read_pair_to_train
from harness.generate.rewrite_settings import RewriteOptions

if TYPE_CHECKING:
    from harness.generate.rewrite import Rewritten

DESCRIPTION = (
    "Write DATASET anew with answers that MODEL itself gives: unaided where they are right, else by hinted "
    "decoding with the reference answer at hand. Only verified answers are kept. Started again, it goes on "
    "where it stopped."
)
EXAMPLE = "advisor rewrite Qwen/Qwen2.5-0.5B train.jsonl --output_path rewritten.jsonl"
OF_THE_OUTPUT = ("output_path",)


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    add_pair(parser)
    add_options(parser, ModelOptions, only=("revision", "trust_remote_code"))
    add_options(parser.add_argument_group("data"), DataOptions)
    model = parser.add_argument_group("model")
    add_options(model, ModelOptions, only=("dtype", "device", "allow_pickle"))
    add_options(parser.add_argument_group("rewriting"), RewriteOptions, without=OF_THE_OUTPUT)
    add_options(add_json(parser), RewriteOptions, only=OF_THE_OUTPUT)


def run(args: argparse.Namespace) -> None:
    """Refuse early, then read, rewrite and print where the new dataset is."""
    options = read(RewriteOptions, args)
    settings = options.settings()
    pair, model, data = given_pair(args)
    refuse_gguf(pair.model, "rewrite")
    check_pair(pair, data)
    path = output_file(options.output_path, pair.dataset)

    from harness.cli import display
    from harness.generate.rewrite import rewrite

    loaded, dataset = read_pair_to_train(pair, model, data)
    found = rewrite(
        loaded,
        dataset,
        lambda rows: dataset.read(rows, max_length=loaded.context_length),
        path,
        settings,
        fields=(data.prompt_field, data.completion_field),
        on_progress=display.Shown("rewriting"),
        say=lambda line: display.notes([line]),
    )
    display.notes(dataset.losses())
    display.notes(remarks(found))
    print(json.dumps(found.to_dict()) if args.json else printable(found.path))


def output_file(output_path: str, dataset: str) -> Path:
    """The file to write; see `files.output_file`."""
    if Path(output_path).suffix != ".jsonl":
        raise InputError(f"--output_path {output_path}: the dataset is JSON Lines, name it .jsonl")
    return files.output_file(output_path, flag="--output_path", dataset=dataset)


def remarks(found: Rewritten) -> Iterator[str]:
    """What came of the rows, one sentence each."""
    from harness.generate.provenance import FAILED
    from harness.generate.rewrite import NOT_HINTED

    own, hinted, guided = (found.origins.get(name, 0) for name in ("own", "hinted", "guided"))
    how = (
        f"{guided} were given with the demonstration at hand" if guided
        else f"{hinted} were written by hinted decoding"
    )  # fmt: skip
    yield (
        f"{found.rows} rows: {own} answers are the model's own, {how}, "
        f"{found.rows - own - hinted - guided} have no verified answer; {found.written} rows are written."
    )
    for origin, meaning in FAILED.items():
        if number := found.origins.get(origin):
            yield f"No verified answer in {number} rows, {origin}: {meaning}."
    if found.marker_missing_rate is not None:
        tried = sum(n for k, n in found.origins.items() if k not in NOT_HINTED)
        yield f"The marker is missing in {found.marker_missing_rate:.0%} of {tried} analyses."
    if found.own_share is not None:
        yield f"In hinted decoding the model's own distribution has a mean weight of {found.own_share:.2f}."
    yield f"What came of every row: {found.provenance}"
