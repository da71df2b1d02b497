"""What a run learns when: p of the form, of the skill and of the noise along the training.

The ladder knows which token is which. The tokens are of demonstrations that were not trained on, drawn as
those of the cell are: `#`, `,` and the end of the turn are the form; the other tokens of right solutions are
the skill; the first token at which an annotator's solution leaves the right one is the noise, and the token
that the right solution has there is what the noise is held against.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from transformers import TrainerCallback

from advisor.data.dataset import Example, load_dataset
from advisor.model.load import LoadedModel, load_model
from advisor.objectives.table import get_objective
from advisor.prior.probe import Probe
from harness.experiments.calibration.grid import Cell
from harness.experiments.calibration.models import checkpoint
from harness.experiments.calibration.run import LOADING, TRAINING, LadderBench, Wanted
from harness.ladder.letters import TERMINATOR
from harness.ladder.skills import NOISES, SKILLS, clean
from harness.train.sft import build_trainer
from harness.train.trl_settings import configured, typed

FORM = frozenset(f"#,{TERMINATOR}")
"""Tokens of the form."""
ROWS = 100
"""Demonstrations that are measured."""
POINTS = 20
"""Measurements of a run, beside the one before it."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean p of each kind of token at one time; None where a cell has none."""

    done: float
    """Share of the steps that lie behind."""
    form: float | None
    """Of separators and ends in right solutions."""
    skill: float | None
    """Of the other tokens of right solutions."""
    noise: float | None
    """Of the first wrong token of an annotator's solution."""
    right: float | None
    """Of the token that the right solution has in its place."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One run and what it knew along the way."""

    cell: str
    """Name of the cell."""
    objective: str
    """Label."""
    learning_rate: float
    """Highest of the schedule."""
    points: tuple[Point, ...]
    """In order."""


@dataclass(frozen=True)
class Marked:
    """A solution with what is measured of it: place in the completion -> kind of token."""

    row: dict[str, str]
    places: dict[int, str]


def marked(cell: Cell, number: int = ROWS) -> list[Marked]:
    """Right solutions, and those of the cell's annotator with the right token in the wrong one's place."""
    rng, found = Random(f"trace {cell.name}"), []
    for _ in range(number):
        seed = rng.getrandbits(32)
        prompt = f"{SKILLS[cell.skill](Random(seed)).prompt}|"
        right = clean(cell.skill, seed, Random(0)) + TERMINATOR
        kinds = {i: "form" if char in FORM else "skill" for i, char in enumerate(right)}
        found.append(Marked(_row(prompt, right), kinds))
        wrong = NOISES[cell.noise](cell.skill, seed, Random(f"annotator {seed}")) + TERMINATOR
        pairs = enumerate(zip(right, wrong, strict=False))
        place = next((i for i, (a, b) in pairs if a != b), None)
        if place is not None:
            found.append(Marked(_row(prompt, wrong), {place: "noise"}))
            found.append(Marked(_row(prompt, right), {place: "right"}))
    return found


def _row(prompt: str, completion: str) -> dict[str, str]:
    return {"prompt": prompt, "completion": completion.removesuffix(TERMINATOR)}


def measure(loaded: LoadedModel, solutions: Sequence[Marked], done: float) -> Point:
    """Mean p of every kind of token under the model as it is."""
    dataset = load_dataset([solution.row for solution in solutions], loaded.tokenizer)
    examples: list[Example] = list(dataset)
    places = {id(e): s.places for e, s in zip(examples, solutions, strict=True)}
    seen: dict[str, list[float]] = {}
    for batch in Probe(loaded).score(examples):
        for scored in batch:
            first = int(scored.positions[0])
            for position, log_p in zip(scored.positions, scored.log_p, strict=True):
                kind = places[id(scored.example)].get(int(position) - first)
                if kind is not None:
                    seen.setdefault(kind, []).append(float(np.exp(log_p)))
    means = {kind: round(float(np.mean(values)), 5) for kind, values in seen.items()}
    return Point(done=done, **{k: means.get(k) for k in ("form", "skill", "noise", "right")})


class _Watch(TrainerCallback):
    def __init__(self, loaded: LoadedModel, solutions: Sequence[Marked]) -> None:
        self.loaded, self.solutions, self.points = loaded, solutions, list[Point]()

    def _measure(self, state: Any) -> None:
        training = self.loaded.model.training
        self.loaded.model.eval()
        done = state.global_step / state.max_steps
        self.points.append(measure(self.loaded, self.solutions, done))
        self.loaded.model.train(training)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._measure(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        every = max(1, state.max_steps // POINTS)
        if state.global_step % every == 0 or state.global_step == state.max_steps:
            self._measure(state)


def trace(cell: Cell, models: Path, run: Wanted) -> Trace:
    """Train a run of a cell and measure it along the way."""
    bench = LadderBench(cell, checkpoint(models, cell))
    loaded = load_model(str(bench.model), **LOADING)
    watch = _Watch(loaded, marked(cell))
    training = {**TRAINING, "num_train_epochs": str(cell.epochs), **run.settings}
    with tempfile.TemporaryDirectory() as folder:
        fixed = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True}
        settings = {**typed(training), **fixed, "output_dir": folder, "seed": run.seed}
        config, _ = configured({**settings, "learning_rate": run.learning_rate})
        trainer = build_trainer(loaded, bench.demonstrations, get_objective(run.objective), config)
        trainer.add_callback(watch)
        trainer.train()
    assert run.learning_rate is not None  # the base is not trained
    return Trace(
        cell=cell.name,
        objective=run.arm,
        learning_rate=run.learning_rate,
        points=tuple(watch.points),
    )


def write(traces: Iterable[Trace], path: Path) -> None:
    """Append traces as JSON lines, each as it comes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for one in traces:
            file.write(json.dumps(asdict(one), separators=(",", ":")) + "\n")
            file.flush()


def read(path: Path) -> list[Trace]:
    """What `write` wrote."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = (json.loads(line) for line in lines)
    return [Trace(**{**e, "points": tuple(Point(**p) for p in e["points"])}) for e in entries]
