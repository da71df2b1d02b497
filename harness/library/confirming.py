"""`advisor.confirm`: a plan carried out, or a study of arms with its verdict; all of the command's work."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from advisor.advice.recommend import Recommendation
from advisor.advice.recommend import recommend as decide
from advisor.data.dataset import SFTDataset
from advisor.errors import InputError
from advisor.model.gguf import refuse as refuse_gguf
from advisor.model.loaded import LoadedModel
from advisor.options import DataOptions, ModelOptions, PriorOptions
from harness.cli.display import err
from harness.cli.live import reporting
from harness.cli.plan_table import show_planned
from harness.compare.plan_decision import PlanDecision, decision_of, failed
from harness.evaluate.scoring_options import ScoringOptions
from harness.evaluate.user_scorer import scorer_of
from harness.ladder.named_pair import Pair
from harness.library.keywords import made, split
from harness.library.recommending import measured, opened, use_of
from harness.library.taken import (
    DatasetSource,
    ModelSource,
    as_it_is,
    as_it_was,
    kind_of,
    named,
    undisturbed,
)
from harness.library.told import Told
from harness.records.runs import Results
from harness.runtime.quiet import quiet as silently
from harness.study.methods import labels_of
from harness.study.plan_study import Request, plan_study
from harness.study.run_study import Confirmed, run_study
from harness.study.study_options import StudyOptions, refuse_ours
from harness.study.verdict import Verdict
from harness.train.run_training import ignore_renames

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
"""`owner/name`, or a name alone."""


def confirm(
    model: ModelSource,
    dataset: DatasetSource | None = None,
    *,
    objectives: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    temperature: float | None = None,
    plan: str | None = None,
    seeds: int | None = None,
    budget: str | None = None,
    results: str | Path = "results",
    quiet: bool = False,
    **settings: Any,
) -> Verdict | PlanDecision:
    """Carry out the plan: a few fine-tunes, scored, of which the best checkpoint is kept.

        decision = confirm(model, frame)
        print(decision, decision.checkpoint)
        verdict = confirm(model, frame, objectives=["nll", "cadft"], budget="30m")  # a study of arms

    The same work with the same defaults as `advisor confirm`. Every run is a record in `results`: called
    again, it goes on where it stopped, and a finished study runs nothing. The model itself is not trained:
    every run loads its own, one in memory from a temporary folder, as it would be loaded from any folder, so
    that there has to be room for both.

    Args:
        model: as of `train`; one in memory is left as it was.
        dataset: as of `train`.
        objectives: labels of the arms; by default nll, neg_p, threshold, cadft, the recommended one, and dpo
            where there are pairs.
        tasks: lm-eval tasks or YAML files that decide; by default rows of the dataset that are kept back.
        temperature: how the model will be decoded, 0 for greedy; by default its generation config says it.
        plan: "one" to "six" fine-tunes, or "full": every arm, with seeds and a race; by default "three", and
            "full" where objectives, learning_rates, seeds or full are given.
        seeds: of each arm of a study that is no plan; 3 by default.
        budget: start no more runs after this long, for example "30m"; one run of a plan, or the grid of
            rates, is finished in any case.
        results: folder of the records.
        quiet: say nothing on stderr of the plan and of the runs.
        **settings: what else `advisor confirm` takes: `scorer` (also a function itself), `learning_rates`,
            `full`, `then`, `executor`, `teacher`, `limit`, `repeats`, `metric`, `margin`, ...; how model and
            dataset are read, as of `load_model` and `load_dataset`; and for every arm fields of TRL's
            SFTConfig and its ModelConfig's adapter.

    Returns:
        Of a plan the decision: `headline`, `fine_tune`, `checkpoint`, and the whole of it in `decision`. Of a
        study of arms the verdict: `headline`, `winner`, `fine_tune`, and `rows`, every comparison in points
        with a 95 % interval and p, adjusted for their number.

    Raises:
        InputError: a model, dataset, arm or setting that cannot be used, in one line that says how to mend
            it; NLL failed at every learning rate.
    """
    parts, training = split(settings, StudyOptions, ScoringOptions, DataOptions, ModelOptions)
    ours = {
        "objectives": objectives,
        "plan": plan,
        "seeds": seeds,
        "budget": budget,
        "results": str(results),
    }
    study = made(StudyOptions, {**ours, **parts[0]})
    scoring = made(ScoringOptions, {"tasks": tasks, "temperature": temperature, **parts[1]})
    refuse_ours(training)
    labels_of(study.objectives or ())
    study.refuse_contradictions()
    scorer_of(scoring)
    pair, told = named(model, dataset), Told(quiet=quiet)
    refuse_gguf(pair.model, "confirm")
    Results(study.results).prepare()
    with undisturbed(), as_it_was(model), tempfile.TemporaryDirectory() as folder:
        ignore_renames()
        loaded = as_it_is(model, parts[3])
        rows = opened(dataset, loaded, parts[2], told)
        options = ModelOptions(**parts[3])
        origin = None
        if not isinstance(model, str | Path):
            origin = origin_of(loaded)
            if training.get("use_peft") and study.of_plan:
                told.notes((_named_base(origin),))
            pair, options = _saved(loaded, pair, folder)
        advice = _advice(loaded, rows, scoring, told)
        told.tokenise(rows, range(len(rows)))
        request = Request(
            pair=pair,
            origin=origin,
            model=options,
            data=rows.options,
            study=study,
            scoring=scoring,
            training=training,
        )
        found = _confirmed(request, loaded, rows, advice, told)
        answer = found.verdict or decision_of(found, Path(study.results), margin=scoring.margin)
        if answer is None:
            raise InputError(failed(found))
        return answer


def origin_of(loaded: LoadedModel) -> str | None:
    """The folder or hub id that a model in memory came from; None where it came from none that is there."""
    name = str(loaded.model.name_or_path or "")
    return name if HUB_ID.fullmatch(name) or (name and Path(name).is_dir()) else None


def _named_base(origin: str | None) -> str:
    """What is said of an adapter's base, which its config names.

    Raises:
        InputError: there is nothing to name.
    """
    if origin is None:
        raise InputError(
            "use_peft: the model in memory comes from no folder or hub id that is still there, so that an "
            "adapter which is kept could not be put on it again: save it with model.save_pretrained(FOLDER) "
            "and give the folder"
        )
    return (
        f"The adapter that is kept names {origin} as its base: if the model was changed since it was loaded, "
        "save it and give that folder."
    )


def _saved(loaded: LoadedModel, pair: Pair, folder: str) -> tuple[Pair, ModelOptions]:
    """Where a model in memory lies now, and how every run loads it: on its device, as any folder else."""
    with silently():
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
    device = "auto" if loaded.device == "cpu" else loaded.device
    return replace(pair, model=folder), ModelOptions(device=device)


def _advice(
    loaded: LoadedModel, rows: SFTDataset, scoring: ScoringOptions, told: Told
) -> Recommendation:
    """What is recommended, so that it is among the arms."""
    heat = use_of(loaded, scoring.temperature, told)
    prior = measured(loaded, rows, None, PriorOptions(), told)
    return decide(prior, temperature=heat, kind=kind_of(loaded, None))


def _confirmed(
    request: Request, loaded: LoadedModel, rows: SFTDataset, advice: Recommendation, told: Told
) -> Confirmed:
    study, problem = plan_study(request, loaded, rows, advice)
    if told.quiet:
        return run_study(study, problem, request.study, margin=request.scoring.margin)
    err.print("scoring the untouched model, timing a few steps ...")
    return run_study(
        study,
        problem,
        request.study,
        margin=request.scoring.margin,
        on_plan=lambda plan, _: show_planned(study, plan),
        watching=lambda study, finished: reporting(study, finished, err),
        stages=told.stages,
    )
