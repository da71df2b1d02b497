"""The command line's arguments: flags, their help, and the YAML file that can stand for them.

Flags are snake_case as in TRL and lm-eval, the kebab spelling is accepted. Precedence: default, YAML,
flag. A wrong argument is one line that names the nearest. Standard library only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from advisor import __version__
from advisor.errors import InputError
from advisor.names import did_you_mean
from harness.cli.config_file import with_config
from harness.cli.flags import (
    add_calibration,
    add_json,
    add_margin,
    add_model_and_dataset,
    add_score,
    add_weights,
    number,
    refuse_renamed,
)
from harness.cli.training_arguments import add_confirm, add_distill, add_rewrite, add_train

PASS_ON = ("train", "confirm", "distill")
"""Commands that hand arguments they do not know on to TRL."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose refusals are one line and name the nearest flag."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Refuse the command line with an InputError."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            near = did_you_mean(unknown.split()[0].split("=")[0], _flags(self))
            message = f"unknown argument {unknown}" + (f": {near}" if near else "")
        raise InputError(f"{message} (see {self.prog} --help)")


def _flags(parser: argparse.ArgumentParser) -> set[str]:
    """Every long flag of a parser and of its commands."""
    flags = {flag for flag in parser._option_string_actions if flag.startswith("--")}
    return flags.union(*map(_flags, _subparsers(parser).values()))


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="advisor",
        description="Which fine-tuning objective for this model and this dataset? Measured, not guessed.",
    )
    parser.add_argument("--version", action="version", version=f"advisor {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    _add_recommend(commands)
    _add_validate(commands)
    add_train(commands)
    add_distill(commands)
    add_confirm(commands)
    add_rewrite(commands)
    _add_compare(commands)
    _add_report(commands)
    _add_calibrate(commands)
    _add_power(commands)
    listing = commands.add_parser("ls", help="list what there is to choose from")
    listing.add_argument("what", choices=["objectives"])
    add_json(listing)
    environment = commands.add_parser("env", help="versions and devices, for a bug report")
    add_json(environment)
    return parser


def _add_recommend(commands: Any) -> None:
    parser = commands.add_parser(
        "recommend",
        help="measure the model's prior over the dataset and recommend an objective",
        description="Measure how much probability MODEL already gives the targets of DATASET, with "
        "forward passes only unless --depth deep is given, and recommend the fine-tuning objective. "
        "`advisor recommend ladder:strong` needs no data of yours.",
    )
    add_model_and_dataset(parser)
    weights = add_weights(parser)
    weights.add_argument(
        "--device_map", help="spread a large model as accelerate does, for example auto"
    )
    weights.add_argument(
        "--model_kind", choices=["base", "instruct"], help="default: what the model's files say"
    )
    use = parser.add_argument_group("use and measurement")
    use.add_argument(
        "--temperature", type=number(float, 0.0, 10.0), help="how the fine-tuned model will be decoded; "
        "0 is greedy (default: the model's generation config)",
    )  # fmt: skip
    use.add_argument(
        "--depth", choices=["quick", "deep"], default="quick",
        help="deep adds a short NLL run on up to 480 rows, gradients and sampled answers (default: quick)",
    )  # fmt: skip
    use.add_argument(
        "--deep_steps", type=number(int, 1), default=60,
        help="optimiser steps of that run, 8 rows each (default: 60)",
    )  # fmt: skip
    add_calibration(use)
    size = use.add_mutually_exclusive_group()
    size.add_argument(
        "--limit", "-L", type=number(int, 1), help="measure exactly this many, drawn at random"
    )
    size.add_argument("--exact", action="store_true", help="measure every example")
    use.add_argument(
        "--seed", type=number(int, 0), default=0, help="of the order of examples (default: 0)"
    )
    use.add_argument(
        "--batch_tokens", type=number(int, 1),
        help="tokens the model reads at a time (default: 8192, on a CPU 1024)",
    )  # fmt: skip
    output = add_json(parser)
    output.add_argument(
        "--output_path", "-o", help="where to write the full record: a .json file, or a folder"
    )


def _add_validate(commands: Any) -> None:
    parser = commands.add_parser(
        "validate",
        help="show how a dataset is understood: format, counts, one example with its targets marked",
        description="Show how DATASET is understood with MODEL's tokenizer: format, counts, and one "
        "example with its target tokens marked. Reads no weights unless --scores is given.",
    )
    add_model_and_dataset(parser)
    add_weights(parser)
    parser.add_argument("--limit", "-L", type=number(int, 1), help="tokenise only the first rows")
    parser.add_argument("--example", type=int, default=0, help="row to show (default: 0)")
    add_json(parser).add_argument(
        "--scores", metavar="FILE", help="score every row and write a JSON line each: mean p, NLL, CLL and "
        "compatibility (larger fits the model better); the five worst are shown",
    )  # fmt: skip


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare the arms of recorded runs, or of lm-eval --log_samples outputs",
        description="Paired comparison of every arm with a baseline, task by task: difference with interval, "
        "Holm-adjusted p, verdict. PATHs are folders of records, single records, or lm-eval output folders.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--baseline", help="arm to compare with (default: nll)")
    parser.add_argument("--task", help="one task only")
    parser.add_argument("--temperature", type=number(float, 0.0, 10.0), help="one temperature only")
    add_score(parser)
    add_margin(parser)
    add_json(parser)


def _add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="write one HTML page of recorded runs: verdict, plots, tables, how it was measured",
        description="Write one self-contained HTML page of everything recorded under RESULTS, a folder that "
        "`advisor confirm` has written, or one with lm-eval's logged samples.",
    )
    parser.add_argument("results", metavar="RESULTS")
    parser.add_argument(
        "--output_path", "-o", metavar="FILE", help="the page (default: RESULTS/report.html)"
    )
    add_score(parser)
    add_margin(parser)


def _add_calibrate(commands: Any) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="add your own confirmed runs to what recommendations rest on",
        description="Add the studies under RESULTS, folders that `advisor confirm` has written, to a "
        "calibration that `advisor recommend --calibration FILE` reads.",
    )
    parser.add_argument("results", metavar="RESULTS", nargs="+")
    add_calibration(parser)
    parser.add_argument(
        "--output_path", "-o", metavar="FILE", default="calibration.json",
        help="the new calibration (default: calibration.json)",
    )  # fmt: skip


def _add_power(commands: Any) -> None:
    parser = commands.add_parser(
        "power",
        help="what a comparison of a given size can find",
        description="The smallest difference, in points, that a paired comparison finds with 80 % power.",
    )
    parser.add_argument("--documents", type=number(int, 2), required=True, help="test documents")
    parser.add_argument("--seeds", type=number(int, 1), default=3, help="of each arm (default: 3)")
    parser.add_argument(
        "--accuracy", type=number(float, 0.0, 1.0), default=0.5,
        help="expected of both arms (default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--seed_sd", type=number(float, 0.0), default=3.0,
        help="points that seeds differ by (default: 3)",
    )  # fmt: skip
    parser.add_argument(
        "--arms", type=number(int, 1), default=1, help="compared with the baseline (default: 1)"
    )
    add_json(parser)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a whole command line; what `train` hands on to TRL stands in `settings`."""
    words = [_snake(word) for word in argv]
    parser = build_parser()
    words, from_file = _configured(parser, words)
    args, unknown = parser.parse_known_args(words)
    stray = bool(from_file and unknown) and not unknown[0].startswith("-")
    if unknown and (stray or args.command not in PASS_ON):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    args.settings = [*from_file, *unknown]
    refuse_renamed(args.settings)
    return args


def _configured(parser: argparse.ArgumentParser, words: list[str]) -> tuple[list[str], list[str]]:
    """The words with those of the YAML file, and the words that the file hands on."""
    finder = Parser(add_help=False)
    finder.add_argument("--config", "-C")
    file = finder.parse_known_args(words)[0].config
    commands = _subparsers(parser)
    if file is None or words[0] not in commands:
        return words, []
    return with_config(file, commands[words[0]], words, open_keys=words[0] in PASS_ON)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands' parsers by name."""
    return {
        name: command
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
    }


def _snake(argument: str) -> str:
    """`--max-length=3` -> `--max_length=3`: both spellings are accepted."""
    name, equals, value = argument.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value
        if name.startswith("--")
        else argument
    )
