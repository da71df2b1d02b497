"""`advisor confirm`: carry a plan out and keep the best run, or compare arms with statistics."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor.errors import InputError
from advisor.model.gguf import refuse as refuse_gguf
from advisor.options import DataOptions, ModelOptions
from harness.cli.early import check_pair
from harness.cli.flags import add_json, add_options, add_pair, read
from harness.cli.inputs import given_pair, measure, read_pair
from harness.evaluate.scoring_options import ScoreOptions, ScoringOptions
from harness.evaluate.user_scorer import scorer_of
from harness.ladder.named_pair import words_of
from harness.records.runs import Results
from harness.study.methods import labels_of
from harness.study.study_options import StudyOptions, refuse_ours

if TYPE_CHECKING:
    from harness.records.runs import Run
    from harness.study.confirm import Plan
    from harness.study.run_study import Confirmed

DESCRIPTION = (
    "Carry out the plan of `advisor recommend`: make a few fine-tunes of MODEL on DATASET, score their "
    "answers, and keep the best checkpoint. `--plan full` compares every objective, with statistics. "
    "Settings of the training are given as in `advisor train`. Started again, the command goes on where it "
    "stopped."
)
EXAMPLE = "advisor confirm Qwen/Qwen2.5-0.5B train.jsonl --temperature 0 --plan three"
OF_THE_SCORE = ("metric", "filter", "higher_is_better", "margin")
OF_THE_OUTPUT = ("results",)


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags; those of TRL are handed on."""
    add_pair(parser)
    add_options(parser, ModelOptions, only=("revision", "trust_remote_code"))
    add_options(parser.add_argument_group("data"), DataOptions)
    model = parser.add_argument_group("model")
    add_options(model, ModelOptions, only=("dtype", "device", "allow_pickle"))
    add_options(parser.add_argument_group("arms"), StudyOptions, without=OF_THE_OUTPUT)
    scoring = parser.add_argument_group("scoring")
    add_options(scoring, ScoringOptions, without=OF_THE_SCORE)
    add_options(scoring, ScoreOptions)
    add_options(add_json(parser), StudyOptions, only=OF_THE_OUTPUT)


def run(args: argparse.Namespace) -> None:
    """Refuse early, then measure, plan, run what is missing and print what that has come to."""
    pair, model, data = given_pair(args)
    study_options, scoring = read(StudyOptions, args), read(ScoringOptions, args)
    _refuse_early(args, study_options, scoring)
    refuse_gguf(pair.model, "confirm")
    check_pair(pair, data)
    Results(study_options.results).prepare()

    from advisor.advice.recommend import recommend
    from harness.cli import display
    from harness.cli.live import reporting
    from harness.cli.plan_table import show_planned
    from harness.evaluate.scoring import described
    from harness.study.afterwards import in_words
    from harness.study.plan_study import Request, plan_study
    from harness.study.run_study import run_study
    from harness.train.run_training import ignore_renames
    from harness.train.trl_settings import read_words

    ignore_renames()
    request = Request(
        pair=pair,
        model=model,
        data=data,
        study=study_options,
        scoring=scoring,
        training=read_words(args.settings),
    )
    loaded, dataset = read_pair(pair, model, data)
    temperature = _temperature(scoring, loaded.model)
    prior = measure(loaded, dataset)
    advice = recommend(prior, temperature=temperature, kind=pair.kind)
    display.tokenise(dataset, range(len(dataset)))
    display.notes(dataset.losses())
    study, problem = plan_study(request, loaded, dataset, advice)
    del loaded  # every run loads its own
    display.err.print("scoring the untouched model, timing a few steps ...")

    def on_plan(plan: Plan, base: Run) -> None:
        show_planned(study, plan)
        if (steps := study_options.steps_after) is not None:
            display.err.print(in_words(study, steps, base), markup=False)
        if scoring.tasks:
            display.err.print(described(study.evaluation, base), markup=False)

    found = run_study(
        study,
        problem,
        study_options,
        margin=scoring.margin,
        on_plan=on_plan,
        watching=lambda study, finished: reporting(study, finished, display.err),
        stages=display.Shown,
    )
    words = words_of(pair, model, data)
    _print(found, Path(study_options.results), words, margin=scoring.margin, as_data=args.json)


def _print(
    found: Confirmed, results: Path, words: str, *, margin: float | None, as_data: bool
) -> None:
    """The verdict of a study of arms, or the decision of a plan."""
    from harness.cli import display, plan_table
    from harness.cli.verdict_table import as_json, show, training_of
    from harness.compare.plan_decision import decision_of, failed

    if found.verdict is None:
        decision = decision_of(found, results, margin=margin)
        if decision is None:
            raise InputError(failed(found))
        if as_data:
            display.out.print_json(json.dumps(decision.to_dict()))
        else:
            plan_table.show(decision)
    elif as_data:
        left_out = [failure.to_dict() for failure in found.left_out]
        answer = {**as_json(found.study, found.verdict), "left_out": left_out}
        display.out.print_json(json.dumps(answer))
    else:
        show(found.verdict)
        if (line := training_of(found.study, found.verdict, words)) is not None:
            display.out.print(f"\nnext: {line}", markup=False)


def _refuse_early(args: argparse.Namespace, study: StudyOptions, scoring: ScoringOptions) -> None:
    """See what needs neither model nor dataset; the user's scorer is imported."""
    refuse_ours(word[2:].split("=")[0] for word in args.settings if word.startswith("--"))
    labels_of(study.objectives or ())
    study.refuse_contradictions()
    scorer_of(scoring)


def _temperature(scoring: ScoringOptions, model: Any) -> float:
    """That of use: as said, or the model's own, said aloud."""
    from advisor.model.load import decoding_temperature
    from harness.cli.display import notes

    if scoring.temperature is not None:
        return scoring.temperature
    temperature, origin = decoding_temperature(model)
    notes((f"Decoding at temperature {temperature:g}: {origin}.",))
    return temperature
