"""The cells of the study: a skill with its demonstrations, and what trains and scores on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from advisor.advice.calibration import SHIPPED as CALIBRATION
from advisor.advice.recommend import Recommendation, recommend
from advisor.advice.replayed import SHIPPED as REPLAYED
from advisor.data.dataset import Example, SFTDataset, load_dataset
from advisor.model.load import LoadedModel
from advisor.prior.prior import Prior
from harness.evaluate.drift import Drift
from harness.experiments.calibration.ledger import pack
from harness.experiments.calibration.run import PARTS, TEMPERATURES, TRAINING, Bench, Wanted
from harness.experiments.real.checkable import SKILLS, WRITTEN, Kind, Problem, accepted, clean
from harness.experiments.real.guards import QUESTIONS, chat, guarded, read, text_nll
from harness.experiments.staged.exact_answers import exactly_right
from harness.generate.decoding import prompt_of

DEVELOPMENT, TEST = 100, 200
"""Problems that are scored; their answers are all right."""
ROWS, MORE_ROWS, BATCH = 120, 240, 4
"""Demonstrations of a cell, of a cell of what is new to the model, and of an optimiser step, in one epoch."""
DRIFT_ROWS = 40
"""Development problems over whose right answers the divergence from the untouched model is taken."""


@dataclass(frozen=True, kw_only=True)
class RealCell:
    """A skill with a set of demonstrations."""

    skill: str
    """Key of `SKILLS`."""
    kind: Kind
    """Of the demonstrations that are not as they should be."""
    rate: float
    """Share of them."""
    rows: int = ROWS
    """Number of demonstrations."""

    @property
    def name(self) -> str:
        """Identifies it in plan and ledger."""
        return f"{self.skill}-{self.kind}-{self.rate:g}"


def rows_of(cell: RealCell) -> dict[str, list[tuple[Problem, str]]]:
    """Problems with the completions that are shown of them, by part; the same on every call.

    No prompt occurs twice where the skill has problems enough: what is scored is never trained on, and does
    not depend on the demonstrations.
    """
    skill, rng, seen = SKILLS[cell.skill], Random(f"real {cell.skill}"), set[str]()
    annotator = Random(f"annotator {cell.name}")
    spoilt = set(annotator.sample(range(cell.rows), round(cell.rate * cell.rows)))
    found: dict[str, list[tuple[Problem, str]]] = {}
    for part, number in (("test", TEST), ("development", DEVELOPMENT), ("train", cell.rows)):
        found[part] = []
        for row in range(number):
            problem = _new(cell, rng, seen)
            write = WRITTEN[cell.kind] if part == "train" and row in spoilt else clean
            found[part].append((problem, write(skill, problem, annotator)))
    return found


def demonstrated(skill: str, number: int) -> list[dict[str, Any]]:
    """Clean demonstrations of a skill as chats, for somebody who wants to try the tool on a real model."""
    cell = RealCell(skill=skill, kind="clean", rate=0, rows=number)
    return _shown(rows_of(cell)["train"])


def _new(cell: RealCell, rng: Random, seen: set[str]) -> Problem:
    """A problem whose prompt is not among those seen, to which it is added."""
    problem = SKILLS[cell.skill].draw(rng)
    while problem.prompt in seen:
        problem = SKILLS[cell.skill].draw(rng)
    seen.add(problem.prompt)
    return problem


@dataclass(frozen=True)
class CellBench(Bench[RealCell]):
    """A cell ready to be trained and scored on."""

    texts: Sequence[dict[str, str]] = field(default_factory=list)
    """Passages of general text; without any its NLL is not taken."""

    @property
    def called(self) -> str:
        """The folder's name."""
        return self.model.name

    @cached_property
    def demonstrations(self) -> SFTDataset:
        """As chats of the model's own template."""
        return load_dataset(_shown(self._rows["train"]), self.loaded)

    def answers(
        self, loaded: LoadedModel, seed: int, parts: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        """By exact match with what is accepted; of a whole run the guards too, greedily."""
        for part in parts:
            problems = self._rows[part]
            prompts = [prompt_of(one) for one in self.demonstrations.read(_shown(problems))]
            wanted = [accepted(SKILLS[self.cell.skill], problem) for problem, _ in problems]
            for heat, right in exactly_right(loaded, prompts, wanted, seed=seed).items():
                yield f"{part}@{heat:g}", pack(right)
        if tuple(parts) == PARTS:
            for guard in QUESTIONS:
                yield f"{guard}@0", pack(guarded(loaded, guard))

    def training(self, run: Wanted) -> dict[str, str]:
        """One epoch of small steps, without padding."""
        own = {
            "num_train_epochs": "1",
            "per_device_train_batch_size": str(BATCH),
            "padding_free": "true",
        }
        return {**TRAINING, **own, **run.settings}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of model, demonstrations, problems and general text."""
        scored = repr([self._rows[part] for part in PARTS])
        return {
            **super().fingerprints,
            "problems": _short(scored),
            "text": _short(repr(list(self.texts))) if self.texts else "none",
        }

    def forecast(self, prior: Prior) -> dict[str, Any]:
        """What the shipped records advise and expect, greedily and sampled, before any run of this study."""
        shipped = {path.stem: _short(path.read_text("utf-8")) for path in (CALIBRATION, REPLAYED)}
        return {
            "shipped": shipped,
            **{f"{heat:g}": _kept(recommend(prior, temperature=heat)) for heat in TEMPERATURES},
        }

    def forgetting(self, loaded: LoadedModel) -> dict[str, float]:
        """The divergence from the untouched model on the new task, and the NLL of general text, nats."""
        found = {"kl": self._drift.divergence(loaded)}
        if self.texts:
            found["text_nll"] = text_nll(loaded, self._general)
        return found

    @cached_property
    def _rows(self) -> dict[str, list[tuple[Problem, str]]]:
        return rows_of(self.cell)

    @cached_property
    def _drift(self) -> Drift:
        rows = _shown(self._rows["development"][:DRIFT_ROWS])
        return Drift(self.loaded, list(self.demonstrations.read(rows)))

    @cached_property
    def _general(self) -> list[Example]:
        return read(self.loaded, self.texts)


def bench_of(
    cell: RealCell, model: Path, device: str, texts: Sequence[dict[str, str]]
) -> CellBench:
    """A cell on a device, scored along its training."""
    loading = {"dtype": "float32", "device": device}
    return CellBench(cell, model, deep=False, curves=True, loading=loading, texts=texts)


def _shown(problems: Sequence[tuple[Problem, str]]) -> list[dict[str, Any]]:
    return [chat(problem.prompt, text) for problem, text in problems]


def _kept(advice: Recommendation) -> dict[str, Any]:
    """What of a recommendation is held against what comes."""
    plan = advice.plan
    return {
        "basis": advice.basis,
        "regime": advice.regime,
        "recommended": advice.recommended,
        "decided": advice.decided,
        "plan": [asdict(run) for run in plan.runs],
        "alone": asdict(plan.alone),
        "regret": plan.regret,
        "chance_over_5": plan.chance_over_5,
        "ranking": [asdict(arm) for arm in advice.ranking],
        "warnings": [warning.code for warning in advice.warnings],
    }


def _short(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
