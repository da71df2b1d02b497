"""The parsers of the program and of its commands, and the YAML file that can stand for flags.

Flags are snake_case as in TRL and lm-eval, the kebab spelling is accepted. Precedence: default, YAML, flag.
A wrong argument is one line that names the nearest flag of its command. Standard library only; a command's
file is imported when its flags are needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from advisor import __version__
from advisor.errors import InputError
from advisor.names import did_you_mean

COMMANDS = {
    "recommend": "measure what the model knows of the dataset and answer with a plan of a few fine-tunes",
    "validate": "show how a dataset is understood: format, counts, one example with its targets marked",
    "train": "fine-tune with any objective of the table",
    "distill": "train a model on its own answers towards a teacher's distribution (OPD, FiRe-OPD)",
    "confirm": "carry the plan out and keep the best checkpoint, or compare arms with statistics",
    "rewrite": "rewrite a dataset's answers in the model's own words, verified",
    "compare": "compare the arms of recorded runs, or of lm-eval --log_samples outputs",
    "decide": "say which checkpoint to keep, of runs made and scored elsewhere",
    "export": "write the files with which another trainer trains with an objective",
    "report": "write one HTML page of recorded runs: verdict, plots, tables, how it was measured",
    "calibrate": "add your own confirmed runs to what recommendations rest on",
    "power": "what a comparison of a given size can find",
    "explain": "what an objective does and when it harms, or what a warning means",
    "ls": "list what there is to choose from",
    "env": "versions and devices, for a bug report",
}
"""Each is a file beside this one: `add(parser)`, `run(args)`, `DESCRIPTION` and `EXAMPLE`."""
PASS_ON = {"train": "SFTConfig", "confirm": "SFTConfig", "distill": "DistillationConfig"}
"""Commands that hand arguments they do not know on to TRL, and the class there whose fields they are."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose refusals are one line and name the nearest flag."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Refuse the command line with an InputError."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            near = did_you_mean(unknown.split()[0].split("=")[0], flags(self))
            message = f"unknown argument {unknown}" + (f": {near}" if near else "")
        raise InputError(f"{message} (see {self.prog} --help)")


def flags(parser: argparse.ArgumentParser) -> list[str]:
    """Every long flag of a parser."""
    return [flag for flag in parser._option_string_actions if flag.startswith("--")]


def command(name: str) -> ModuleType:
    """The file of a command."""
    return import_module(f"harness.cli.{name}")


def build_parser(filled: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The whole command line.

    Args:
        filled: the commands that get their flags; the others have a name and a line of help.
    """
    parser = Parser(
        prog="advisor",
        description="Which objective, rate and decoding for this model and dataset? Measured, not guessed.",
    )
    parser.add_argument("--version", action="version", version=f"advisor {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    for name, help in COMMANDS.items():
        if name not in filled:
            commands.add_parser(name, help=help)
            continue
        module = command(name)
        example = f"example:\n  {module.EXAMPLE}"
        added = commands.add_parser(
            name, help=help, description=module.DESCRIPTION, epilog=example, formatter_class=_Help
        )
        module.add(added)
    return parser


class _Help(argparse.HelpFormatter):
    """Wraps texts, and keeps the example's lines as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example:"):
            return text
        return super()._fill_text(text, width, indent)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a whole command line; what is handed on to TRL stands in `settings`."""
    words = [_snake(word) for word in argv]
    named = next((word for word in words if word in COMMANDS), None)
    parser = build_parser([named] if named else [])
    commands = _subparsers(parser)
    words, from_file = _configured(commands, words)
    args, unknown = parser.parse_known_args(words)
    stray = bool(from_file and unknown) and not unknown[0].startswith("-")
    if unknown and (stray or args.command not in PASS_ON):
        commands[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    args.settings = [*from_file, *unknown]
    if args.settings:
        from harness.cli.flags import refuse_renamed
        from harness.train.trl_fields import check_names

        refuse_renamed(args.settings)
        own = flags(commands[args.command])
        check_names([*unknown, *from_file], PASS_ON[args.command], own)
    return args


def _configured(
    commands: dict[str, argparse.ArgumentParser], words: list[str]
) -> tuple[list[str], list[str]]:
    """The words with those of the YAML file, and the words that the file hands on."""
    finder = Parser(add_help=False)
    finder.add_argument("--config", "-C")
    file = finder.parse_known_args(words)[0].config
    if file is None or words[0] not in commands:
        return words, []
    from harness.cli.config_file import with_config

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
