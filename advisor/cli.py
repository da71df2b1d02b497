"""The command line. Parses, calls, prints; decides nothing.

Heavy imports stand inside the commands, so that `advisor --help` needs no torch. Results go to stdout,
progress and notes to stderr. A refused input is one line and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.arguments import parse
from advisor.errors import InputError, printable
from advisor.inputs import DATA_FLAGS, pair_of, read_dataset, read_model, read_rows
from advisor.record import record_path, write_record

if TYPE_CHECKING:
    from advisor.calibration import Calibration
    from advisor.data import SFTDataset
    from advisor.deep import Deep
    from advisor.prior import Prior
    from advisor.recommend import Recommendation

LADDER = "ladder:"
SETTINGS = (
    *DATA_FLAGS, "revision", "trust_remote_code", "dtype", "device", "device_map", "allow_pickle",
    "model_kind", "temperature", "limit", "exact", "seed", "batch_tokens", "depth", "deep_steps",
    "calibration",
)  # fmt: skip
DISTRIBUTIONS = (
    "objective-advisor", "torch", "transformers", "datasets", "trl", "tokenizers", "numpy",
)  # fmt: skip


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


def _recommend(args: argparse.Namespace) -> None:
    from advisor import display
    from advisor.export import export
    from advisor.model import decoding_temperature
    from advisor.objectives import OBJECTIVES
    from advisor.recommend import recommend

    path = record_path(args.output_path) if args.output_path else None
    calibration = _calibration(args)
    _ladder(args)
    loaded = read_model(args)
    dataset = read_dataset(args, loaded.tokenizer)
    display.notes((*loaded.notes, *dataset.info.notes))
    temperature, origin = args.temperature, "--temperature"
    if temperature is None:
        temperature, origin = decoding_temperature(loaded.model)
    prior = _measure(
        loaded,
        dataset,
        args.model_kind,
        limit=args.limit,
        exact=args.exact,
        seed=args.seed,
        batch_tokens=args.batch_tokens,
    )
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
    from advisor.calibration import read, shipped

    return read(Path(args.calibration)) if args.calibration else shipped()


def _measure(loaded: Any, dataset: SFTDataset, kind: str | None = None, **settings: Any) -> Prior:
    """The prior, with a bar; `settings` are those of `measure_prior`."""
    from advisor.display import progress_bar
    from advisor.prior import measure_prior
    from advisor.rule import is_settled

    with progress_bar("measuring the prior") as on_progress:
        return measure_prior(
            loaded,
            dataset,
            settled=lambda prior: is_settled(prior, kind),
            on_progress=on_progress,
            **settings,
        )


def _ignore_renames() -> None:
    """TRL and PEFT still use names that transformers has renamed; nobody who trains can mend that."""
    warnings.filterwarnings("ignore", message=".*will be removed in v6", category=FutureWarning)


def _measure_deep(args: argparse.Namespace, loaded: Any, dataset: SFTDataset) -> Deep:
    from advisor.display import counter
    from advisor.features import ANSWERED_AT
    from harness.deep import measure_deep

    return measure_deep(
        loaded,
        dataset,
        lambda rows: read_rows(args, loaded.tokenizer, [dataset.raw(row) for row in rows]),
        temperature=ANSWERED_AT,
        seed=args.seed,
        limit=args.limit,
        steps=args.deep_steps,
        on_progress=lambda title, done, total: counter(title)(done, total),
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
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _validate(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from advisor import display
    from advisor.model import load_tokenizer
    from advisor.scores import measure_scores, scores_path, worst, write_scores

    _ladder(args)
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
        "notes": list(dataset.info.notes),
    }
    if not args.json:
        display.dataset(dataset, args.example)
    if path and loaded:
        display.notes(loaded.notes)
        scores = measure_scores(loaded, dataset, rows, on_progress=display.counter("scored"))
        write_scores(path, scores)
        understood["worst"] = [asdict(score) for score in worst(scores)]
        if not args.json:
            display.worst_rows(worst(scores))
    if args.json:
        print(json.dumps(understood))


def _train(args: argparse.Namespace) -> None:
    from advisor import display
    from advisor.objectives import get_objective
    from harness.finetune import build_trainer
    from harness.settings import read_settings
    from harness.targets import read_rewriting

    _ignore_renames()
    rewriting = read_rewriting(args.rewrite, args.rewrite_verify, args.answer_regex)
    objective = get_objective(args.objective)
    _ladder(args)
    fixed = {"output_dir": args.output_dir}
    if args.max_length:
        fixed["max_length"] = args.max_length
    config, peft_config = read_settings(args.settings, fixed)
    loaded = read_model(args)
    dataset = read_dataset(args, loaded.tokenizer)
    evaluation = (
        read_dataset(args, loaded.tokenizer, split=args.eval_split) if args.eval_split else None
    )
    display.notes((*loaded.notes, *dataset.info.notes))
    prior = _measure(loaded, dataset)
    trainer = build_trainer(
        loaded,
        dataset,
        objective,
        config,
        eval_dataset=evaluation,
        peft_config=peft_config,
        prior=prior,
        rewriting=rewriting,
        on_progress=display.counter("log p before training"),
    )
    trainer.train(resume_from_checkpoint=_checkpoint(config))
    trainer.save_model()
    trainer.save_state()
    trainer.create_model_card()
    trained = f"Trained with {trainer.objective.label}; the model is in {args.output_dir}."
    display.notes((trained, *trainer.notes))


def _confirm(args: argparse.Namespace) -> None:
    from advisor import display
    from advisor.model import decoding_temperature
    from advisor.recommend import recommend
    from harness.command import run_confirmation

    _ignore_renames()
    _ladder(args)
    loaded = read_model(args)
    dataset = read_dataset(args, loaded.tokenizer)
    display.notes((*loaded.notes, *dataset.info.notes))
    if args.temperature is None:
        args.temperature, origin = decoding_temperature(loaded.model)
        display.notes((f"Decoding at temperature {args.temperature:g}: {origin}.",))
    prior = _measure(loaded, dataset)
    advice = recommend(prior, temperature=args.temperature, kind=getattr(args, "model_kind", None))
    run_confirmation(
        args,
        loaded,
        dataset,
        advice,
        lambda rows: read_rows(args, loaded.tokenizer, rows),
    )


def _checkpoint(config: Any) -> str | None:
    """`--resume_from_checkpoint true` means the newest whole checkpoint of the output folder, if any."""
    from harness.finetune import newest_checkpoint

    text: str | None = config.resume_from_checkpoint
    return newest_checkpoint(config.output_dir) if str(text).lower() in ("true", "1") else text


def _compare(args: argparse.Namespace) -> None:
    from advisor import display
    from harness.compare import compare, render

    comparison = compare(
        args.paths,
        baseline=args.baseline,
        margin=args.margin,
        task=args.task,
        temperature=args.temperature,
    )
    if args.json:
        print(json.dumps(comparison.table()))
    else:
        render(comparison, display.out)


def _report(args: argparse.Namespace) -> None:
    from harness.report import write_report

    report = write_report(args.results, args.output_path, margin=args.margin)
    for headline in report.headlines:
        print(printable(headline))
    print(report.path)


def _calibrate(args: argparse.Namespace) -> None:
    from advisor import display
    from advisor.calibration import write
    from harness.calibrate import extended, own_cells

    before = _calibration(args)
    own = own_cells([Path(folder) for folder in args.results])
    display.notes(own.left_out)
    write(extended(before, own.cells), Path(args.output_path))
    for cell in own.cells:
        print(display.cell(cell))
    print(f"\n{args.output_path}: advisor recommend MODEL DATASET --calibration {args.output_path}")


def _power(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from harness.power import minimum_detectable, spread_of_accuracy

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


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "recommend": _recommend,
    "validate": _validate,
    "train": _train,
    "confirm": _confirm,
    "compare": _compare,
    "report": _report,
    "calibrate": _calibrate,
    "power": _power,
    "ls": _ls,
    "env": _env,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 2 for a refused input, 130 when interrupted."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        COMMANDS[args.command](args)
    except InputError as error:
        print(f"advisor: error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advisor: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
