"""Fine-tune every arm on every cell of the grid, and go on where a killed study stopped.

    python -m harness.experiments.calibration run --shard 1/2 &  python -m harness.experiments.calibration
    run --shard 2/2

A cell first gets one seed of every arm at every learning rate; the cells that are done get another seed once
all have one, so that a study which is stopped has as many cells as its time allowed.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from advisor.prior.prior import Prior, measure_prior
from harness.evaluate.lm_eval import evaluate
from harness.experiments.calibration.grid import RATES, SOME, Cell
from harness.experiments.calibration.ledger import CellLine, RunLine, append, pack, read
from harness.experiments.calibration.models import checkpoint
from harness.ladder.build import draw_demonstrations
from harness.ladder.ladder_tasks import scored_prompts
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
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the training, where they are not those of the study."""
    note: str = ""
    """Said after the objective in the ledger, of settings of its own."""

    @property
    def arm(self) -> str:
        """As the ledger calls it."""
        return f"{self.objective}, {self.note}" if self.note else self.objective


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
    todo = [(cell, run) for seed in range(seeds) for cell in cells for run in wanted(cell, seed)]
    carry_out(todo, models=models, results=results, shard=shard, on_run=on_run)


def carry_out(
    planned: Sequence[tuple[Cell, Wanted]],
    *,
    models: Path,
    results: Path,
    shard: tuple[int, int],
    deep: bool = True,
    curves: bool = False,
    on_run: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Do what is missing of this process's share of some runs, in order; shares are whole cells.

    Args:
        planned: cells with their runs.
        models: as of `run_study`, like the others.
        results: folder of the ledger.
        shard: (i, n), from 1.
        deep: whether a cell is measured with the deep probe too.
        curves: whether runs are scored along the training as well.
        on_run: told after every run.

    Raises:
        InputError: no cell of this process has its model yet.
    """
    cells = list(dict.fromkeys(cell for cell, _ in planned))
    share = set(cells[shard[0] - 1 :: shard[1]])
    mine = {cell for cell in share if (checkpoint(models, cell) / "config.json").exists()}
    if not mine:
        raise InputError(f"no models in {models}: pretrain them first, with `models`")
    do_missing(
        [(cell, run) for cell, run in planned if cell in mine],
        lambda cell: LadderBench(cell, checkpoint(models, cell), deep=deep, curves=curves),
        ledger=results / f"ledger-{shard[0]}-of-{shard[1]}.jsonl",
        on_run=on_run,
    )


class Named(Protocol):
    """A cell, whatever it is made of."""

    @property
    def name(self) -> str:
        """Identifies it in the ledger."""


AnyCell = TypeVar("AnyCell", bound=Named)


def do_missing(
    planned: Sequence[tuple[AnyCell, Wanted]],
    bench_of: Callable[[AnyCell], Bench[AnyCell]],
    *,
    ledger: Path,
    on_run: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Do the runs that no ledger in the folder has, in order.

    Args:
        planned: cells with their runs.
        bench_of: makes what runs them; asked anew where the cell is not that of the run before.
        ledger: where cells and runs are written, as they are done.
        on_run: told after every run.

    Raises:
        InputError: a ledger of another model or other demonstrations.
    """
    known, runs = read(ledger.parent)
    done = {run.key for run in runs}
    todo = [
        (cell, run)
        for cell, run in planned
        if (cell.name, run.arm, run.learning_rate, run.seed, run.share) not in done
    ]
    gc.freeze()  # every training collects garbage: what has been imported so far is none
    began, bench = time.monotonic(), None
    for number, (cell, run) in enumerate(todo, 1):
        if bench is None or bench.cell != cell:
            bench = bench_of(cell)
        if cell.name not in known:
            known[cell.name] = bench.measure()
            append(ledger, known[cell.name])
        bench.refuse_another(known[cell.name])
        line = bench.run(run)
        append(ledger, line)
        left = len(todo) - number
        on_run(Progress(line, left, (time.monotonic() - began) / number * left))


@dataclass(frozen=True)
class Bench(ABC, Generic[AnyCell]):
    """A cell ready to be measured and trained on."""

    cell: AnyCell
    """Which one."""
    model: Path
    """Folder of its checkpoint."""
    deep: bool = True
    """Whether it is measured with the deep probe too."""
    curves: bool = False
    """Whether the development problems are answered along the training as well."""
    loading: Mapping[str, Any] = field(default_factory=lambda: dict(LOADING))
    """How the model is loaded."""

    @property
    @abstractmethod
    def called(self) -> str:
        """The model's name."""

    @cached_property
    @abstractmethod
    def demonstrations(self) -> SFTDataset:
        """Rows to train on."""

    @abstractmethod
    def answers(
        self, loaded: LoadedModel, seed: int, parts: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        """`RunLine.answers` of these parts, one by one."""

    @abstractmethod
    def training(self, run: Wanted) -> dict[str, str]:
        """Settings of a run."""

    @cached_property
    def loaded(self) -> LoadedModel:
        """The untouched model; what trains loads its own."""
        return dataclasses.replace(load_model(str(self.model), **self.loading), name=self.called)

    @cached_property
    def problem(self) -> Problem:
        """What its runs have in common."""
        return Problem(
            model=str(self.model),
            loading=self.loading,
            train=self.demonstrations,
            held_out=None,
            tasks=(),
            domain="ladder",
        )

    def measure(self) -> CellLine:
        """The prior over all demonstrations, and the deep probe."""
        prior = measure_prior(self.loaded, self.demonstrations, exact=True)
        return CellLine(
            cell=self.cell.name,
            prior=prior.to_dict(),
            deep=self._measured_deep() if self.deep else None,
            fingerprints=self.fingerprints,
            environment=dataclasses.asdict(
                Environment.here(device=self.loaded.device, dtype=self.loaded.dtype)
            ),
            forecast=self.forecast(prior),
        )

    def forecast(self, prior: Prior) -> dict[str, Any]:
        """`CellLine.forecast`; nothing, unless a study keeps it."""
        return {}

    def forgetting(self, loaded: LoadedModel) -> dict[str, float]:
        """`RunLine.forgetting`; nothing, unless a study takes it."""
        return {}

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

    def run(self, run: Wanted) -> RunLine:
        """Train, unless it is the base, and answer the development and test problems."""
        began, curve = time.monotonic(), dict[str, dict[str, str]]()

        def look(share: float, model: LoadedModel) -> None:
            curve[f"{share:g}"] = dict(self.answers(model, run.seed, PARTS[:1]))

        looked = look if self.curves and run.share == 1 else None
        loaded, fitted = fit(self._spec(run), self.problem, look=looked)
        answers = dict(self.answers(loaded, run.seed, PARTS if run.share == 1 else PARTS[:1]))
        forgetting = self.forgetting(loaded)
        return RunLine(
            cell=self.cell.name,
            objective=run.arm,
            learning_rate=run.learning_rate,
            seed=run.seed,
            answers=answers,
            last=dict(fitted.steps[-1]) if fitted.steps else {},
            seconds=round(time.monotonic() - began, 2),
            share=run.share,
            curve=curve,
            forgetting=forgetting,
        )

    def trained(self, run: Wanted) -> LoadedModel:
        """The model of a run, trained anew; the untouched one of the base."""
        return fit(self._spec(run), self.problem)[0]

    def _measured_deep(self) -> dict[str, Any]:
        from harness.deep_probe.measure_deep import measure_deep

        return measure_deep(self.loaded, self.demonstrations, self._some, temperature=1.0).to_dict()

    def _some(self, rows: Sequence[int]) -> SFTDataset:
        chosen = [self.demonstrations.raw(row) for row in rows]
        return load_dataset(chosen, self.loaded.tokenizer)

    def _spec(self, run: Wanted) -> RunSpec:
        return RunSpec(
            model=self.called,
            model_fingerprint=self.loaded.fingerprint,
            dataset=self.cell.name,
            dataset_fingerprint=self.demonstrations.info.fingerprint,
            split=None,
            arm=arm_of(run.objective, learning_rate=run.learning_rate),
            seed=run.seed,
            training={} if run.objective == BASE else self.training(run),
            tasks=(),
            evaluation={"temperature": 1.0, "temperatures": list(TEMPERATURES), "repeats": 1},
        )


class LadderBench(Bench[Cell]):
    """A cell of the grid."""

    @property
    def called(self) -> str:
        """The model's place in the grid."""
        return f"{self.cell.family}-{self.cell.step}"

    @cached_property
    def demonstrations(self) -> SFTDataset:
        """Drawn from the cell's pretraining seed, without a problem of the development or test part."""
        scored = scored_prompts(self.cell.skill)
        rows = draw_demonstrations(self.cell.rung, self.cell.seed, avoid=scored)
        return load_dataset(rows, self.loaded.tokenizer)

    def answers(
        self, loaded: LoadedModel, seed: int, parts: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        """By lm-eval."""
        for part in parts:
            for temperature in TEMPERATURES:
                (score,) = evaluate(
                    loaded.model, loaded.tokenizer, [f"ladder_{self.cell.skill}"],
                    temperature=temperature, seed=seed, part=part, batch_size=100,
                )  # fmt: skip
                right = [value == 1.0 for (value,) in score.values]
                yield f"{part}@{temperature:g}", pack(right)

    def training(self, run: Wanted) -> dict[str, str]:
        """The study's settings, with fewer steps in a race."""
        settings = {**TRAINING, "num_train_epochs": str(self.cell.epochs), **run.settings}
        if self.cell.rows > SOME:
            settings["logging_steps"] = "40"
        if run.share < 1:
            steps = steps_of(settings, self.cell.rows)
            settings["max_steps"] = str(max(1, round(run.share * steps)))
        return settings
