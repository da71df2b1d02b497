"""The command line's arguments: flags, their help, and the YAML file that can stand for them.

Flags are snake_case as in TRL and lm-eval, the kebab spelling is accepted. Precedence: default, YAML,
flag. A wrong argument is one line that names the nearest. Standard library only.
"""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from advisor import __version__
from advisor.config_file import with_config
from advisor.errors import InputError

PASS_ON = ("train", "confirm")
"""Commands that hand arguments they do not know on to TRL."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose refusals are one line and name the nearest flag."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Refuse the command line with an InputError."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            near = difflib.get_close_matches(unknown.split()[0].split("=")[0], _flags(self), n=1)
            message = f"unknown argument {unknown}" + (f": did you mean {near[0]}?" if near else "")
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
    _add_train(commands)
    _add_confirm(commands)
    _add_compare(commands)
    _add_report(commands)
    _add_calibrate(commands)
    _add_power(commands)
    listing = commands.add_parser("ls", help="list what there is to choose from")
    listing.add_argument("what", choices=["objectives"])
    _add_json(listing)
    environment = commands.add_parser("env", help="versions and devices, for a bug report")
    _add_json(environment)
    return parser


def _add_recommend(commands: Any) -> None:
    parser = commands.add_parser(
        "recommend",
        help="measure the model's prior over the dataset and recommend an objective",
        description="Measure how much probability MODEL already gives the targets of DATASET, with "
        "forward passes only unless --depth deep is given, and recommend the fine-tuning objective. "
        "`advisor recommend ladder:strong` needs no data of yours.",
    )
    _add_model_and_dataset(parser)
    weights = _add_weights(parser)
    weights.add_argument(
        "--device_map", help="spread a large model as accelerate does, for example auto"
    )
    weights.add_argument(
        "--model_kind", choices=["base", "instruct"], help="default: what the model's name says"
    )
    use = parser.add_argument_group("use and measurement")
    use.add_argument(
        "--temperature", type=_number(float, 0.0, 10.0), help="how the fine-tuned model will be decoded; "
        "0 is greedy (default: the model's generation config)",
    )  # fmt: skip
    use.add_argument(
        "--depth", choices=["quick", "deep"], default="quick",
        help="deep adds a short NLL run on up to 480 rows, gradients and sampled answers (default: quick)",
    )  # fmt: skip
    use.add_argument(
        "--deep_steps", type=_number(int, 1), default=60,
        help="optimiser steps of that run, 8 rows each (default: 60)",
    )  # fmt: skip
    _add_calibration(use)
    size = use.add_mutually_exclusive_group()
    size.add_argument(
        "--limit", "-L", type=_number(int, 1), help="measure exactly this many, drawn at random"
    )
    size.add_argument("--exact", action="store_true", help="measure every example")
    use.add_argument(
        "--seed", type=_number(int, 0), default=0, help="of the order of examples (default: 0)"
    )
    use.add_argument(
        "--batch_tokens", type=_number(int, 1),
        help="tokens the model reads at a time (default: 8192, on a CPU 1024)",
    )  # fmt: skip
    output = _add_json(parser)
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
    _add_model_and_dataset(parser)
    _add_weights(parser)
    parser.add_argument("--limit", "-L", type=_number(int, 1), help="tokenise only the first rows")
    parser.add_argument("--example", type=int, default=0, help="row to show (default: 0)")
    _add_json(parser).add_argument(
        "--scores", metavar="FILE", help="score every row and write a JSON line each: mean p, NLL, CLL and "
        "CADFT's compatibility; the five worst are shown",
    )  # fmt: skip


def _add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="fine-tune with any objective of the table",
        description="Fine-tune MODEL on DATASET. Beside the options below, every field of TRL's SFTConfig "
        "and the adapter fields of its ModelConfig (--use_peft, --lora_r, ...) are accepted as flags "
        "and in --config. "
        "For several processes: torchrun --nproc_per_node 2 -m advisor.cli train ...",
    )
    _add_model_and_dataset(parser)
    _add_weights(parser)
    parser.add_argument(
        "--objective", default="nll", help="see `advisor ls objectives` (default: nll)"
    )
    parser.add_argument("--output_dir", required=True, help="where checkpoints and the model go")
    parser.add_argument("--eval_split", help="split of DATASET to evaluate on while training")
    parser.add_argument(
        "--rewrite", action="store_true",
        help="cadft: let the model rewrite, while it trains, the examples it stays least compatible with",
    )  # fmt: skip
    parser.add_argument(
        "--rewrite_verify", action="store_true",
        help="take only rewritten answers that end in the demonstration's answer",
    )  # fmt: skip
    parser.add_argument(
        "--answer_regex", help="finds that answer, in one group (default: a known form)"
    )


def _add_confirm(commands: Any) -> None:
    parser = commands.add_parser(
        "confirm",
        help="run short fine-tunes of the arms and say, with statistics, who won",
        description="Fine-tune MODEL on DATASET with each objective, score the answers, and say which to "
        "use and whether to fine-tune at all. Further settings of training are given as in `advisor train`. "
        "Started again, it goes on where it stopped.",
    )
    _add_model_and_dataset(parser)
    _add_weights(parser)
    arms = parser.add_argument_group("arms")
    arms.add_argument(
        "--objectives",
        nargs="+",
        help="default: nll, neg_p, threshold, cadft, the recommended one, and dpo where there are pairs "
        "(chosen, rejected); NAME@own trains on the model's own verified answers, for example dft@own",
    )
    arms.add_argument(
        "--learning_rates",
        nargs="+",
        type=_number(float, 0.0),
        help="the same grid for every objective",
    )
    arms.add_argument("--seeds", type=_number(int, 1), default=3, help="of each arm (default: 3)")
    arms.add_argument("--full", action="store_true", help="run every arm on every seed: no racing")
    arms.add_argument("--budget", help="stop starting runs after this long, for example 30m")
    arms.add_argument(
        "--executor",
        choices=["local", "ray"],
        default="local",
        help="where runs are executed: here, or in parallel on Ray (default: local)",
    )
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument(
        "--tasks", "-t", nargs="+", help="lm-eval tasks or YAML files (default: held-out rows)"
    )
    scoring.add_argument("--include_path", help="folder with lm-eval tasks of your own")
    scoring.add_argument(
        "--answer_regex", help="finds the final answer in a held-out row, in one group"
    )
    scoring.add_argument(
        "--temperature", type=_number(float, 0.0, 10.0),
        help="how the model will be decoded; decides (default: the model's generation config)",
    )  # fmt: skip
    scoring.add_argument(
        "--repeats", type=_number(int, 1), default=2,
        help="answers to a document where sampled (default: 2)",
    )  # fmt: skip
    scoring.add_argument("--limit", "-L", type=_number(int, 2), help="documents of each task")
    _add_margin(scoring)
    output = _add_json(parser)
    output.add_argument(
        "--results", default="results", help="folder of the records (default: results)"
    )


def _add_margin(parser: Any) -> None:
    parser.add_argument(
        "--margin",
        type=_number(float, 0.0),
        default=1.0,
        help="points that do not matter (default: 1)",
    )


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
    parser.add_argument(
        "--temperature", type=_number(float, 0.0, 10.0), help="one temperature only"
    )
    _add_margin(parser)
    _add_json(parser)


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
    _add_margin(parser)


def _add_calibrate(commands: Any) -> None:
    parser = commands.add_parser(
        "calibrate",
        help="add your own confirmed runs to what recommendations rest on",
        description="Add the studies under RESULTS, folders that `advisor confirm` has written, to a "
        "calibration that `advisor recommend --calibration FILE` reads.",
    )
    parser.add_argument("results", metavar="RESULTS", nargs="+")
    _add_calibration(parser)
    parser.add_argument(
        "--output_path", "-o", metavar="FILE", default="calibration.json",
        help="the new calibration (default: calibration.json)",
    )  # fmt: skip


def _add_calibration(parser: Any) -> None:
    parser.add_argument(
        "--calibration", metavar="FILE",
        help="what `advisor calibrate` wrote (default: the one that comes with the package)",
    )  # fmt: skip


def _add_power(commands: Any) -> None:
    parser = commands.add_parser(
        "power",
        help="what a comparison of a given size can find",
        description="The smallest difference, in points, that a paired comparison finds with 80 % power.",
    )
    parser.add_argument("--documents", type=_number(int, 2), required=True, help="test documents")
    parser.add_argument("--seeds", type=_number(int, 1), default=3, help="of each arm (default: 3)")
    parser.add_argument(
        "--accuracy", type=_number(float, 0.0, 1.0), default=0.5,
        help="expected of both arms (default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--seed_sd", type=_number(float, 0.0), default=3.0,
        help="points that seeds differ by (default: 3)",
    )  # fmt: skip
    parser.add_argument(
        "--arms", type=_number(int, 1), default=1, help="compared with the baseline (default: 1)"
    )
    _add_json(parser)


def _add_weights(parser: argparse.ArgumentParser) -> Any:
    weights = parser.add_argument_group("model")
    weights.add_argument(
        "--dtype", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)"
    )
    weights.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)"
    )
    weights.add_argument(
        "--allow_pickle", action="store_true", help="read pickled weights (tensors only)"
    )
    return weights


def _add_model_and_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="local folder, hub id, or ladder:strong|mid|weak"
    )
    parser.add_argument(
        "dataset", metavar="DATASET", nargs="?",
        help="json, jsonl, csv, parquet or arrow file, save_to_disk folder, or hub id "
        "(a ladder brings its own)",
    )  # fmt: skip
    parser.add_argument(
        "--config", "-C", metavar="FILE", help="YAML with the same names; flags win"
    )
    parser.add_argument("--revision", help="of a model on the hub")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run code that comes with the model (off)"
    )
    data = parser.add_argument_group("data")
    data.add_argument("--dataset_config", help="configuration of a dataset on the hub")
    data.add_argument("--split", help="needed where there are several")
    data.add_argument(
        "--prompt_field", help="column with the prompt, where the name is not a known one"
    )
    data.add_argument("--completion_field", help="column with the completion")
    data.add_argument("--chat_template", help="a Jinja file, or none for the plain format")
    data.add_argument("--eos_token", help="text of the token that ends a sequence, or none")
    data.add_argument(
        "--max_length",
        type=int,
        help="tokens kept of an example (default: the context, at most 2048)",
    )


def _number(
    kind: Callable[[str], float], low: float, high: float = math.inf
) -> Callable[[str], float]:
    """A type for argparse: a number within bounds, refused in one line otherwise."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not low <= value <= high:
            limits = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"{text}: expected {limits}")
        return value

    return read


def _add_json(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    return group


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a whole command line; what `train` hands on to TRL stands in `settings`."""
    words = [_snake(word) for word in argv]
    parser = build_parser()
    args, unknown = parser.parse_known_args(_configured(parser, words))
    if unknown and args.command not in PASS_ON:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    args.settings = unknown
    return args


def _configured(parser: argparse.ArgumentParser, words: list[str]) -> list[str]:
    finder = Parser(add_help=False)
    finder.add_argument("--config", "-C")
    file = finder.parse_known_args(words)[0].config
    commands = _subparsers(parser)
    if file is None or words[0] not in commands:
        return words
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
