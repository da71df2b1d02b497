"""One run of a study: load, fine-tune, score, and the record of it. The effects of `study.py` are here."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers.trainer_callback import PrinterCallback

from advisor.data import SFTDataset
from advisor.model import LoadedModel, load_model
from advisor.objectives import get_objective
from harness.environment import Environment
from harness.evaluate import evaluate
from harness.finetune import build_trainer
from harness.records import Run, RunSpec, Score
from harness.settings import read_settings
from harness.study import BASE

STEPS_KEPT = 200
LOGGED = ("loss", "grad_norm", "learning_rate", "nll", "mean_p", "entropy", "mean_weight",
          "effective_sample_size", "share_p_below_0.1", "p_eos")  # fmt: skip


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


def execute(spec: RunSpec, problem: Problem) -> Run:
    """Run one specification; an exception becomes the record's error, so that a study goes on."""
    start = time.monotonic()
    environment = Environment.here()
    scores: list[Score] = []
    found: dict[str, Any] = {}
    error = None
    try:
        loaded = load_model(problem.model, **problem.loading)
        environment = Environment.here(device=loaded.device, dtype=loaded.dtype)
        found = {} if spec.objective == BASE else _train(spec, problem, loaded)
        scores = _score(spec, problem, loaded)
    except (RuntimeError, ValueError, OSError) as failure:
        error = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
    return Run(
        spec=spec,
        environment=environment,
        domain=problem.domain,
        prior=problem.prior,
        steps=tuple(found.get("steps", ())),
        held_out=found.get("held_out", {}),
        scores=tuple(scores),
        seconds=time.monotonic() - start,
        tokens=int(found.get("tokens", 0)),
        peak_memory_bytes=_peak_memory(),
        error=error,
    )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Seconds that parts of a run take, from a trial."""

    loading: float
    """Once a run."""
    step: float
    """An optimiser step."""
    answer: float
    """One answer to one document."""


def trial(spec: RunSpec, problem: Problem, *, steps: int = 3, documents: int = 32) -> Trial:
    """Time a few steps and documents of a run; nothing is recorded."""
    short = replace(spec, training={**spec.training, "max_steps": steps})
    settings = {**spec.evaluation, "limit": documents, "repeats": 1}
    of_use = settings["temperature"]
    short = replace(short, evaluation={**settings, "temperatures": [of_use]})
    times = [time.monotonic()]
    loaded = load_model(problem.model, **problem.loading)
    times.append(time.monotonic())
    _train(short, replace(problem, held_out=None), loaded)
    times.append(time.monotonic())
    answers = sum(len(score.documents) for score in _score(short, problem, loaded))
    times.append(time.monotonic())
    loading, training, scoring = (b - a for a, b in pairwise(times))
    return Trial(loading=loading, step=training / steps, answer=scoring / max(1, answers))


def _train(spec: RunSpec, problem: Problem, loaded: LoadedModel) -> dict[str, Any]:
    """Fine-tune the loaded model in place; returns its step log, held-out measures and tokens."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {**spec.training, "learning_rate": spec.learning_rate, "seed": spec.seed}
        words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        fixed = {
            "output_dir": str(Path(folder)),
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        config, peft_config = read_settings(words, fixed)
        trainer = build_trainer(
            loaded,
            problem.train,
            get_objective(spec.objective),
            config,
            eval_dataset=problem.held_out,
            peft_config=peft_config,
        )
        trainer.remove_callback(PrinterCallback)  # the log is kept; stdout is for results
        trainer.train()
        held_out = trainer.evaluate() if problem.held_out is not None else {}
    loaded.model.eval()
    log = [
        {key: entry[key] for key in ("step", *LOGGED) if key in entry}
        for entry in trainer.state.log_history
    ]
    log = [entry for entry in log if "loss" in entry]
    stride = max(1, -(-len(log) // STEPS_KEPT))
    measures = ("nll", "mean_p", "entropy", "p_eos")
    return {
        "steps": log[::stride],
        "held_out": {
            name: held_out[f"eval_{name}"] for name in measures if f"eval_{name}" in held_out
        },
        "tokens": sum(len(e.input_ids) for e in problem.train) * config.num_train_epochs,
    }


def _score(spec: RunSpec, problem: Problem, loaded: LoadedModel) -> list[Score]:
    """Development documents once at the temperature of use; test documents at every temperature."""
    settings = spec.evaluation
    of_use = settings["temperature"]
    scores = []
    for part, temperatures in (("development", (of_use,)), ("test", settings["temperatures"])):
        for temperature in temperatures:
            several = (
                settings["repeats"]
                if part == "test" and temperature == of_use and of_use > 0
                else 1
            )
            scores += evaluate(
                loaded.model,
                loaded.tokenizer,
                problem.tasks,
                temperature=temperature,
                repeats=several,
                limit=settings.get("limit"),
                seed=spec.seed,
                part=part,
                include_path=problem.include_path,
                **problem.evaluation,
            )
    return scores


def _peak_memory() -> int:
    """Peak resident memory of this process so far, bytes (kilobytes on Linux)."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
