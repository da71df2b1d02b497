"""`advisor export`: an objective as the files that another trainer runs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

from advisor.errors import InputError, printable
from advisor.files import find, publish
from advisor.objectives.export_files import Exported, export_files
from advisor.objectives.neighbours import NEIGHBOURS
from advisor.objectives.trainer_files import Layout, Wanted
from harness.cli.flags import add_json, number

DESCRIPTION = (
    "Write the files with which another trainer trains with OBJECTIVE: its own settings where it has the "
    "objective, else a program that gives it our loss. docs/neighbours.md says how far each was checked."
)
EXAMPLE = (
    "advisor export dft --to llamafactory --model Qwen/Qwen2.5-0.5B --learning_rate 1e-5 -o run"
)


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument(
        "objective", metavar="OBJECTIVE", help="as `advisor train --objective` takes it"
    )
    parser.add_argument("--to", required=True, choices=NEIGHBOURS, help="the trainer")
    parser.add_argument(
        "--model", default=Wanted.model, help="folder or hub id (default: %(default)s)"
    )
    parser.add_argument(
        "--dataset", default=Wanted.dataset,
        help="a file of JSON lines, for verl a parquet file (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--layout", default=Wanted.layout, choices=get_args(Layout),
        help="columns of the dataset: messages, or prompt and completion (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--learning_rate",
        type=number(float, 0.0),
        help="default: the trainer's own; `recommend` names one",
    )
    parser.add_argument(
        "--epochs",
        type=number(int, 1),
        default=Wanted.epochs,
        help="passes over the data (default: %(default)s)",
    )
    parser.add_argument(
        "--batch_size", type=number(int, 1), default=Wanted.batch_size,
        help="examples in an optimiser step on one device (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max_length", type=number(int, 2), default=Wanted.max_length,
        help="longest sequence, tokens (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--output_dir",
        default=Wanted.output_dir,
        help="where the trainer saves (default: %(default)s)",
    )
    add_json(parser).add_argument(
        "--output_path",
        "-o",
        metavar="FOLDER",
        help="write the files there, instead of printing them",
    )


def run(args: argparse.Namespace) -> None:
    """Make the files, and write or print them."""
    given = {name: getattr(args, name) for name in Wanted.__dataclass_fields__}
    given |= {name: _place(given[name]) for name in ("model", "dataset")}
    found = export_files(args.objective, args.to, Wanted(**given))
    if args.output_path:
        _write(found, Path(args.output_path).expanduser())
    if args.json:
        print(json.dumps(_plain(found), ensure_ascii=False))
        return
    if not args.output_path:
        for name, text in found.files.items():
            print(f"# ---- {name}\n{printable(text)}")
    for note in found.notes:
        print(printable(f"- {note}"), file=sys.stderr)
    where = f" (in {args.output_path})" if args.output_path else ""
    print(printable(f"run: {found.command}{where}"))


def _place(name: str) -> str:
    """A path that is there in full, since the files are run in another folder; any other name as it is."""
    path, there = find(name)
    return str(path.resolve()) if there else name


def _write(found: Exported, folder: Path) -> None:
    """Every file into a folder that is made where it is not there; none is written over."""
    there = [name for name in found.files if (folder / name).exists()]
    if there:
        raise InputError(f"-o {folder}: {there[0]} is there already: give another folder")
    for name, text in found.files.items():
        publish(
            folder / name,
            text.encode(),
            subject=f"-o {folder / name}",
            remedy="give another folder",
        )


def _plain(found: Exported) -> dict[str, object]:
    """For machines."""
    return {
        "objective": found.objective,
        "to": found.neighbour.name,
        "how": found.how,
        "files": dict(found.files),
        "run": found.command,
        "notes": list(found.notes),
    }
