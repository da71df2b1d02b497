"""The training of one run: a fresh model, the arm's targets, the same settings for every arm."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transformers.trainer_callback import PrinterCallback
from trl.trainer.distillation_config import DistillationConfig
from trl.trainer.sft_config import SFTConfig

from advisor.data.dataset import SFTDataset
from advisor.data.labels import last_target
from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from advisor.objectives.table import get_objective
from advisor.prior.prior import measure_prior
from harness.distill.distiller import build_distiller
from harness.distill.teachers import Teachers
from harness.generate.decoding import SPARE_TOKENS, stop_where_turns_end
from harness.generate.own_answers import ArmRefused, own_answers
from harness.records.arm import BASE, PAIRS, ROLLOUTS
from harness.records.runs import RunSpec
from harness.runtime.memory import largest_that_fits
from harness.study.failures import NotScored
from harness.study.methods import OWN, RESAMPLED, Method, read_method
from harness.study.study import steps_of
from harness.train.dpo import build_pair_trainer, pairs
from harness.train.resampling import Resampling
from harness.train.saving import carry_template
from harness.train.sft import build_trainer
from harness.train.trl_settings import configured, settings_for, typed

STEPS_KEPT = 200
LOGGED = ("loss", "grad_norm", "learning_rate", "nll", "mean_p", "entropy", "mean_weight",
          "effective_sample_size", "share_p_below_0.1", "p_eos", "rewards/margins",
          "rewards/accuracies", "kept", "teacher_logp", "sampled_kl", "completions/mean_length",
          "completions/clipped_ratio")  # fmt: skip
BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
OF_THE_DEVICE = ("use_cpu", "bf16", "gradient_checkpointing")
"""Settings that `configured` chooses."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What all runs of a study have in common."""

    model: str
    """Folder or hub id to load before every run."""
    loading: Mapping[str, Any]
    """Keyword arguments of `load_model`."""
    train: SFTDataset
    """Demonstrations to train on."""
    held_out: SFTDataset | None
    """Demonstrations kept back: their NLL is recorded, and never the referee."""
    tasks: Sequence[Any]
    """lm-eval tasks, by name or as objects."""
    domain: str
    """"ladder" or "user"."""
    prior: Mapping[str, Any] | None = None
    """What was measured before training."""
    include_path: str | None = None
    """Folder with task files of the user's own."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """More keyword arguments of `evaluate`: few-shot examples, chat template, batch size."""
    rejected: SFTDataset | None = None
    """Rejected answers, row by row those of `train`; None where there are no pairs."""
    answer_pattern: str | None = None
    """Finds the final answer of a demonstration; None where none can be checked."""
    teachers: Teachers | None = None
    """Of the arms that learn from a teacher; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What is left of a training beside the model."""

    steps: Sequence[Mapping[str, Any]] = ()
    """Thinned log."""
    held_out: Mapping[str, float] = field(default_factory=dict)
    """Measures on demonstrations kept back."""
    tokens: int = 0
    """Trained on, with repetition."""
    sampled: Mapping[str, float] = field(default_factory=dict)
    """What came of sampling the untouched model's own answers; empty where that was not done."""
    resampling: Mapping[str, Any] = field(default_factory=dict)
    """How often examples were resampled in training and what that changed; empty where none are."""


def fit(spec: RunSpec, problem: Problem) -> tuple[LoadedModel, Fitted]:
    """The model of a run, fine-tuned in the largest micro-batches that fit into memory.

    An optimiser step has the same rows in all of them, and every attempt begins with fresh weights.

    Raises:
        ArmRefused: the problem has not what the arm trains on.
        InputError: as of `build_trainer`.
    """
    if spec.arm.objective == BASE:
        return _ready(problem), Fitted()
    whole = int(spec.training.get(BATCH, 8))

    def attempt(size: int) -> tuple[LoadedModel, Fitted]:
        loaded = _ready(problem)
        steps = int(spec.training.get(ACCUMULATION, 1)) * (whole // size)
        training = {**spec.training, BATCH: size, ACCUMULATION: steps}
        return loaded, _train(replace(spec, training=training), problem, loaded)

    return largest_that_fits(attempt, whole)


def _ready(problem: Problem) -> LoadedModel:
    """The untouched model with the chat template that the demonstrations are read with, whoever trains it."""
    loaded = _loaded(problem)
    carry_template(loaded.tokenizer, problem.train)
    return loaded


def _loaded(problem: Problem) -> LoadedModel:
    """The untouched model, which stops where the demonstrations end a turn, whatever its EOS token is."""
    loaded = load_model(problem.model, **problem.loading)
    stop_where_turns_end(loaded, problem.train)
    return loaded


def _train(spec: RunSpec, problem: Problem, loaded: LoadedModel) -> Fitted:
    """Fine-tune the loaded model in place."""
    method = read_method(spec.arm.method)
    sampled: dict[str, float] = {}
    if method.targets in (OWN, ROLLOUTS):  # as many steps as on the demonstrations
        rows = sum(1 for example in problem.train if example.target_tokens)
        steps = steps_of(spec.training, rows)
        spec = replace(spec, training={**spec.training, "max_steps": steps})
    if method.targets == OWN:
        problem, sampled = _with_own_answers(method, spec, problem, loaded)
    with tempfile.TemporaryDirectory() as folder:
        trainer, tokens = _trainer(method, spec, problem, loaded, folder)
        trainer.remove_callback(PrinterCallback)  # the log is kept; stdout is for results
        trainer.train()
    loaded.model.eval()
    return Fitted(
        steps=_thinned(trainer.state.log_history),
        held_out=_held_out(problem, loaded),
        tokens=round(tokens * (trainer.state.epoch or 0.0))
        or int(trainer.state.num_input_tokens_seen),
        sampled=sampled,
        resampling=trainer.resampler.summary() if method.targets == RESAMPLED else {},
    )


def _with_own_answers(
    method: Method, spec: RunSpec, problem: Problem, loaded: LoadedModel
) -> tuple[Problem, dict[str, float]]:
    if problem.answer_pattern is None:
        raise ArmRefused("the demonstrations end in no answer that can be checked")
    train, sampled = own_answers(
        loaded,
        problem.train,
        pattern=problem.answer_pattern,
        per_prompt=method.samples,
        temperature=spec.evaluation["temperature"],
        seed=spec.seed,
    )
    return replace(problem, train=train), sampled.to_dict()


def _trainer(
    method: Method, spec: RunSpec, problem: Problem, loaded: LoadedModel, folder: str
) -> tuple[Any, int]:
    """A trainer ready to train, and the tokens of one epoch, 0 where the trainer counts its own."""
    settings = {**typed(spec.training), "learning_rate": spec.arm.learning_rate, "seed": spec.seed}
    fixed = {
        "output_dir": folder,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    config, peft_config = configured({**settings, **fixed})
    given = (*settings, *fixed, *OF_THE_DEVICE)
    if method.targets == ROLLOUTS:
        return _distiller(method, problem, loaded, config, given, peft_config), 0
    if method.targets != PAIRS:
        objective = get_objective(method.objective)
        resampling = Resampling(share=method.share) if method.targets == RESAMPLED else None
        trainer: Any = build_trainer(
            loaded, problem.train, objective, config, peft_config=peft_config, resampling=resampling
        )
        return trainer, sum(len(example.input_ids) for example in problem.train)
    if problem.rejected is None:
        raise ArmRefused("the dataset has no pairs, chosen and rejected")
    rows = pairs(problem.train, problem.rejected)
    trainer = build_pair_trainer(
        loaded, rows, config, given, beta=method.beta, peft_config=peft_config
    )
    both = (2 * len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in rows)
    return trainer, sum(both)


def _distiller(
    method: Method,
    problem: Problem,
    loaded: LoadedModel,
    config: SFTConfig,
    given: Iterable[str],
    peft_config: Any,
) -> Any:
    """A trainer of on-policy distillation; answers may be a little longer than the longest demonstration."""
    if problem.teachers is None:
        raise ArmRefused("there is no teacher: name one with --teacher")
    spans = [last_target(example.labels) for example in problem.train if example.target_tokens]
    longest = SPARE_TOKENS + max(end - first for first, end in spans)
    return build_distiller(
        loaded,
        problem.train,
        problem.teachers.load(),
        DistillationConfig(
            **settings_for(DistillationConfig, config, given), max_completion_length=longest
        ),
        fire=method.fire,
        form=method.form,
        route=problem.teachers.route,
        peft_config=peft_config,
    )


def _held_out(problem: Problem, loaded: LoadedModel) -> dict[str, float]:
    """Measures on the demonstrations kept back, by the probe: the same for every arm."""
    if problem.held_out is None:
        return {}
    try:
        prior = measure_prior(loaded, problem.held_out, exact=True)
    except InputError as error:  # the demonstrations are those of the other arms: it is this model
        raise NotScored(str(error)) from error
    found = {"nll": -prior.mean_log_p, "mean_p": prior.mean_p, "entropy": prior.entropy}
    return found if prior.p_eos is None else {**found, "p_eos": prior.p_eos}


def _thinned(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    log = [{key: entry[key] for key in ("step", *LOGGED) if key in entry} for entry in history]
    log = [entry for entry in log if "loss" in entry]
    return log[:: max(1, -(-len(log) // STEPS_KEPT))]
