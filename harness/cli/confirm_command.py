"""`advisor confirm`, from its arguments to the verdict on the screen."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from advisor.advice.recommend import Recommendation
from advisor.data.dataset import SFTDataset
from advisor.errors import InputError, printable
from advisor.model.load import TINY, LoadedModel
from harness.cli.display import err, out
from harness.cli.inputs import DATA_FLAGS
from harness.cli.live import reporting
from harness.distill.teachers import LOADING, Teachers, check_teacher, read_teachers, teacher_of
from harness.evaluate.scorers import task_names
from harness.evaluate.scoring import described, settings_of
from harness.evaluate.split import own_task, split_rows
from harness.generate.own_answers import answers_of
from harness.ladder import LADDER, RUNGS
from harness.records.arm import PAIRS, ROLLOUTS
from harness.records.runs import Results
from harness.statistics.paired import probability
from harness.study.confirm import Plan, confirm, finished_runs, make_plan, score_base
from harness.study.contrasts import Row
from harness.study.executors import EXECUTORS
from harness.study.fit_arm import Problem
from harness.study.methods import default_objectives, labels_of, read_method
from harness.study.study import Study
from harness.study.study_settings import refuse_arms, training_of
from harness.study.verdict import Verdict, settle
from harness.train.dpo import rejected_side
from harness.train.rates import ADAPTER_RATES, RATES, TINY_RATES

COLUMNS: dict[str, Literal["left", "right"]] = {
    "arm": "left",
    "score": "right",
    "against": "left",
    "its score": "right",
    "difference": "right",
    "95 % interval": "right",
    "p (Holm)": "right",
    "verdict": "left",
}
LARGEST = 50.0
"""Points; a comparison that finds only larger differences finds none."""
DEVELOPMENT_REPEATS = 4
"""Sampled answers to a development document: with one, the standard error of a difference between two
learning rates on 100 of them is 5 points on the ladder's studies, with four it is 2.8."""
CURVE = (0.0, 0.3, 0.5, 0.7, 1.0)
"""Temperatures at which every arm is scored where the model will be sampled."""


def plan_study(
    args: argparse.Namespace,
    loaded: LoadedModel,
    dataset: SFTDataset,
    advice: Recommendation,
    read: Callable[[Sequence[Mapping[str, Any]]], SFTDataset],
) -> tuple[Study, Problem]:
    """What is asked, with everything that can be refused before a run; neither part holds the model.

    Args:
        args: of `advisor confirm`.
        loaded: the student; every run loads its own, so that the caller had better drop this one.
        dataset: all rows.
        advice: what was recommended for them.
        read: makes source rows a dataset, as `dataset` is.

    Raises:
        InputError: a folder, an arm, a setting or a teacher that cannot be used.
    """
    Results(args.results).prepare()
    problem = _problem(args, dataset, advice, read)
    return _study(args, loaded, dataset, advice, problem), problem


def run_study(args: argparse.Namespace, study: Study, problem: Problem) -> None:
    """Run what is missing of a study and print the verdict."""
    results = Results(args.results)
    budget = seconds_of(args.budget) if args.budget else None
    err.print("scoring the untouched model, timing a few steps ...")
    plan = make_plan(study, problem, results)
    _show_plan(study, plan)
    if args.tasks:
        err.print(described(study.evaluation, score_base(study, problem, results)), markup=False)
    with reporting(study, finished_runs(study, results), err) as reporter:
        outcome = confirm(
            study,
            problem,
            results,
            plan,
            executor=EXECUTORS[args.executor],
            budget=budget,
            on_start=reporter.start,
            on_run=reporter.report,
        )
    verdict = settle(outcome.study, outcome.runs, margin=args.margin)
    if args.json:
        left_out = [failure.to_dict() for failure in outcome.left_out]
        out.print_json(json.dumps({**as_json(outcome.study, verdict), "left_out": left_out}))
    else:
        show(verdict)


def seconds_of(text: str) -> float:
    """`30m`, `2h`, `90s` or `90` to seconds; InputError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise InputError(f"--budget {text}: expected a time such as 30m, 2h or 90s")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _problem(
    args: argparse.Namespace,
    dataset: SFTDataset,
    advice: Recommendation,
    read: Callable[[Sequence[Mapping[str, Any]]], SFTDataset],
) -> Problem:
    """What is trained on and how it is scored: given tasks, the ladder's own, or held-out rows."""
    ladder = args.dataset_name.startswith(LADDER)
    tasks: list[Any] = list(args.tasks or ())
    if not tasks and ladder:
        tasks = [f"ladder_{RUNGS[args.dataset_name.removeprefix(LADDER)].skill}"]
    train, held_out = dataset, None
    if not tasks:
        kept, back = split_rows(dataset)
        train, held_out = (read([dataset.raw(i) for i in part]) for part in (kept, back))
        tasks = [own_task(held_out, args.answer_regex)]
    return Problem(
        model=args.model,
        loading={name: getattr(args, name) for name in ("revision", *LOADING)},
        train=train,
        held_out=held_out,
        tasks=tasks,
        domain="ladder" if ladder else "user",
        prior=advice.prior.to_dict(),
        include_path=args.include_path,
        rejected=rejected_side(train, read),
        answer_pattern=answers_of(train, args.answer_regex),
        teachers=_teachers(args),
    )


def _teachers(args: argparse.Namespace) -> Teachers | None:
    """Whom `--teacher` and `--route` name."""
    if args.teacher:
        loading = {name: getattr(args, name) for name in LOADING}
        return read_teachers(args.teacher, args.route, loading)
    if args.route:
        raise InputError("--route: there is no --teacher to choose from")
    return None


def _objectives(
    args: argparse.Namespace, advice: Recommendation, problem: Problem
) -> tuple[str, ...]:
    """Labels of the arms.

    Raises:
        InputError: an arm that this dataset does not allow.
    """
    pairs, taught = problem.rejected is not None, problem.teachers is not None
    default = default_objectives(advice.recommended, pairs=pairs, teacher=taught)
    labels = labels_of(args.objectives or default)
    for label in labels:
        targets = read_method(label).targets
        if targets == ROLLOUTS and not taught:
            raise InputError(f"--objectives {label}: needs a model to learn from: --teacher MODEL")
        if targets == PAIRS and not pairs:
            raise InputError(
                f"--objectives {label}: {args.dataset_name} has no pairs: needed are columns chosen and "
                "rejected that differ, and targets read from chosen (--completion_field chosen)"
            )
        if targets == "own" and problem.answer_pattern is None:
            raise InputError(
                f"--objectives {label}: the completions end in no answer of a known form; give "
                "--answer_regex with one group that finds it"
            )
    return labels


def _study(
    args: argparse.Namespace,
    loaded: LoadedModel,
    dataset: SFTDataset,
    advice: Recommendation,
    problem: Problem,
) -> Study:
    training = training_of(args.settings)
    rates = TINY_RATES if loaded.parameters < TINY else RATES
    rates = ADAPTER_RATES if str(training.get("use_peft", "false")).lower() == "true" else rates
    of_use = float(args.temperature)
    temperatures = sorted({*CURVE, of_use}) if of_use > 0 else [0.0, 1.0]
    if all(isinstance(task, dict) and "choice" in task["output_type"] for task in problem.tasks):
        temperatures = [of_use]  # nothing is generated
    objectives = _objectives(args, advice, problem)
    refuse_arms(objectives, training, problem)
    trust = {"trust_remote_code": args.trust_remote_code}
    return Study(
        model=args.model_name,
        model_fingerprint=loaded.fingerprint,
        dataset=args.dataset_name,
        dataset_fingerprint=dataset.info.fingerprint,
        split=args.split,
        reading=_reading(args),
        teachers=_record_of(problem, loaded),
        objectives=objectives,
        learning_rates=tuple(dict.fromkeys(args.learning_rates or rates)),
        seeds=tuple(range(args.seeds)),
        tasks=tuple(
            name for t in problem.tasks for name in task_names(t, args.include_path, **trust)
        ),
        temperature=of_use,
        training=training,
        evaluation={
            **_scoring(args),
            **settings_of(args, dataset.info, dataset.tokenizer),
            "temperature": of_use,
            "temperatures": temperatures,
            "repeats": args.repeats if of_use > 0 else 1,
            **({"development_repeats": DEVELOPMENT_REPEATS} if of_use > 0 else {}),
            "limit": args.limit,
        },
        full=args.full,
    )


def _record_of(problem: Problem, student: LoadedModel) -> dict[str, Any] | None:
    """The teachers for the records, once they are seen to fit the student and every row."""
    if (teachers := problem.teachers) is None:
        return None
    models = teachers.load()
    for teacher in models.values():
        check_teacher(student, teacher)
    for row in range(len(problem.train)):
        teacher_of(problem.train, row, list(models), teachers.route)
    return {
        "route": teachers.route,
        "models": {
            key: {"name": teachers.names[key], "fingerprint": model.fingerprint}
            for key, model in models.items()
        },
    }


def _scoring(args: argparse.Namespace) -> dict[str, Any]:
    """What else decides a score, where it was given: patterns, folders and files of tasks, precision."""
    given = {name: getattr(args, name) for name in ("answer_regex", "include_path")}
    files = [Path(task) for task in args.tasks or () if task.endswith((".yaml", ".yml"))]
    given["task_files"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in files
        if path.is_file()
    }
    if args.dtype != "auto":
        given["dtype"] = args.dtype
    return {name: value for name, value in given.items() if value}


def _reading(args: argparse.Namespace) -> dict[str, Any] | None:
    """The flags that say how the dataset is read; a split has a field of its own."""
    given = {name: getattr(args, name) for name in DATA_FLAGS if name != "split"}
    return {name: value for name, value in given.items() if value is not None} or None


def _show_plan(study: Study, plan: Plan) -> None:
    arms = ", ".join(study.objectives)
    found = "how small a difference is found is not known before, for scores that are no shares"
    if plan.detectable is not None:
        found = (
            f"differences of {plan.detectable:.1f} points and more are found with 80 % power"
            if plan.detectable < LARGEST
            else "too few seeds or documents to find any difference with 80 % power"
        )
    err.print(
        f"{plan.runs} runs at most ({plan.finished} done): the untouched model; {arms} at "
        f"{len(study.learning_rates)} learning rates, then {len(study.seeds)} seeds; nll also at a tenth\n"
        f"about {plan.seconds / 60:.0f} min; {plan.documents} test documents of {', '.join(study.tasks)}; "
        f"{found}",
        markup=False,
    )


def show(verdict: Verdict) -> None:
    """The verdict first, then every comparison."""
    out.print(Text(printable(verdict.headline), style="bold"))
    if verdict.incomplete:
        out.print("Start the same command again to go on where it stopped.")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in COLUMNS.items():
        table.add_column(name, justify=justify, overflow="fold")
    texts = verdict.labels
    for row in verdict.rows:
        low, high = row.difference.interval
        table.add_row(
            texts[row.arm],
            f"{row.score:.1f}",
            texts[row.baseline],
            f"{row.baseline_score:.1f}",
            f"{row.difference.estimate:+.1f}",
            f"{low:+.1f} to {high:+.1f}",
            "dropped" if row.dropped else probability(row.adjusted_p),
            row.verdict,
        )
    out.print(table)
    temperatures = sorted({t for curve in verdict.curve.values() for t in curve})
    curves = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    curves.add_column("score at temperature", overflow="fold")
    for t in temperatures:
        curves.add_column(f"{t:g}", justify="right")
    for arm, curve in verdict.curve.items():
        curves.add_row(texts[arm], *(f"{curve[t]:.1f}" for t in temperatures))
    out.print(curves)
    for line in (verdict.remark, *verdict.out):
        if line:
            out.print(Text(printable(line)))


def as_json(study: Study, verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain data; arms are objects, and texts where they are keys."""
    return {
        "schema": 2,
        "complete": verdict.incomplete is None,
        "headline": verdict.headline,
        "winner": verdict.winner.label,
        "arm": dataclasses.asdict(verdict.winner),
        "fine_tune": verdict.fine_tune,
        "sharpening": verdict.sharpening,
        "incomplete": verdict.incomplete,
        "undecided": verdict.undecided,
        "model": study.model,
        "dataset": study.dataset,
        "tasks": list(study.tasks),
        "temperature": study.temperature,
        "rows": [_row_as_json(row) for row in verdict.rows],
        "curve": {
            verdict.labels[arm]: {str(t): value for t, value in curve.items()}
            for arm, curve in verdict.curve.items()
        },
        "open_rates": {arm.method: list(rates) for arm, rates in verdict.open_rates.items()},
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    found = dataclasses.asdict(row)
    found["difference"].pop("squares")
    return found
