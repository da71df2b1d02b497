"""`advisor recommend`: measure the prior and say which objective it speaks for."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError
from advisor.options import (
    AdviceOptions,
    DataOptions,
    ModelOptions,
    Options,
    PriorOptions,
    flag_words,
)
from harness.cli.early import check_pair
from harness.cli.flags import add_json, add_options, add_pair, read
from harness.cli.inputs import given_pair, measure, read_pair
from harness.cli.record import PAGE, record_path, write_record
from harness.ladder.named_pair import words_of

if TYPE_CHECKING:
    from advisor.advice.calibration import Calibration
    from advisor.advice.machines import Machine
    from advisor.advice.recommend import Recommendation
    from advisor.data.dataset import SFTDataset
    from advisor.model.load import LoadedModel
    from advisor.prior.deep import Deep

DESCRIPTION = (
    "Answer with a plan: which few fine-tunes of MODEL on DATASET to make, how to choose between them, "
    "what they cost and what you may lose. For that it measures how probable MODEL finds the answers of "
    "DATASET; nothing is trained unless you give --depth deep. `advisor recommend ladder:strong` needs no "
    "data of yours."
)
EXAMPLE = "advisor recommend Qwen/Qwen2.5-0.5B train.jsonl --temperature 0"


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    add_pair(parser, needed=False)
    add_options(parser, ModelOptions, only=("revision", "trust_remote_code"))
    add_options(parser.add_argument_group("data"), DataOptions)
    model = parser.add_argument_group("model")
    add_options(model, ModelOptions, without=("revision", "trust_remote_code"))
    add_options(model, AdviceOptions, only=("model_kind",))
    use = parser.add_argument_group("use and measurement")
    add_options(use, AdviceOptions, without=("model_kind",))
    add_options(use, PriorOptions)
    output = add_json(parser)
    output.add_argument(
        "--details",
        action="store_true",
        help="show also what each objective is expected to gain, the statistics, and the settings for other "
        "trainers",
    )
    output.add_argument(
        "--output_path",
        "-o",
        help="where to write the full record: a .json file, or a folder; or the answer as a page: an "
        ".html file",
    )


def run(args: argparse.Namespace) -> None:
    """Refuse early, then measure or take the prior that was kept, recommend and print."""
    if args.prior:
        return _from_kept(args)
    if args.model is None:
        raise InputError(
            "MODEL is missing: give MODEL DATASET, or the --prior of an earlier answer"
        )
    pair, model, data = given_pair(args)
    machine = _machine(read(AdviceOptions, args))
    check_pair(pair, data)
    path = record_path(args.output_path, pair.dataset) if args.output_path else None

    from advisor.advice.recommend import recommend
    from advisor.model.load import decoding_temperature
    from harness.cli import display

    advice, prior_options = read(AdviceOptions, args), read(PriorOptions, args)
    calibration = read_calibration(advice.calibration)
    kind = advice.model_kind or pair.kind
    loaded, dataset = read_pair(pair, model, data)
    temperature = advice.temperature
    if temperature is None:
        temperature, origin = decoding_temperature(loaded.model)
        display.notes((f"Decoding at temperature {temperature:g}: {origin}.",))
    prior = measure(loaded, dataset, kind, prior_options)
    display.notes(dataset.dropped())
    deep = _deep(loaded, dataset, advice, prior_options) if advice.depth == "deep" else None
    found = recommend(
        prior, deep, temperature=temperature, kind=kind, calibration=calibration, machine=machine
    )
    options = (model, data, advice, prior_options)
    chosen = {name: value for one in options for name, value in one.flags().items()}
    words = words_of(pair, model, data)
    spread = ModelOptions(device_map=model.device_map)  # the rest of `model` is in the words
    said = _command(words, spread, replace(advice, temperature=temperature), prior_options)
    _tell(
        found, names=(pair.model_name, pair.dataset_name), words=words, path=path,
        chosen={**chosen, "model_kind": _said(kind)}, args=args, commands=(said,),
        measured=f"{datetime.now(UTC):%Y-%m-%d}",
    )  # fmt: skip


def _from_kept(args: argparse.Namespace) -> None:
    """The answer from a prior that was measured before: no model is loaded, and no torch."""
    from advisor.advice.recommend import recommend
    from advisor.prior.kept import read_prior, refuse_another

    advice, data = read(AdviceOptions, args), read(DataOptions, args)
    temperature = _refuse_measuring(args, advice)
    kept = read_prior(args.prior)
    words, kind, dataset = kept.words, kept.kind, None
    if args.model is not None:
        pair = given_pair(args)[0]
        names, places = (pair.model_name, pair.dataset_name), (pair.model, pair.dataset)
        refuse_another(kept, names=names, places=places, data=data)
        kind, dataset = pair.kind or kind, pair.dataset
        words = words_of(pair, read(ModelOptions, args), data)
        words = shlex.join((*shlex.split(words), *kept.beside(data)))
    path = record_path(args.output_path, dataset) if args.output_path else None
    found = recommend(
        kept.prior,
        temperature=temperature,
        kind=advice.model_kind or kind,
        calibration=read_calibration(advice.calibration),
        machine=_machine(advice),
    )
    _tell(
        found, names=(kept.model, kept.dataset), words=words, path=path,
        chosen={**advice.flags(), "model_kind": _said(found.kind)}, args=args, measured=kept.date,
        commands=(*([kept.command] if kept.command else []), _command(words, advice)),
    )  # fmt: skip


def _said(kind: str | None) -> str | None:
    """A kind of model as its flag takes it."""
    return None if kind == "unknown" else kind


def _command(words: str, *options: Options) -> str:
    """The command that gives the answer again: MODEL DATASET [flags], and what is not at its default."""
    return f"advisor recommend {words} {shlex.join(flag_words(*options))}"


def _refuse_measuring(args: argparse.Namespace, advice: AdviceOptions) -> float:
    """Refuse what takes the model, or another measurement, beside a prior that was kept; the temperature."""
    kinds = (PriorOptions,) if args.model is not None else (PriorOptions, ModelOptions, DataOptions)
    for name, value in (pair for kind in kinds for pair in read(kind, args).said().items()):
        if value is not None:
            raise InputError(f"--prior {args.prior}: is measured already: leave out --{name}")
    if advice.depth == "deep":
        raise InputError(
            f"--prior {args.prior}: --depth deep trains the model: leave out one of them"
        )
    if advice.temperature is None:
        raise InputError(
            f"--prior {args.prior}: it does not know how the model decodes: give --temperature"
        )
    return advice.temperature


def _tell(
    found: Recommendation, *, names: tuple[str, str], words: str, path: Path | None,
    chosen: Mapping[str, Any], args: argparse.Namespace, commands: Sequence[str], measured: str | None,
) -> None:  # fmt: skip
    """Write the record or the page where one is asked for, and print.

    Args:
        found: the answer.
        names: of model and dataset, as the user typed them.
        words: MODEL DATASET [flags].
        path: to write to, if any.
        chosen: every setting, by its flag.
        args: what was typed.
        commands: that give the answer again, in their order.
        measured: the day on which the prior was, where that is known.
    """
    from advisor.objectives.other_trainers import export
    from advisor.objectives.table import get_objective
    from harness.cli import display

    objective = get_objective(found.recommended)
    settings = export(objective.name, objective.settings)
    answer = {**_answer(found, settings, names, words), "command": commands[-1], "date": measured}
    if path and path.suffix == PAGE:
        from harness.report.advice_page import Asked, write_advice

        asked = Asked(
            model=names[0], dataset=names[1], next=answer["next"], commands=commands, measured=measured,
            written=datetime.now(UTC).date(), versions=answer["versions"],
        )  # fmt: skip
        write_advice(path, found, asked)
    elif path:
        write_record(path, answer, commands[-1], chosen)
    if path:
        display.notes((f"Written to {path}.",))
    if args.json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        display.recommendation(found, settings if args.details else None, pair=words)


def _machine(advice: AdviceOptions) -> Machine | None:
    """The machine that was asked for; refused where there is none of its name."""
    from advisor.advice.machines import machine_of

    return machine_of(advice.machine) if advice.machine is not None else None


def read_calibration(path: str | None) -> Calibration:
    """The user's calibration, or the one that comes with the package."""
    from advisor.advice.calibration import read, shipped

    return read(Path(path)) if path else shipped()


def _deep(
    loaded: LoadedModel, dataset: SFTDataset, advice: AdviceOptions, prior: PriorOptions
) -> Deep:
    from advisor.advice.features import ANSWERED_AT
    from harness.cli import display
    from harness.deep_probe.measure_deep import measure_deep

    return measure_deep(
        loaded,
        dataset,
        lambda rows: dataset.read([dataset.raw(row) for row in rows]),
        temperature=ANSWERED_AT,
        seed=prior.seed,
        limit=prior.limit,
        steps=advice.deep_steps,
        stages=display.Shown,
    )


def _answer(
    found: Recommendation, settings: Sequence[Any], names: tuple[str, str], words: str
) -> dict[str, Any]:
    """The machine-readable answer with the names as the user typed them."""
    from dataclasses import asdict

    from harness.cli.env import versions

    return {
        **found.to_dict(),
        "model": names[0],
        "dataset": names[1],
        "next": found.next_command(words),
        "settings": [asdict(setting) for setting in settings],
        "versions": versions(),
    }
