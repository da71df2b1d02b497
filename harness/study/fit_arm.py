"""The training of one run: a fresh model, the arm's targets, the same settings for every arm."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from advisor.errors import InputError
from advisor.files import unwritten
from advisor.model.load import LoadedModel, load_model
from advisor.objectives.table import get_objective
from advisor.prior.prior import measure_prior
from harness.generate.decoding import stop_where_turns_end
from harness.records.arm import BASE
from harness.records.runs import RunSpec
from harness.runtime.memory import largest_that_fits
from harness.runtime.quiet import quiet
from harness.study.beginnings import as_trained
from harness.study.failures import NotScored, fault_behind, read_before
from harness.study.methods import Method, read_method
from harness.study.problem import Problem
from harness.study.study import steps_of
from harness.study.target_effects import EFFECTS, Training, refuse_lacking
from harness.train.kept_beginning import Beginning, BeginningLost, train_from
from harness.train.looks import LooksAt
from harness.train.pieces import Piece, train_piece
from harness.train.saving import carry_template
from harness.train.trackers import lead_to, name_of, own_run
from harness.train.trl_settings import configured, typed

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of the steps of a run, after which its curve has a point."""
LookAtModel = Callable[[float, LoadedModel], None]
"""Told the share of the steps that lie behind, and the model as it is."""
STEPS_KEPT = 200
LOGGED = ("loss", "grad_norm", "learning_rate", "nll", "mean_p", "entropy", "mean_weight",
          "effective_sample_size", "share_p_below_0.1", "p_eos", "rewards/margins",
          "rewards/accuracies", "kept", "teacher_logp", "sampled_kl", "completions/mean_length",
          "completions/clipped_ratio", "stage", "power", "left_out")  # fmt: skip
BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
OF_THE_DEVICE = ("use_cpu", "bf16", "gradient_checkpointing")
"""Settings that `configured` chooses."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What is left of a training beside the model."""

    steps: Sequence[Mapping[str, Any]] = ()
    """Thinned log."""
    held_out: Mapping[str, float] = field(default_factory=dict)
    """Measures on demonstrations kept back."""
    tokens: int = 0
    """Trained on, with repetition."""
    began: Mapping[str, Any] | None = None
    """As of `Run`."""
    of_targets: Mapping[str, Any] = field(default_factory=dict)
    """What came of the targets beside the training, by name, such as "own_answers": see `Effects`."""


def fit(
    spec: RunSpec,
    problem: Problem,
    *,
    look: LookAtModel | None = None,
    until: float | None = None,
) -> tuple[LoadedModel, Fitted]:
    """The model of a run, fine-tuned in the largest micro-batches that fit into memory.

    An optimiser step has the same rows in all of them, and every attempt begins with fresh weights. Of an
    objective that selects among the rows of a micro-batch no smaller one is tried.

    Args:
        spec: of the run.
        problem: what it trains on.
        look: shown the model, with its tokenizer, at `SHARES` of the steps of every attempt.
        until: share of the steps to train to, from where the same training was left; None: all at once.

    Raises:
        ArmRefused: the problem has not what the arm trains on.
        MachineFault: the model cannot be read any more.
        InputError: as of `build_trainer`.
    """
    if spec.arm.objective == BASE:
        return _ready(problem), Fitted()
    if problem.trackers is not None:
        named = replace(problem.trackers, run=_name(spec))
        problem = replace(problem, trackers=named)
    whole = int(spec.training.get(BATCH, 8))
    keep = problem.checkpoints / spec.id if problem.checkpoints else None

    def attempt(size: int) -> tuple[LoadedModel, Fitted]:
        loaded = _ready(problem)
        steps = int(spec.training.get(ACCUMULATION, 1)) * (whole // size)
        sized = replace(spec, training={**spec.training, BATCH: size, ACCUMULATION: steps})
        shared = problem.beginnings
        begin: Beginning | Piece | None
        if until is None:
            begin = shared.of(spec, sized.training, loaded) if shared else None
        else:
            begin = Piece(place=_place(spec, sized.training, problem, loaded), until=until)
        try:
            return loaded, _train(sized, problem, loaded, begin, keep, look)
        except BeginningLost:
            del loaded
        loaded = _ready(problem)
        again = begin if isinstance(begin, Piece) else None
        return loaded, _train(sized, problem, loaded, again, keep, look)

    return largest_that_fits(attempt, whole, "rows", least=_least(spec, whole))


def _least(spec: RunSpec, whole: int) -> int:
    """The smallest micro-batch with which a run is still what it says."""
    method = read_method(spec.arm.method)
    uncut = not method.source.own_loss and get_objective(method.objective).by_forward
    return whole if uncut else 1


def _name(spec: RunSpec) -> str:
    """What trackers call a run: its arm, and the record in which it ends."""
    name = name_of(spec.arm.method, spec.arm.learning_rate or 0.0, spec.model, spec.dataset)
    return f"{name}, seed {spec.seed}, {spec.id}"


def _ready(problem: Problem) -> LoadedModel:
    """The untouched model with the chat template that the demonstrations are read with, whoever trains it."""
    loaded = _loaded(problem)
    carry_template(loaded.tokenizer, problem.train)
    return loaded


def _loaded(problem: Problem) -> LoadedModel:
    """The untouched model, which stops where the demonstrations end a turn, whatever its EOS token is."""
    with read_before():
        loaded = load_model(problem.model, **problem.loading)
    if problem.origin is not None:
        loaded.model.name_or_path = problem.origin  # PEFT writes it into an adapter's config
    stop_where_turns_end(loaded, problem.train)
    return loaded


def _train(
    spec: RunSpec,
    problem: Problem,
    loaded: LoadedModel,
    begin: Beginning | Piece | None,
    keep: Path | None = None,
    look: LookAtModel | None = None,
) -> Fitted:
    """Fine-tune the loaded model in place, and save it where it is to be kept.

    Raises:
        BeginningLost: of a beginning that could not be read; the model may hold a part of it.
    """
    method = read_method(spec.arm.method)
    refuse_lacking(method, problem)
    effects = EFFECTS[method.source.name]
    if effects.as_many_steps:
        rows = sum(1 for example in problem.train if example.target_tokens)
        steps = steps_of(spec.training, rows)
        spec = replace(spec, training={**spec.training, "max_steps": steps})
    problem, facts = effects.prepare(method, spec, problem, loaded)
    piece = begin if isinstance(begin, Piece) else None
    within = None if piece is None else _made(piece.place)
    with tempfile.TemporaryDirectory(dir=within) as folder:
        trainer, tokens = effects.trainer(_training(method, spec, problem, loaded, folder))
        trainer.remove_callback(PrinterCallback)  # the log is kept; stdout is for results
        lead_to(trainer, problem.trackers)
        if look is not None:
            shown = look  # mypy: a lambda does not see that it is not None
            trainer.add_callback(LooksAt(SHARES, lambda share, model: shown(share, loaded)))
        began = None
        with own_run(trainer.args.report_to), redirect_stdout(sys.stderr):  # trackers print
            if isinstance(begin, Piece):
                train_piece(trainer, begin)
            elif (taken := train_from(trainer, begin)) and begin:
                began = {"as": begin.label, "step": taken[0], "tokens": round(tokens * taken[1])}
        if keep is not None and (piece is None or piece.until == 1):
            save_whole(trainer, keep)
    loaded.model.eval()
    return Fitted(
        steps=_thinned(trainer.state.log_history),
        held_out=_held_out(problem, loaded),
        tokens=round(tokens * (trainer.state.epoch or 0.0))
        or int(trainer.state.num_input_tokens_seen),
        began=began,
        of_targets={**facts, **effects.found(trainer)},
    )


def _place(
    spec: RunSpec, training: Mapping[str, Any], problem: Problem, loaded: LoadedModel
) -> Path:
    """Where the pieces of a run leave their checkpoints; one that is trained otherwise has another place."""
    assert problem.pieces is not None
    return problem.pieces / spec.id / as_trained(training, loaded)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_whole(trainer: Trainer, folder: Path) -> None:
    """Save a model, so that the folder is there only when it is whole.

    Raises:
        OSError: it could not be written: the machine's fault, whatever the writer raises.
    """
    part = folder.with_name(f"{folder.name}.part")
    try:
        with quiet():
            trainer.save_model(str(part))
    except (SafetensorError, RuntimeError) as error:
        reason = unwritten(error) or " ".join(str(error).split())
        raise OSError(f"{folder}: the checkpoint cannot be written ({reason})") from error
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _training(
    method: Method, spec: RunSpec, problem: Problem, loaded: LoadedModel, folder: str
) -> Training:
    """What the arm's trainer is built of, with the same settings for every arm."""
    settings = {**typed(spec.training), "learning_rate": spec.arm.learning_rate, "seed": spec.seed}
    fixed = {
        "output_dir": folder,
        "save_strategy": "no",
        "disable_tqdm": True,
        **(problem.trackers.fields() if problem.trackers else {"report_to": "none"}),
    }
    config, peft_config = configured({**settings, **fixed}, device=loaded.device)
    return Training(
        method=method,
        problem=problem,
        loaded=loaded,
        config=config,
        given=(*settings, *fixed, *OF_THE_DEVICE),
        peft_config=peft_config,
    )


def _held_out(problem: Problem, loaded: LoadedModel) -> dict[str, float]:
    """Measures on the demonstrations kept back, by the probe: the same for every arm."""
    if problem.held_out is None:
        return {}
    try:
        prior = measure_prior(loaded, problem.held_out, exact=True)
    except InputError as error:
        if fault_behind(error) is not None:
            raise
        # The demonstrations are those of the other arms: it is this model.
        raise NotScored(str(error)) from error
    found = {"nll": -prior.mean_log_p, "mean_p": prior.mean_p, "entropy": prior.entropy}
    return found if prior.p_eos is None else {**found, "p_eos": prior.p_eos}


def _thinned(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    log = [{key: entry[key] for key in ("step", *LOGGED) if key in entry} for entry in history]
    log = [entry for entry in log if "loss" in entry]
    return log[:: max(1, -(-len(log) // STEPS_KEPT))]
