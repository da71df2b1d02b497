"""`advisor validate`: how a dataset is understood."""

from __future__ import annotations

import argparse
import json

from advisor.errors import InputError
from advisor.files import output_file
from advisor.options import DataOptions, ModelOptions
from harness.cli.early import check_pair
from harness.cli.flags import add_json, add_options, add_pair, number
from harness.cli.inputs import given_pair, read_model

DESCRIPTION = (
    "Show how DATASET is understood with MODEL's tokenizer: format, counts, and one example with its target "
    "tokens marked. Reads no weights unless --scores is given."
)
EXAMPLE = "advisor validate Qwen/Qwen2.5-0.5B train.jsonl --example 3"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    add_pair(parser)
    add_options(parser, ModelOptions, only=("revision", "trust_remote_code"))
    add_options(parser.add_argument_group("data"), DataOptions)
    model = parser.add_argument_group("model")
    add_options(model, ModelOptions, only=("dtype", "device", "allow_pickle"))
    parser.add_argument("--limit", "-L", type=number(int, 1), help="tokenise only the first rows")
    parser.add_argument("--example", type=int, default=0, help="row to show (default: 0)")
    add_json(parser).add_argument(
        "--scores", metavar="FILE", help="score every row and write a JSON line each: mean p, NLL, CLL and "
        "compatibility (larger fits the model better); the five worst are shown",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Refuse early, then read, tokenise and print; score where that is asked."""
    pair, model, data = given_pair(args)
    check_pair(pair, data)
    path = output_file(args.scores, flag="--scores", dataset=pair.dataset) if args.scores else None

    from dataclasses import asdict

    from advisor.data.dataset import load_dataset
    from advisor.model.load import context_length, load_tokenizer
    from advisor.prior.row_scores import measure_scores, worst, write_scores
    from harness.cli import display

    loaded = read_model(pair, model) if path else None
    if loaded:
        dataset = load_dataset(pair.dataset, loaded, **data.keywords())
    else:
        tokenizer = load_tokenizer(pair.model, **model.hub())
        length = context_length(pair.model, **model.hub())
        dataset = load_dataset(pair.dataset, tokenizer, context_length=length, **data.keywords())
    rows = range(min(len(dataset), args.limit or len(dataset)))
    if not 0 <= args.example < len(dataset):
        raise InputError(f"--example {args.example}: the dataset has rows 0 to {len(dataset) - 1}")
    display.tokenise(dataset, rows)
    dataset.require_targets()
    understood = {
        "format": dataset.info.format,
        "rows": len(dataset),
        **asdict(dataset.counts),
        "template": dataset.info.template,
        "notes": [*dataset.notes, *dataset.dropped()],
    }
    if not args.json:
        display.dataset(dataset, args.example)
    if path and loaded:
        display.notes(loaded.notes)
        with display.Shown("scored") as told:
            scores = measure_scores(loaded, dataset, rows, on_progress=told)
        write_scores(path, scores)
        understood["worst"] = [score.to_dict() for score in worst(scores)]
        if not args.json:
            display.worst_rows(worst(scores))
    if args.json:
        print(json.dumps(understood))
