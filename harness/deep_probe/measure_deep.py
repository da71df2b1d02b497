"""The deep probe: recovery and coherence of improbable targets, and sampled answers of the untouched model.

`measure_deep(loaded, dataset, ...) -> Deep`; what the numbers mean is in `advisor.prior.deep`. Rows are
drawn once with the seed: up to 120 are kept back, up to 480 others are trained on, 60 steps of 8 with
plain NLL. A model under 50M parameters is trained whole, on a copy in float32; a larger one by an adapter
on all its linear maps. Either way the caller's model stays as it was. The learning rate is the higher of
the two that `advisor confirm` tries for such a model. Coherence is in `harness.deep_probe.coherence`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from advisor.advice.learning_rates import learning_rate
from advisor.data.dataset import Example, SFTDataset
from advisor.errors import InputError
from advisor.model.forward import copied, find_head
from advisor.model.load import LoadedModel
from advisor.objectives.table import get_objective
from advisor.prior.deep import RECOVERED, Deep
from advisor.prior.intervals import Interval, ratio_interval
from advisor.prior.pass_rates import PassRates
from advisor.prior.prior import LOW_P
from advisor.prior.probe import Probe
from advisor.progress import Progress, Stages, span, untold_stages
from harness.deep_probe.coherence import (
    WHOLE,
    Estimate,
    measure_coherence,
    one_improbable,
    twin,
)
from harness.evaluate.lm_eval import REPEAT_STRIDE, evaluate
from harness.evaluate.split import own_task
from harness.runtime.memory import largest_that_fits
from harness.runtime.quiet import quiet, undisturbed
from harness.statistics.pass_at_k import share_between
from harness.train.sft import build_trainer
from harness.train.trl_settings import configured

Array = NDArray[np.float64]
RowsOf = Callable[[Sequence[int]], SFTDataset]

TRAINING_ROWS, HELD_OUT_ROWS, HELD_OUT_SHARE = 480, 120, 0.2
STEPS, STEP_ROWS = 60, 8
ANSWERS, SAMPLES = 64, 16
"""Prompts that are answered at most, and how often each."""
READING = "deep probe, reading"
FEWEST_ROWS = 10
"""Rows with targets below which nothing can be kept back."""


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """What sampled answers came to."""

    first: Estimate = field(default_factory=Estimate)
    """Share of right ones, one a prompt."""
    rates: PassRates | None = None
    """Of several a prompt; None where they are greedy, which are all the same."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The short run."""

    steps: int
    learning_rate: float
    adapter: bool
    seed: int


def measure_deep(
    loaded: LoadedModel,
    dataset: SFTDataset,
    rows_of: RowsOf,
    *,
    temperature: float,
    seed: int = 0,
    limit: int | None = None,
    steps: int = STEPS,
    stages: Stages = untold_stages,
) -> Deep:
    """Run the deep probe; the model and the global random states are left as they were.

    Args:
        loaded: the untouched model.
        dataset: the demonstrations.
        rows_of: some of its rows, by number, as a dataset read in the same way.
        temperature: at which answers are sampled, 0 for greedy.
        seed: of the choice of rows, the run and the answers.
        limit: rows used at most; never more than 600.
        steps: optimiser steps of the short run, each of 8 rows.
        stages: told the stages, and how many of their parts are done.

    Raises:
        InputError: too few rows with targets, or a model whose head cannot be trained with an objective.
    """
    start = time.monotonic()
    _check(loaded)
    train_rows, held_rows = split(dataset, limit=limit, seed=seed)
    held = [dataset[row] for row in held_rows]
    everything = [*held, *(dataset[row] for row in train_rows)]
    plan = _plan(loaded, steps=steps, seed=seed)
    with undisturbed(loaded.model), quiet():
        before = _probabilities(loaded, everything, stages(READING))
        agreement, scope = measure_coherence(
            loaded, one_improbable(everything, before, seed), stages("deep probe, gradients")
        )
        answers, note = _answers(
            loaded, dataset, held_rows, rows_of, temperature=temperature, seed=seed, stages=stages
        )
        after = _after_run(loaded, rows_of(train_rows), held, plan, stages)
    recovered = recovery(before[: len(held)], after)
    return Deep(
        recovery=recovered.value,
        recovery_interval=recovered.interval,
        improbable=recovered.count,
        nll_before=_nll(before[: len(held)]),
        nll_after=_nll(after),
        coherence=agreement.value,
        coherence_interval=agreement.interval,
        coherence_examples=agreement.count,
        coherence_parameters=scope,
        accuracy=answers.first.value,
        accuracy_interval=answers.first.interval,
        answers=answers.first.count,
        pass_rates=answers.rates,
        temperature=temperature,
        training_rows=len(train_rows),
        held_out_rows=len(held_rows),
        steps=steps,
        learning_rate=plan.learning_rate,
        trained="adapter" if plan.adapter else "all",
        seed=seed,
        seconds=time.monotonic() - start,
        notes=(note,) if note else (),
    )


def split(
    dataset: SFTDataset, *, limit: int | None = None, seed: int = 0
) -> tuple[list[int], list[int]]:
    """(training, held-out) rows: disjoint, with targets, and no held-out example among the training ones.

    Raises:
        InputError: too few rows with targets.
    """
    most = min(limit or len(dataset), TRAINING_ROWS + HELD_OUT_ROWS)
    drawn = np.random.default_rng(seed).permutation(len(dataset))[:most].tolist()
    dataset.tokenize(drawn)
    # A repeated row is kept once: in both parts it would be remembered, not recovered.
    distinct = {tuple(dataset[row].input_ids): row for row in drawn}
    rows = [row for row in distinct.values() if dataset[row].target_tokens]
    if len(rows) < FEWEST_ROWS:
        dataset.require_targets()
        more = "raise --limit, or " if most == limit and most < len(dataset) else ""
        raise InputError(
            f"{dataset.info.name}: --depth deep keeps rows back and needs {FEWEST_ROWS} different ones with "
            f"targets, not {len(rows)}: {more}use --depth quick"
        )
    kept = min(HELD_OUT_ROWS, int(len(rows) * HELD_OUT_SHARE))
    return rows[kept:], rows[:kept]


def recovery(before: Sequence[Array], after: Sequence[Array]) -> Estimate:
    """Share of the improbable targets that are above .5 afterwards.

    Args:
        before: one array an example, [targets] probabilities.
        after: the same examples and targets after the run.
    """
    pairs = [(b < LOW_P, a > RECOVERED) for b, a in zip(before, after, strict=True)]
    table = np.array([(low.sum(), (low & up).sum()) for low, up in pairs if low.any()], dtype=float)
    if not len(table):
        return Estimate()
    tokens, recovered = table.T
    return Estimate(
        value=float(recovered.sum() / tokens.sum()),
        interval=ratio_interval(recovered, tokens, alpha=0.05, anytime=False),
        count=int(tokens.sum()),
    )


def _check(loaded: LoadedModel) -> None:
    if find_head(loaded.model) is None:
        raise InputError(
            f"{loaded.name}: its logits are not those of a plain linear head, so it cannot be trained here: "
            "use --depth quick"
        )


def _plan(loaded: LoadedModel, *, steps: int, seed: int) -> _Plan:
    adapter = loaded.parameters >= WHOLE
    rate = learning_rate(loaded.parameters, "high", "lora" if adapter else "full")
    return _Plan(steps=steps, learning_rate=rate, adapter=adapter, seed=seed)


def _probabilities(
    loaded: LoadedModel, examples: Sequence[Example], on_progress: Progress
) -> list[Array]:
    """[targets] probabilities of every example, in the order of the examples."""
    found: dict[int, Array] = {}
    for batch in Probe(loaded).score(examples):
        found |= {id(scored.example): scored.p for scored in batch}
        on_progress(len(found), len(examples))
    return [found[id(example)] for example in examples]


def _nll(probabilities: Sequence[Array]) -> float:
    return float(-np.log(np.concatenate(probabilities)).mean())


def _answers(
    loaded: LoadedModel,
    dataset: SFTDataset,
    rows: Sequence[int],
    rows_of: RowsOf,
    *,
    temperature: float,
    seed: int,
    stages: Stages,
) -> tuple[_Answers, str]:
    """Sampled answers to held-out prompts that are the demonstration's; else why there are none."""
    whole = [row for row in rows if not dataset[row].truncated][:ANSWERS]
    try:
        task = own_task(rows_of(whole), None) if whole else {}
    except InputError:
        task = {}
    if task.get("output_type") != "generate_until":
        return _Answers(), "No answers were sampled: the completions end in none of a known form."

    def right(number: int) -> Array:
        """[prompts] whether the answers of this number are right."""
        (score,) = evaluate(
            loaded.model, loaded.tokenizer, [task], temperature=temperature,
            seed=seed + REPEAT_STRIDE * number, part="all",
        )  # fmt: skip
        return np.array([values[0] for values in score.values])

    began = time.monotonic()
    table = [right(0)]
    first = Estimate(
        value=float(np.mean(table[0])), interval=_wilson(table[0]), count=len(table[0])
    )
    if not temperature > 0:
        return _Answers(first=first), ""
    more = SAMPLES - 1
    cost = span(more * (time.monotonic() - began))
    on_progress = stages(f"deep probe, {more} more answers to {len(table[0])} prompts, {cost}")
    for number in range(1, SAMPLES):
        table.append(right(number))
        on_progress(number, more)
    return _Answers(first=first, rates=pass_rates(np.stack(table, axis=1))), ""


def pass_rates(table: Array) -> PassRates:
    """What [prompts, answers], 1 where an answer is right, come to."""
    each = table.mean(axis=1)
    some = table.max(axis=1)
    return PassRates(
        prompts=len(each),
        samples=table.shape[1],
        pass_at_1=float(each.mean()),
        pass_at_1_interval=_mean_interval(each),
        pass_at_k=float(some.mean()),
        pass_at_k_interval=_wilson(some),
        between=share_between(table),
    )


def _mean_interval(rates: Array) -> Interval:
    """95 % interval of the mean of shares; of prompts that are all alike Wilson's, as of one answer each."""
    if len(rates) > 1 and np.ptp(rates) == 0:
        return _wilson(rates)
    mean = float(rates.mean())
    error = float(rates.std(ddof=1) / np.sqrt(len(rates))) if len(rates) > 1 else 1.0
    return max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error)


def _wilson(right: Array) -> Interval:
    """95 % interval of a share."""
    found = binomtest(round(right.sum()), len(right)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _after_run(
    loaded: LoadedModel,
    train: SFTDataset,
    held: Sequence[Example],
    plan: _Plan,
    stages: Stages,
) -> list[Array]:
    """Probabilities of the held-out targets after the short run, in micro-batches that fit into memory."""

    def attempt(rows: int) -> list[Array]:
        model = twin(loaded.model) if plan.adapter else copied(loaded.model).float()
        student = replace(loaded, model=model)
        _fine_tune(student, train, plan, rows, stages("deep probe, short run"))
        return _probabilities(student, held, stages(READING))

    return largest_that_fits(attempt, STEP_ROWS, "rows")


def _fine_tune(
    student: LoadedModel, train: SFTDataset, plan: _Plan, rows: int, on_progress: Progress
) -> None:
    """Train the student in place, `rows` at a time."""
    settings: dict[str, Any] = {
        "learning_rate": plan.learning_rate,
        "seed": plan.seed,
        "max_steps": plan.steps,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": STEP_ROWS // rows,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "logging_strategy": "no",
        "bf16": plan.adapter and student.dtype == "bfloat16",
    }
    if student.device == "cpu":
        settings |= {"use_cpu": True, "gradient_checkpointing": False}
    if plan.adapter:
        settings |= {"use_peft": True, "lora_target_modules": "all-linear"}
    with tempfile.TemporaryDirectory() as folder:
        fixed = {
            "output_dir": folder,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        config, peft_config = configured({**settings, **fixed}, device=student.device)
        trainer = build_trainer(
            student, train, get_objective("nll"), config, peft_config=peft_config
        )
        trainer.remove_callback(PrinterCallback)  # stdout is for results
        trainer.add_callback(_Steps(on_progress))
        trainer.train()
    student.model.eval()


class _Steps(TrainerCallback):
    """Tells how many optimiser steps are done."""

    def __init__(self, on_progress: Progress) -> None:
        self.on_progress = on_progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer."""
        self.on_progress(state.global_step, state.max_steps)
