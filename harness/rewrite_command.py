"""`advisor rewrite`: from the command line's arguments to the rewritten dataset, and what is said of it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from advisor.data import SFTDataset
from advisor.errors import InputError
from advisor.model import LoadedModel
from harness.hint import read_hint
from harness.hinted import Sampling
from harness.rewrite import NOT_HINTED, Read, Rewritten, Settings, rewrite


def output_file(output_path: str) -> Path:
    """The file to write; what cannot be written is refused before the work."""
    path = Path(output_path)
    if path.suffix != ".jsonl":
        raise InputError(f"--output_path {output_path}: the dataset is JSON Lines, name it .jsonl")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_path {output_path}: {error.strerror}") from None
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"--output_path {output_path}: cannot be written")
    return path


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the flags give."""
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
    if args.dataset and Path(args.dataset).absolute() == path.absolute():
        raise InputError(f"--output_path {path}: that is DATASET itself; give another path")
    fields = (args.prompt_field, args.completion_field)
    return rewrite(loaded, dataset, read, path, settings, fields=fields, on_progress=on_progress)


def remarks(found: Rewritten) -> Iterator[str]:
    """What came of the rows, one sentence each."""
    own, hinted = found.origins.get("own", 0), found.origins.get("hinted", 0)
    yield (
        f"{found.rows} rows: {own} answers are the model's own, {hinted} were written by hinted decoding, "
        f"{found.rows - own - hinted} have no verified answer; {found.written} rows are written."
    )
    failed = {k: n for k, n in found.origins.items() if k not in ("own", "hinted")}
    if failed:
        yield (
            "No verified answer: " + ", ".join(f"{n} {k}" for k, n in sorted(failed.items())) + "."
        )
    if found.marker_missing_rate is not None:
        tried = sum(n for k, n in found.origins.items() if k not in NOT_HINTED)
        yield f"The marker is missing in {found.marker_missing_rate:.0%} of {tried} analyses."
    if found.own_share is not None:
        yield f"In hinted decoding the model's own distribution has a mean weight of {found.own_share:.2f}."
    yield f"What came of every row: {found.provenance}"
