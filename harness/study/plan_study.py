"""What `advisor confirm` is asked, made a study and its problem; what can be refused before a run is refused.

Neither the study nor the problem holds the model: every run loads its own.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from advisor.advice.learning_rates import Trained, learning_rate
from advisor.advice.learnt_belief import shipped as learnt
from advisor.advice.recommend import Recommendation
from advisor.advice.replayed import shipped
from advisor.data.dataset import SFTDataset
from advisor.errors import InputError
from advisor.model.answering import generation_mark, tokenizer_mark
from advisor.model.load import LoadedModel
from advisor.options import DataOptions, ModelOptions
from harness.distill.teachers import LOADING, Teachers, check_teacher, read_teachers, teacher_of
from harness.evaluate.guard_tasks import guard_names
from harness.evaluate.held_out import CHOOSING
from harness.evaluate.scorers import task_files, task_names
from harness.evaluate.scoring import CHAT, settings_of
from harness.evaluate.scoring_options import ScoringOptions
from harness.evaluate.split import own_task, split_rows
from harness.evaluate.user_scorer import Scorer, scorer_of
from harness.generate.own_answers import answers_of
from harness.ladder import LADDER, RUNGS
from harness.ladder.named_pair import Pair
from harness.records.runs import Results
from harness.records.training_texts import texts_of
from harness.reinforce.grpo_settings import PROMPTS, Then, grpo_settings
from harness.reinforce.verifier import Verifier, questions_of
from harness.study.checkpoint_folders import FOLDER
from harness.study.methods import default_objectives, labels_of
from harness.study.problem import Problem, available
from harness.study.run_race import pieces_in
from harness.study.study import Step, Study
from harness.study.study_options import RACE, SEEDS, StudyOptions
from harness.study.study_settings import refuse_arms, refuse_unbuildable, training_of
from harness.train.dpo import rejected_side
from harness.train.kept_beginning import is_exact
from harness.train.trackers import split, trackers_of

DEVELOPMENT_REPEATS = 4
"""Sampled answers to a development document: with one, the standard error of a difference between two
learning rates on 100 of them is 5 points on the ladder's studies, with four it is 2.8."""
CURVE = (0.0, 0.3, 0.5, 0.7, 1.0)
"""Temperatures at which every arm is scored where the model will be sampled."""
ANSWERING = ("tokenizer", "generation_config")
"""Of what the records say of scoring: the model's own, which its fingerprint does not cover."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `advisor confirm` is asked."""

    pair: Pair
    """Names of model and dataset, and where they lie."""
    origin: str | None = None
    """As of `Problem`."""
    model: ModelOptions = field(default_factory=ModelOptions)
    """How every run loads the model."""
    data: DataOptions = field(default_factory=DataOptions)
    """How the dataset was read."""
    study: StudyOptions = field(default_factory=StudyOptions)
    """Arms and runs."""
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    """How they are scored; a temperature of None is that of the advice."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of TRL's SFTConfig and ModelConfig, on top of those of a short fine-tune."""


def plan_study(
    request: Request, loaded: LoadedModel, dataset: SFTDataset, advice: Recommendation
) -> tuple[Study, Problem]:
    """The study that a request and a recommendation make; the results folder is seen to be writable.

    Args:
        request: what is asked.
        loaded: the student; every run loads its own, so that the caller had better drop this one.
        dataset: all rows.
        advice: what was recommended for them, at the temperature of use.

    Raises:
        InputError: a folder, an arm, a setting or a teacher that cannot be used.
    """
    Results(request.study.results).prepare()
    scorer = scorer_of(request.scoring)
    problem = _problem(request, loaded, dataset, advice, scorer)
    study = _study(request, loaded, dataset, advice, problem, scorer)
    return _as_recorded(study, Results(request.study.results)), problem


def _as_recorded(study: Study, results: Results) -> Study:
    """The study as its records have it: earlier ones do not tell with which tokenizer they were made."""
    kept = {k: value for k, value in study.evaluation.items() if k not in ANSWERING}
    earlier = replace(study, evaluation=kept)
    if results.find(study.base()) is not None or results.find(earlier.base()) is None:
        return study
    logger.warning(
        "%s: the records of this study do not tell which tokenizer and generation config they were made "
        "with: they are taken as made with those of today.",
        results.folder,
    )
    return earlier


def _problem(
    request: Request,
    loaded: LoadedModel,
    dataset: SFTDataset,
    advice: Recommendation,
    scorer: Scorer | None,
) -> Problem:
    """What is trained on and how it is scored: given tasks, the ladder's own, or held-out rows."""
    scoring, name = request.scoring, request.pair.dataset_name
    ladder = name.startswith(LADDER)
    tasks: list[Any] = list(scoring.tasks or ())
    if not (tasks or scorer) and ladder:
        tasks = [f"ladder_{RUNGS[name.removeprefix(LADDER)].skill}"]
    train, held_out = dataset, None
    if not tasks:
        kept, back = split_rows(dataset)
        train, held_out = (dataset.read([dataset.raw(i) for i in part]) for part in (kept, back))
        tasks = [own_task(held_out, scoring.answer_regex, scorer)]
    return Problem(
        model=request.pair.model,
        origin=request.origin,
        loading={name: getattr(request.model, name) for name in ("revision", *LOADING)},
        train=train,
        held_out=held_out,
        tasks=tasks,
        checkpoints=_checkpoints(request.study),
        pieces=pieces_in(request.study.results) if request.study.of_plan == RACE else None,
        looks=request.study.of_plan is not None,
        domain="ladder" if ladder else "user",
        guards=scoring.guard or (),
        prior={**advice.prior.to_dict(), **_weights(train)},
        include_path=scoring.include_path,
        rejected=rejected_side(train, dataset.read),
        answer_pattern=(pattern := answers_of(train, scoring.answer_regex)),
        teachers=_teachers(request),
        then=_then(request, loaded, train, pattern, scorer),
        trackers=trackers_of(split(request.training)[1], Path(request.study.results)),
        limit=request.study.seconds_of_a_run,
    )


def _then(
    request: Request,
    loaded: LoadedModel,
    train: SFTDataset,
    pattern: str | None,
    scorer: Scorer | None,
) -> Then | None:
    """What the arms are continued with, rewarded for answers to training prompts; None: they are not.

    Raises:
        InputError: no answer can be checked, fewer can than a step takes, or an adapter is trained.
    """
    if (steps := request.study.steps_after) is None:
        return None
    then = f"--then {request.study.then}"
    if request.training.get("use_peft"):
        raise InputError(f"{then}: continues whole models, not adapters: leave out --use_peft")
    if scorer is None and pattern is None:
        raise InputError(
            f"{then}: no answer can be checked, so there is nothing to reward: the completions end in no "
            "answer of a known form; give --answer_regex with one group that finds it, or --scorer"
        )
    if (number := len(questions_of(train))) < PROMPTS:
        raise InputError(
            f"{then}: {number} training prompts have an answer, fewer than the {PROMPTS} of a step: give "
            "more rows"
        )
    verifier = Verifier(scorer=scorer) if scorer else Verifier(pattern=pattern)
    return Then(verifier=verifier, settings=grpo_settings(loaded.parameters, steps=steps))


def _weights(train: SFTDataset) -> dict[str, str]:
    """For the records, that the data weigh their targets, where they do."""
    train.tokenize(range(len(train)))
    return {} if train.weights is None else {"weights": train.weights}


def _checkpoints(options: StudyOptions) -> Path | None:
    """Where the runs of a plan, and runs that are continued, leave their checkpoints."""
    kept = options.of_plan or options.then
    return Path(options.results).resolve() / FOLDER if kept else None


def _teachers(request: Request) -> Teachers | None:
    """Whom `--teacher` and `--route` name."""
    study = request.study
    if study.teacher:
        loading = {name: getattr(request.model, name) for name in LOADING}
        return read_teachers(study.teacher, study.route, loading)
    if study.route:
        raise InputError("--route: there is no --teacher to choose from")
    return None


def _study(
    request: Request,
    loaded: LoadedModel,
    dataset: SFTDataset,
    advice: Recommendation,
    problem: Problem,
    scorer: Scorer | None,
) -> Study:
    options, scoring = request.study, request.scoring
    training = training_of(split(request.training)[0])
    default = default_objectives(advice.recommended, available(problem))
    steps = _steps(options.of_plan, loaded, training)
    objectives = (
        tuple(dict.fromkeys(step.method for step in steps))
        if steps
        else labels_of(options.objectives or default)
    )
    rates = (
        [step.learning_rate for step in steps] or options.learning_rates or _rates(loaded, training)
    )
    refuse_arms(objectives, training, problem, plan=options.of_plan)
    refuse_unbuildable(loaded, training)
    trust = {"trust_remote_code": request.model.trust_remote_code}
    of_use = advice.temperature if scoring.temperature is None else float(scoring.temperature)
    tasks = tuple(
        name for t in problem.tasks for name in task_names(t, scoring.include_path, **trust)
    )
    return Study(
        model=request.pair.model_name,
        model_fingerprint=loaded.fingerprint,
        dataset=request.pair.dataset_name,
        dataset_fingerprint=dataset.info.fingerprint,
        split=request.data.split,
        reading=_reading(request.data),
        teachers=_record_of(problem, loaded),
        objectives=objectives,
        learning_rates=tuple(dict.fromkeys(rates)),
        seeds=tuple(range(1 if steps else options.seeds or SEEDS)),
        steps=steps,
        plan=options.of_plan,
        first_share=1 if scoring.tasks else 0,
        tasks=tasks,
        temperature=of_use,
        training=texts_of(training),
        evaluation={
            **_of_scorer(scorer),
            **_evaluation(request, dataset, problem, of_use),
            **_template(dataset),
            **_answering(loaded),
            **_guards(request, dataset, tasks),
        },
        full=options.full,
    )


def _steps(name: str | None, loaded: LoadedModel, training: Mapping[str, Any]) -> tuple[Step, ...]:
    """The runs of a plan for a model of this size, or for an adapter."""
    if name is None:
        return ()
    trained = _trained(training)
    if name == RACE:
        if not is_exact(training):
            odd = next(setting for setting in training if not is_exact([setting]))
            raise InputError(
                f"--{odd}: a race trains in pieces, and with that no training goes on as if it had never "
                "stopped: leave it out, or give --plan three"
            )
        return tuple(
            Step(method=label, learning_rate=learning_rate(loaded.parameters, word, trained))
            for label, word in learnt().racers
        )
    return tuple(
        Step(
            method=run.objective,
            learning_rate=learning_rate(loaded.parameters, run.rate, trained),
            below=run.below,
        )
        for run in shipped().plans[name]
    )


def _rates(loaded: LoadedModel, training: Mapping[str, Any]) -> tuple[float, ...]:
    """The grid of learning rates for a model of this size, or for an adapter."""
    trained = _trained(training)
    return (
        learning_rate(loaded.parameters, "low", trained),
        learning_rate(loaded.parameters, "high", trained),
    )


def _trained(training: Mapping[str, Any]) -> Trained:
    if not training.get("use_peft"):
        return "full"
    return "qlora" if training.get("load_in_4bit") else "lora"


def _evaluation(
    request: Request, dataset: SFTDataset, problem: Problem, of_use: float
) -> dict[str, Any]:
    """How the arms are scored, for the records."""
    scoring = request.scoring
    temperatures = sorted({*CURVE, of_use}) if of_use > 0 else [0.0, 1.0]
    if all(isinstance(task, dict) and "choice" in task["output_type"] for task in problem.tasks):
        temperatures = [of_use]  # nothing is generated
    return {
        **_scored_by(request),
        **settings_of(scoring, dataset.info, dataset.tokenizer),
        "temperature": of_use,
        "temperatures": temperatures,
        "repeats": scoring.repeats if of_use > 0 else 1,
        **({"development_repeats": DEVELOPMENT_REPEATS} if of_use > 0 else {}),
        "limit": scoring.limit,
        **_choosing(problem.tasks),
    }


def _template(dataset: SFTDataset) -> dict[str, str]:
    """The chat template that rows are trained with, for the records: its file may be edited between runs."""
    return {"template": dataset.info.template_hash} if dataset.info.template in CHAT else {}


def _answering(loaded: LoadedModel) -> dict[str, str]:
    """The model's tokenizer and generation config, for the records: their files may be edited in between."""
    marks = (
        tokenizer_mark(loaded.tokenizer),
        generation_mark(loaded.model.generation_config),
    )
    return {name: mark for name, mark in zip(ANSWERING, marks, strict=True) if mark is not None}


def _choosing(tasks: Sequence[Any]) -> dict[str, int]:
    """How many of the user's own rows choose, for the records: earlier versions took fewer."""
    own = [task["metadata"][CHOOSING] for task in tasks if isinstance(task, dict)]
    return {CHOOSING: own[0]} if own else {}


def _guards(request: Request, dataset: SFTDataset, tasks: Sequence[str]) -> dict[str, Any]:
    """Which guards are scored, and whether they are asked as the demonstrations are; nothing without any."""
    scoring = request.scoring
    if not scoring.guard:
        return {}
    names = guard_names(
        scoring.guard, tasks, (dataset.raw(row) for row in range(len(dataset))),
        include_path=scoring.include_path, trust_remote_code=request.model.trust_remote_code,
    )  # fmt: skip
    chats = dataset.info.template in CHAT
    if scoring.apply_chat_template is not None:
        chats = scoring.apply_chat_template
    return {"guards": list(names), "guards_as_chats": chats}


def _of_scorer(scorer: Scorer | None) -> dict[str, str]:
    """A scorer for the records: its name, and its source, so that scores of another are not mixed in."""
    if scorer is None:
        return {}
    return {"scorer": scorer.text, **({"scorer_code": scorer.code} if scorer.code else {})}


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


def _scored_by(request: Request) -> dict[str, Any]:
    """What else decides a score, where it was given: patterns, folders and files of tasks, precision."""
    scoring = request.scoring
    files: dict[str, bytes] = {}  # of one name, what stands in all of them
    for task in (*(scoring.tasks or ()), *(scoring.guard or ())):
        for path in task_files(task, scoring.include_path):
            files[path.name] = files.get(path.name, b"") + path.read_bytes()
    given = {
        "answer_regex": scoring.answer_regex,
        "include_path": scoring.include_path,
        "task_files": {
            name: hashlib.sha256(content).hexdigest()[:16] for name, content in files.items()
        },
        "dtype": None if request.model.dtype == "auto" else request.model.dtype,
    }
    return {name: value for name, value in given.items() if value}


def _reading(data: DataOptions) -> dict[str, Any] | None:
    """The flags that say how the dataset is read; a split has a field of its own."""
    given = {name: value for name, value in data.said().items() if name != "split"}
    return {name: value for name, value in given.items() if value is not None} or None
