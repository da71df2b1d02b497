"""The command line. Parses, calls, prints; decides nothing.

Heavy imports stand inside the commands, so that `advisor --help` needs no torch. Results go to stdout,
progress and notes to stderr. A refused input is one line and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError, TrainingDiverged, printable
from harness.cli.commands import measure, read_pair, resolve_ladder
from harness.cli.inputs import DATA_FLAGS, pair_of, read_dataset, read_model, read_rows
from harness.cli.parser import parse
from harness.cli.record import record_path, write_record
from harness.cli.training_commands import confirm, distill_model, rewrite, train

if TYPE_CHECKING:
    from advisor.advice.calibration import Calibration
    from advisor.advice.recommend import Recommendation
    from advisor.data.dataset import SFTDataset
    from advisor.prior.deep import Deep

SETTINGS = (
    *DATA_FLAGS, "revision", "trust_remote_code", "dtype", "device", "device_map", "allow_pickle",
    "model_kind", "temperature", "limit", "exact", "seed", "batch_tokens", "depth", "deep_steps",
    "calibration",
)  # fmt: skip


def _recommend(args: argparse.Namespace) -> None:
    from advisor.advice.recommend import recommend
    from advisor.model.load import decoding_temperature
    from advisor.objectives.other_trainers import export
    from advisor.objectives.table import OBJECTIVES
    from harness.cli import display

    path = record_path(args.output_path) if args.output_path else None
    calibration = _calibration(args)
    resolve_ladder(args)
    loaded, dataset = read_pair(args)
    temperature, origin = args.temperature, "--temperature"
    if temperature is None:
        temperature, origin = decoding_temperature(loaded.model)
    prior = measure(
        loaded,
        dataset,
        args.model_kind,
        limit=args.limit,
        exact=args.exact,
        seed=args.seed,
        batch_tokens=args.batch_tokens,
    )
    display.notes(dataset.losses())
    deep = _measure_deep(args, loaded, dataset) if args.depth == "deep" else None
    recommendation = recommend(
        prior, deep, temperature=temperature, kind=args.model_kind, calibration=calibration
    )
    settings = export(recommendation.recommended, OBJECTIVES[recommendation.recommended].settings)
    answer = _answer(args, recommendation, settings)
    if path:
        settings_given = {name: value for name, value in vars(args).items() if name in SETTINGS}
        write_record(path, answer, f"advisor recommend {pair_of(args)}", settings_given)
    if args.json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        display.recommendation(recommendation, settings, pair=pair_of(args), origin=origin)


def _calibration(args: argparse.Namespace) -> Calibration:
    from advisor.advice.calibration import read, shipped

    return read(Path(args.calibration)) if args.calibration else shipped()


def _measure_deep(args: argparse.Namespace, loaded: Any, dataset: SFTDataset) -> Deep:
    from advisor.advice.features import ANSWERED_AT
    from harness.cli import display
    from harness.deep_probe.measure_deep import measure_deep

    return measure_deep(
        loaded,
        dataset,
        lambda rows: read_rows(args, loaded.tokenizer, [dataset.raw(row) for row in rows]),
        temperature=ANSWERED_AT,
        seed=args.seed,
        limit=args.limit,
        steps=args.deep_steps,
        stages=display.Shown,
    )


def _answer(
    args: argparse.Namespace, recommendation: Recommendation, settings: Sequence[Any]
) -> dict[str, Any]:
    """The machine-readable answer with the names as the user typed them."""
    from dataclasses import asdict

    return {
        **recommendation.to_dict(),
        "model": args.model_name,
        "dataset": args.dataset_name,
        "next": recommendation.next_command(pair_of(args)),
        "settings": [asdict(setting) for setting in settings],
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    import platform

    from harness.runtime.versions import versions

    return {"python": platform.python_version(), **versions()}


def _validate(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from advisor.model.load import load_tokenizer
    from advisor.prior.row_scores import measure_scores, scores_path, worst, write_scores
    from harness.cli import display

    resolve_ladder(args)
    path = scores_path(args.scores, args.dataset) if args.scores else None
    hub = {"revision": args.revision, "trust_remote_code": args.trust_remote_code}
    loaded = read_model(args) if path else None
    dataset = read_dataset(args, loaded.tokenizer if loaded else load_tokenizer(args.model, **hub))
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
        "notes": [*dataset.notes, *dataset.losses()],
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


def _compare(args: argparse.Namespace) -> None:
    from harness.cli import display
    from harness.cli.compare_table import render
    from harness.compare.compare import compare

    comparison = compare(
        args.paths,
        baseline=args.baseline,
        margin=args.margin,
        task=args.task,
        temperature=args.temperature,
        **_score(args),
    )
    if args.json:
        print(json.dumps(comparison.table()))
    else:
        render(comparison, display.out)


def _score(args: argparse.Namespace) -> dict[str, Any]:
    """Which score of lm-eval's logs is meant."""
    return {name: getattr(args, name) for name in ("metric", "filter", "higher_is_better")}


def _report(args: argparse.Namespace) -> None:
    from harness.report import write_report

    report = write_report(args.results, args.output_path, margin=args.margin, **_score(args))
    for headline in report.headlines:
        print(printable(headline))
    print(report.path)


def _calibrate(args: argparse.Namespace) -> None:
    from advisor.advice.calibration import write
    from harness.cli import display
    from harness.study.own_cells import extended, own_cells

    before = _calibration(args)
    own = own_cells([Path(folder) for folder in args.results])
    display.notes(own.left_out)
    write(extended(before, own.cells), Path(args.output_path))
    for cell in own.cells:
        print(display.cell(cell))
    print(f"\n{args.output_path}: advisor recommend MODEL DATASET --calibration {args.output_path}")


def _power(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from harness.statistics.power import minimum_detectable, spread_of_accuracy

    seed = args.seed_sd / 100 if args.seeds > 1 else 0.0
    spread = replace(spread_of_accuracy(args.accuracy), seed=seed)
    found = 100 * minimum_detectable(args.documents, args.seeds, spread, alpha=0.05 / args.arms)
    if args.json:
        print(json.dumps({"documents": args.documents, "seeds": args.seeds, "points": found}))
        return
    print(
        f"{found:.1f} points: {args.documents} documents, {args.seeds} seeds, {args.arms} arms, 80 % power"
    )
    if args.seeds == 1:
        print("With one seed that is a difference of two checkpoints, not of two objectives.")


def _ls(args: argparse.Namespace) -> None:
    from advisor.objectives.table import OBJECTIVES
    from harness.cli import display

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


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "recommend": _recommend,
    "validate": _validate,
    "train": train,
    "distill": distill_model,
    "confirm": confirm,
    "rewrite": rewrite,
    "compare": _compare,
    "report": _report,
    "calibrate": _calibrate,
    "power": _power,
    "ls": _ls,
    "env": _env,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0 when it worked, 1 where a training diverged, 2 for a refused input.

    130 when interrupted.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        COMMANDS[args.command](args)
    except InputError as error:
        print(f"advisor: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except TrainingDiverged as error:
        print(f"advisor: error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("advisor: interrupted", file=sys.stderr)
        return 130
    return 0
