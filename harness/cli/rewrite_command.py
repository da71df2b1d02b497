"""`advisor rewrite`: from the command line's arguments to the rewritten dataset, and what is said of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from advisor import files as publish
from advisor.data.dataset import SFTDataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel
from harness.evaluate.final_answers import compile_pattern
from harness.generate.hint import read_hint
from harness.generate.hinted import Sampling
from harness.generate.provenance import FAILED
from harness.generate.rewrite import NOT_HINTED, Read, Rewritten, Settings, rewrite, splitter_of


def output_file(output_path: str, dataset: str) -> Path:
    """The file to write; see `publish.output_file`."""
    if Path(output_path).suffix != ".jsonl":
        raise InputError(f"--output_path {output_path}: the dataset is JSON Lines, name it .jsonl")
    return publish.output_file(output_path, flag="--output_path", dataset=dataset)


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the flags give; InputError where they do not go together."""
    if not args.marker:
        raise InputError("--marker is empty: give the text that ends the analysis, or none")
    if args.answer_regex:
        compile_pattern(args.answer_regex)
        splitter_of(args.answer_regex, args.splitter)
    return Settings(
        hint=read_hint(args.hint),
        marker=None if args.marker == "none" else args.marker,
        answer_regex=args.answer_regex,
        splitter=args.splitter,
        sampling=Sampling(temperature=args.temperature, top_p=args.top_p),
        beta=args.beta,
        tries=args.tries,
        keep_failed=args.keep_failed,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
        seed=args.seed,
    )


def run_rewriting(
    args: argparse.Namespace,
    path: Path,
    settings: Settings,
    loaded: LoadedModel,
    dataset: SFTDataset,
    read: Read,
    on_progress: Callable[[int, int], None],
) -> Rewritten:
    """Rewrite the dataset as the flags say; see `rewrite`."""
    fields = (args.prompt_field, args.completion_field)
    return rewrite(loaded, dataset, read, path, settings, fields=fields, on_progress=on_progress)


def remarks(found: Rewritten) -> Iterator[str]:
    """What came of the rows, one sentence each."""
    own, hinted = found.origins.get("own", 0), found.origins.get("hinted", 0)
    yield (
        f"{found.rows} rows: {own} answers are the model's own, {hinted} were written by hinted decoding, "
        f"{found.rows - own - hinted} have no verified answer; {found.written} rows are written."
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
