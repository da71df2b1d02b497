"""The command line: `advisor recommend|validate|ls|env`. Parses, calls, prints; decides nothing.

Heavy imports stand inside the commands, so that `advisor --help` needs no torch. Results go to stdout,
progress and notes to stderr. A refused input is one line and exit code 2.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from advisor import __version__
from advisor.errors import InputError

if TYPE_CHECKING:
    from advisor.data import SFTDataset
    from advisor.prior import Prior
    from advisor.recommend import Recommendation

LADDER = "ladder:"
DISTRIBUTIONS = (
    "objective-advisor",
    "torch",
    "transformers",
    "datasets",
    "trl",
    "tokenizers",
    "numpy",
)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose refusals are one line and name the nearest flag."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            near = difflib.get_close_matches(unknown.split()[0].split("=")[0], _flags(self), n=1)
            message = f"unknown argument {unknown}" + (f": did you mean {near[0]}?" if near else "")
        raise InputError(f"{message} (see {self.prog} --help)")


def _flags(parser: argparse.ArgumentParser) -> set[str]:
    """Every long flag of a parser and of its subcommands."""
    flags = {flag for flag in parser._option_string_actions if flag.startswith("--")}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            flags |= {flag for command in action.choices.values() for flag in _flags(command)}
    return flags


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="advisor",
        description="Which fine-tuning objective for this model and this dataset? Measured, not guessed.",
    )
    parser.add_argument("--version", action="version", version=f"advisor {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    _add_recommend(commands)
    _add_validate(commands)
    listing = commands.add_parser("ls", help="list what there is to choose from")
    listing.add_argument("what", choices=["objectives"])
    _add_json(listing)
    listing.set_defaults(run=_ls)
    environment = commands.add_parser("env", help="versions and devices, for a bug report")
    _add_json(environment)
    environment.set_defaults(run=_env)
    return parser


def _add_recommend(commands: Any) -> None:
    parser = commands.add_parser(
        "recommend",
        help="measure the model's prior over the dataset and recommend an objective",
        description="Measure how much probability MODEL already gives the targets of DATASET, with "
        "forward passes only, and recommend the fine-tuning objective. `advisor recommend "
        "ladder:strong` needs no data of yours.",
    )
    _add_model_and_dataset(parser)
    weights = parser.add_argument_group("model")
    weights.add_argument(
        "--dtype", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)"
    )
    weights.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)"
    )
    weights.add_argument(
        "--device_map", help="spread a large model as accelerate does, for example auto"
    )
    weights.add_argument(
        "--allow_pickle", action="store_true", help="read pickled weights (tensors only)"
    )
    weights.add_argument(
        "--model_kind", choices=["base", "instruct"], help="default: what the model's name says"
    )
    use = parser.add_argument_group("use and measurement")
    use.add_argument(
        "--temperature", type=float, help="how the fine-tuned model will be decoded; 0 is greedy "
        "(default: the model's generation config)",
    )  # fmt: skip
    use.add_argument(
        "--limit", "-L", type=int, help="measure exactly this many examples, drawn at random"
    )
    use.add_argument("--exact", action="store_true", help="measure every example")
    use.add_argument("--seed", type=int, default=0, help="of the order of examples (default: 0)")
    use.add_argument(
        "--batch_tokens",
        type=int,
        default=8192,
        help="tokens the model reads at a time (default: 8192)",
    )
    output = _add_json(parser)
    output.add_argument(
        "--output_path", "-o", help="where to write the full record: a .json file, or a folder"
    )
    parser.set_defaults(run=_recommend)


def _add_validate(commands: Any) -> None:
    parser = commands.add_parser(
        "validate",
        help="show how a dataset is understood: format, counts, one example with its targets marked",
        description="Show how DATASET is understood with MODEL's tokenizer: format, counts, and one "
        "example with its target tokens marked. Reads no weights.",
    )
    _add_model_and_dataset(parser)
    parser.add_argument("--limit", "-L", type=int, help="tokenise only the first rows")
    parser.add_argument("--example", type=int, default=0, help="row to show (default: 0)")
    _add_json(parser)
    parser.set_defaults(run=_validate)


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


def _add_json(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", action="store_true", help="print one JSON object instead of tables"
    )
    return group


def _apply_config(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse with precedence default < YAML < flag."""
    args = parser.parse_args(argv)
    if not getattr(args, "config", None):
        return args
    import yaml

    path = Path(args.config)
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"--config {path}: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise InputError(f"--config {path}: expected `name: value` lines")
    actions = {action.dest: action for action in _subparser(parser, args.command)._actions}
    given: list[str] = []
    for name, value in settings.items():
        key = str(name).replace("-", "_")
        if key not in actions or not actions[key].option_strings or key in ("help", "config"):
            near = difflib.get_close_matches(key, actions, n=1)
            raise InputError(
                f"--config {path}: unknown key {name!r}"
                + (f", did you mean {near[0]}?" if near else "")
            )
        if actions[key].nargs != 0:
            given.append(f"--{key}={value}")
        elif value:
            given.append(f"--{key}")
    return parser.parse_args([argv[0], *given, *argv[1:]])  # later flags win


def _subparser(parser: argparse.ArgumentParser, command: str) -> argparse.ArgumentParser:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found: argparse.ArgumentParser = action.choices[command]
            return found
    raise AssertionError(command)


def _snake(argument: str) -> str:
    """`--max-length=3` -> `--max_length=3`: both spellings are accepted."""
    name, equals, value = argument.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value
        if name.startswith("--")
        else argument
    )


def _ladder(args: argparse.Namespace) -> None:
    """Replace `ladder:NAME` by the folder and the demonstrations that come with the installation."""
    from harness.ladder import resolve

    args.model_name, args.dataset_name = args.model, args.dataset or args.model
    if args.model.startswith(LADDER):
        model, demonstrations = resolve(args.model.removeprefix(LADDER))
        args.model, args.dataset = str(model), args.dataset or str(demonstrations)
        args.model_kind = getattr(args, "model_kind", None) or "base"
    if args.dataset is None:
        raise InputError(f"DATASET is missing: advisor {args.command} {args.model} DATASET")
    if args.dataset.startswith(LADDER):
        args.dataset = str(resolve(args.dataset.removeprefix(LADDER))[1])


def _load_dataset(args: argparse.Namespace, tokenizer: Any) -> SFTDataset:
    from advisor.data import load_dataset
    from advisor.model import context_length

    hub = {"revision": args.revision, "trust_remote_code": args.trust_remote_code}

    return load_dataset(
        args.dataset,
        tokenizer,
        split=args.split,
        config=args.dataset_config,
        prompt_field=args.prompt_field,
        completion_field=args.completion_field,
        chat_template=args.chat_template,
        max_length=args.max_length,
        eos_token=args.eos_token,
        context_length=context_length(args.model, **hub),
    )


def _recommend(args: argparse.Namespace) -> None:
    from advisor import display
    from advisor.export import export
    from advisor.model import decoding_temperature, load_model
    from advisor.objectives import OBJECTIVES
    from advisor.recommend import recommend

    _check_numbers(args)
    record_path = _record_path(args.output_path)
    _ladder(args)
    loaded = load_model(
        args.model,
        dtype=args.dtype,
        device=args.device,
        device_map=args.device_map,
        revision=args.revision,
        trust_remote_code=args.trust_remote_code,
        allow_pickle=args.allow_pickle,
    )
    dataset = _load_dataset(args, loaded.tokenizer)
    display.notes((*loaded.notes, *dataset.info.notes))
    temperature, origin = decoding_temperature(loaded.model)
    if args.temperature is not None:
        temperature, origin = args.temperature, "--temperature"
    prior = _measure(args, loaded, dataset)
    recommendation = recommend(prior, temperature=temperature, kind=args.model_kind)
    settings = export(recommendation.recommended, OBJECTIVES[recommendation.recommended].settings)
    answer = _answer(args, recommendation, settings)
    if record_path:
        _write_record(record_path, args, answer)
    if args.json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        display.recommendation(
            recommendation, settings, names=(args.model_name, args.dataset_name), origin=origin
        )


def _check_numbers(args: argparse.Namespace) -> None:
    if args.temperature is not None and not 0 <= args.temperature <= 10:
        raise InputError(
            f"--temperature {args.temperature:g}: expected 0 (greedy) or more, usually at most 2"
        )
    for name in ("limit", "batch_tokens"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: expected 1 or more")
    if args.limit is not None and args.exact:
        raise InputError("--limit and --exact exclude each other: keep one")


def _measure(args: argparse.Namespace, loaded: Any, dataset: SFTDataset) -> Prior:
    from advisor.display import progress_bar
    from advisor.prior import measure_prior

    with progress_bar("measuring the prior") as on_progress:
        return measure_prior(
            loaded,
            dataset,
            limit=args.limit,
            exact=args.exact,
            seed=args.seed,
            batch_tokens=args.batch_tokens,
            on_progress=on_progress,
        )


def _answer(
    args: argparse.Namespace, recommendation: Recommendation, settings: Sequence[Any]
) -> dict[str, Any]:
    """The machine-readable answer with the names as the user typed them."""
    from dataclasses import asdict

    answer = recommendation.to_dict()
    answer["model"], answer["dataset"] = args.model_name, args.dataset_name
    answer["next"] = recommendation.next_command(args.model_name, args.dataset_name)
    answer["settings"] = [asdict(setting) for setting in settings]
    answer["versions"] = _versions()
    return answer


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _record_path(output_path: str | None) -> Path | None:
    """The file to write, its folder made now: a path that cannot be written is refused before the work."""
    if output_path is None:
        return None
    path = Path(output_path)
    if path.suffix != ".json":
        path = path / f"recommendation_{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_path {output_path}: {error.strerror}") from None
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"--output_path {output_path}: no permission to write in {path.parent}")
    return path


def _write_record(path: Path, args: argparse.Namespace, answer: dict[str, Any]) -> None:
    """Record and resolved settings, each written whole or not at all."""
    import yaml

    hidden = ("run", "command", "model_name", "dataset_name", "config")
    settings = {
        key: value for key, value in vars(args).items() if key not in hidden and value is not None
    }
    texts = {
        path: json.dumps(answer, indent=2, ensure_ascii=False),
        path.with_suffix(".yaml"): yaml.safe_dump(settings),
    }
    for target, text in texts.items():
        temporary = target.with_name(target.name + ".part")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(target)
        except OSError as error:
            raise InputError(f"--output_path {target}: {error.strerror}") from None


def _validate(args: argparse.Namespace) -> None:
    from advisor import display
    from advisor.model import load_tokenizer

    _ladder(args)
    tokenizer = load_tokenizer(
        args.model, revision=args.revision, trust_remote_code=args.trust_remote_code
    )
    dataset = _load_dataset(args, tokenizer)
    rows = range(min(len(dataset), args.limit or len(dataset)))
    if not 0 <= args.example < len(dataset):
        raise InputError(f"--example {args.example}: the dataset has rows 0 to {len(dataset) - 1}")
    display.tokenise(dataset, rows)
    dataset.require_targets()
    if args.json:
        counts = dataset.counts
        print(
            json.dumps(
                {
                    "format": dataset.info.format,
                    "rows": len(dataset),
                    "examples": counts.examples,
                    "dropped": counts.dropped,
                    "truncated": counts.truncated,
                    "target_tokens": counts.target_tokens,
                    "template": dataset.info.template,
                    "notes": list(dataset.info.notes),
                }
            )
        )
    else:
        display.dataset(dataset, args.example)


def _ls(args: argparse.Namespace) -> None:
    from advisor import display
    from advisor.objectives import OBJECTIVES

    columns = ("name", "aliases", "formula", "leaning", "source", "status", "needs")
    rows = [{column: getattr(row, column) for column in columns} for row in OBJECTIVES.values()]
    if args.json:
        print(json.dumps(rows))
    else:
        display.objectives(OBJECTIVES.values())


def _env(args: argparse.Namespace) -> None:
    import platform

    import torch

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    facts = {
        **_versions(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": devices,
    }
    if args.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(f"{name:20} {value}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 2 for a refused input, 130 when interrupted."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    arguments = [_snake(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    try:
        args = _apply_config(build_parser(), arguments)
        args.run(args)
    except InputError as error:
        print(f"advisor: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advisor: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
