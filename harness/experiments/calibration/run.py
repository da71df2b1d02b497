"""Fine-tune every arm on every cell of the grid, and go on where a killed study stopped.

    python -m harness.experiments.calibration run --shard 1/2 &  python -m harness.experiments.calibration
    run --shard 2/2

A cell first gets one seed of every arm at every learning rate; the cells that are done get another seed once
all have one, so that a study which is stopped has as many cells as its time allowed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from advisor.prior.prior import measure_prior
from harness.evaluate.lm_eval import evaluate
from harness.experiments.calibration.grid import RATES, SOME, Cell
from harness.experiments.calibration.ledger import CellLine, RunLine, append, pack, read
from harness.experiments.calibration.models import checkpoint
from harness.ladder.build import draw_demonstrations
from harness.ladder.ladder_tasks import problem_sets
from harness.records.arm import BASE, NLL, arm_of
from harness.records.runs import RunSpec
from harness.runtime.environment import Environment
from harness.study.fit_arm import fit
from harness.study.problem import Problem
from harness.study.study import steps_of

ARMS = ("neg_p", "p_pow(10)", "threshold(0.2)", "cadft(1)", "idft(1, 0.1, 2)")
"""Beside the base and NLL, which also runs at a tenth of every rate."""
RACE = 1 / 8
"""Share of the steps that each arm gets in a race, the cheap way to choose that advice has to beat."""
TEMPERATURES = (0.0, 1.0)
PARTS = ("development", "test")
LOADING: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
TRAINING = {
    "per_device_train_batch_size": "8",
    "lr_scheduler_type": "cosine",
    "warmup_steps": "0.1",
    "logging_steps": "10",
}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One run of a cell."""

    objective: str
    """Label in the table of objectives, or "base"."""
    learning_rate: float | None
    """None for the base."""
    seed: int
    """Of order and sampling."""
    share: float = 1.0
    """Of the steps of a whole run."""


@dataclass(frozen=True)
class Progress:
    """Where the study stands."""

    run: RunLine
    """The run that has finished."""
    left: int
    """Runs of this process that are still to do."""
    seconds_left: float
    """Estimated from the runs so far."""


def wanted(cell: Cell, seed: int) -> list[Wanted]:
    """The runs of a cell with one seed."""
    rates = RATES[cell.size]
    runs = [Wanted(objective=BASE, learning_rate=None, seed=seed)]
    for rate in (*rates, *(round(rate / 10, 8) for rate in rates)):
        runs.append(Wanted(objective=NLL, learning_rate=rate, seed=seed))
    runs += [Wanted(objective=arm, learning_rate=rate, seed=seed) for arm in ARMS for rate in rates]
    if seed == 0:
        runs += [
            Wanted(objective=arm, learning_rate=rates[0], seed=seed, share=RACE)
            for arm in (NLL, *ARMS)
        ]
    return runs


def run_study(
    cells: Sequence[Cell],
    *,
    models: Path,
    results: Path,
    shard: tuple[int, int],
    seeds: int = 1,
    on_run: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Do what is missing of this process's share of the cells.

    Args:
        cells: of the grid.
        models: folder with the pretrained checkpoints.
        results: folder of the ledger.
        shard: (i, n): this process is the i-th of n, from 1.
        seeds: how many seeds every arm gets.
        on_run: told after every run.

    Raises:
        InputError: no cell of this process has its model yet.
    """
    share = cells[shard[0] - 1 :: shard[1]]
    mine = [cell for cell in share if (checkpoint(models, cell) / "config.json").exists()]
    if not mine:
        raise InputError(f"no models in {models}: pretrain them first, with `models`")
    ledger = results / f"ledger-{shard[0]}-of-{shard[1]}.jsonl"
    known, runs = read(results)
    done = {run.key for run in runs}
    todo = [
        (cell, run)
        for seed in range(seeds)
        for cell in mine
        for run in wanted(cell, seed)
        if (cell.name, run.objective, run.learning_rate, run.seed, run.share) not in done
    ]
    began, bench = time.monotonic(), None
    for number, (cell, run) in enumerate(todo, 1):
        if bench is None or bench.cell != cell:
            bench = Bench(cell, checkpoint(models, cell))
        if cell.name not in known:
            known[cell.name] = bench.measure()
            append(ledger, known[cell.name])
        bench.refuse_another(known[cell.name])
        line = bench.run(run)
        append(ledger, line)
        left = len(todo) - number
        on_run(Progress(line, left, (time.monotonic() - began) / number * left))


@dataclass(frozen=True)
class Bench:
    """A cell ready to be measured and trained on."""

    cell: Cell
    """Which one."""
    model: Path
    """Folder of its checkpoint."""

    @cached_property
    def loaded(self) -> LoadedModel:
        """The untouched model, called after its place in the grid; what trains loads its own."""
        name = f"{self.cell.family}-{self.cell.step}"
        return dataclasses.replace(load_model(str(self.model), **LOADING), name=name)

    @cached_property
    def demonstrations(self) -> SFTDataset:
        """Drawn from the cell's pretraining seed, without a problem of the development or test part."""
        scored = {row["prompt"] for part in problem_sets(self.cell.skill).values() for row in part}
        rows = draw_demonstrations(self.cell.rung, self.cell.seed, avoid=scored)
        return load_dataset(rows, self.loaded.tokenizer)

    def measure(self) -> CellLine:
        """The prior over all demonstrations, and the deep probe."""
        from harness.deep_probe.measure_deep import measure_deep

        prior = measure_prior(self.loaded, self.demonstrations, exact=True)
        deep = measure_deep(self.loaded, self.demonstrations, self._some, temperature=1.0)
        return CellLine(
            cell=self.cell.name,
            prior=prior.to_dict(),
            deep=deep.to_dict(),
            fingerprints=self.fingerprints,
            environment=dataclasses.asdict(Environment.here(device="cpu", dtype="float32")),
        )

    def refuse_another(self, measured: CellLine) -> None:
        """See that model and demonstrations are those that the ledger speaks of.

        Raises:
            InputError: they differ, as after a pretraining on another machine.
        """
        if measured.fingerprints != self.fingerprints:
            raise InputError(
                f"{self.cell.name}: the ledger was begun with another model or other demonstrations: bring "
                "its models (--models), or start another --results folder"
            )

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of model and demonstrations."""
        return {
            "model": self.loaded.fingerprint,
            "demonstrations": self.demonstrations.info.fingerprint,
        }

    def _some(self, rows: Sequence[int]) -> SFTDataset:
        chosen = [self.demonstrations.raw(row) for row in rows]
        return load_dataset(chosen, self.loaded.tokenizer)

    def run(self, run: Wanted) -> RunLine:
        """Train, unless it is the base, and answer the development and test problems."""
        began = time.monotonic()
        loaded, fitted = fit(self._spec(run), self._problem)
        parts = PARTS if run.share == 1 else PARTS[:1]
        answers = dict(self._answers(loaded, run.seed, parts))
        return RunLine(
            cell=self.cell.name,
            objective=run.objective,
            learning_rate=run.learning_rate,
            seed=run.seed,
            answers=answers,
            last=dict(fitted.steps[-1]) if fitted.steps else {},
            seconds=round(time.monotonic() - began, 2),
            share=run.share,
        )

    def _answers(
        self, loaded: LoadedModel, seed: int, parts: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        for part in parts:
            for temperature in TEMPERATURES:
                (score,) = evaluate(
                    loaded.model, loaded.tokenizer, self._problem.tasks,
                    temperature=temperature, seed=seed, part=part, batch_size=100,
                )  # fmt: skip
                right = [value == 1.0 for (value,) in score.values]
                yield f"{part}@{temperature:g}", pack(right)

    @cached_property
    def _problem(self) -> Problem:
        return Problem(
            model=str(self.model),
            loading=LOADING,
            train=self.demonstrations,
            held_out=None,
            tasks=[f"ladder_{self.cell.skill}"],
            domain="ladder",
        )

    def _spec(self, run: Wanted) -> RunSpec:
        training: dict[str, Any] = {**TRAINING, "num_train_epochs": str(self.cell.epochs)}
        if self.cell.rows > SOME:
            training["logging_steps"] = "40"
        if run.share < 1:
            steps = steps_of(training, self.cell.rows)
            training["max_steps"] = str(max(1, round(run.share * steps)))
        return RunSpec(
            model=self.cell.family,
            model_fingerprint=self.loaded.fingerprint,
            dataset=self.cell.name,
            dataset_fingerprint=self.demonstrations.info.fingerprint,
            split=None,
            arm=arm_of(run.objective, learning_rate=run.learning_rate),
            seed=run.seed,
            training={} if run.objective == BASE else training,
            tasks=(f"ladder_{self.cell.skill}",),
            evaluation={"temperature": 1.0, "temperatures": list(TEMPERATURES), "repeats": 1},
        )
