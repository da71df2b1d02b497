"""Which cells the study has: a checkpoint, a skill, and how its demonstrations were written.

`python -m harness.experiments.calibration grid` writes the list, which is committed before the first run.
`run` takes the cells in its order, which is random, so that a study that is stopped is a sample of the whole.
`make_fresh` lists cells of other pretraining seeds, half of them with other skills: what was fitted on the
grid is judged on them.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from advisor.advice.learning_rates import Word
from advisor.errors import InputError
from harness.ladder import Rung
from harness.ladder.fresh import FRESH
from harness.ladder.pretrain import Recipe
from harness.ladder.skills import KNOWN, PRETRAINED, SYSTEMATIC, UNKNOWN

SIZES = {
    "m128": Recipe(skills=tuple(PRETRAINED)),
    "m64": Recipe(hidden=64, layers=3, intermediate=172, lr=4e-3, skills=tuple(PRETRAINED)),
    "m256": Recipe(hidden=256, layers=6, intermediate=768, lr=1e-3, skills=tuple(PRETRAINED)),
}
"""0.8M, 0.15M and 5M parameters."""
CHECKPOINTS: dict[str, dict[int, tuple[int, ...]]] = {
    "m128": {seed: (1000, 2000, 3000, 4000) for seed in (0, 1, 2)},
    "m64": {seed: (2000, 4000) for seed in (0, 1)},
}
"""Pretraining seeds of a size in the grid, and the steps at which a model is kept."""
FRESH_CHECKPOINTS: dict[str, dict[int, tuple[int, ...]]] = {
    "m128": {3: (2000, 4000)},
    "m64": {4: (4000,), 5: (2000,)},
}
"""Likewise of the fresh cells; no seed is in the grid at any size, since text depends on the seed alone."""
LARGER_CHECKPOINTS: dict[str, dict[int, tuple[int, ...]]] = {"m256": {0: (2000, 4000)}}
"""Likewise of the cells of a third size; the text is that of the other sizes' seed 0."""
KEPT = {
    size: CHECKPOINTS.get(size, {})
    | FRESH_CHECKPOINTS.get(size, {})
    | LARGER_CHECKPOINTS.get(size, {})
    for size in SIZES
}
"""Likewise of all: where the steps of any pretraining run are looked up."""
FEW, SOME, MANY = 96, 480, 1920
"""Demonstrations; few are read five times."""
MANNERS: tuple[tuple[str, float, int], ...] = (
    ("none", 0.0, SOME),
    ("mix", 0.2, SOME),
    ("mix", 0.4, SOME),
    ("mix", 0.8, SOME),
    ("systematic", 0.3, SOME),
    ("systematic", 0.6, SOME),
    ("bare", 1.0, SOME),
    ("filler", 1.0, SOME),
    ("styles", 0.5, SOME),
    ("notation", 1.0, SOME),
    ("none", 0.0, FEW),
    ("mix", 0.4, FEW),
    ("mix", 0.4, MANY),
)
"""(noise, rate, demonstrations) of known skills."""
NEW_MANNERS: tuple[tuple[str, float, int], ...] = (
    ("none", 0.0, MANY),
    ("mix", 0.4, MANY),
    ("none", 0.0, SOME),
    ("styles", 0.5, MANY),
)
"""Likewise of unknown and graded ones; the first are drawn more often."""
FRESH_MANNERS: tuple[tuple[str, float, int], ...] = (
    ("systematic", 0.3, SOME),
    ("systematic", 0.6, SOME),
    ("mix", 0.4, SOME),
    ("mix", 0.4, MANY),
    ("none", 0.0, SOME),
    ("styles", 0.5, SOME),
)
"""Those of the known skills in fresh cells, one each; first those that few skills can have."""
RATES = {"m256": (2e-4, 5e-4), "m128": (3e-4, 1e-3), "m64": (1e-3, 3e-3)}
"""The grid of learning rates of every arm."""
KNOWN_CELLS, NEW_CELLS = {"m128": 7, "m64": 4}, {"m128": 4, "m64": 3}
"""Cells of a checkpoint of the grid."""
FRESH_CELLS = {"m128": 2, "m64": 1}
"""Fresh cells of a checkpoint with known skills, and as many with fresh ones."""
Drawn = tuple[str, tuple[str, float, int]]
"""A skill and its manner."""
TASKED = tuple(skill for skill in KNOWN if skill != "day")
"""Known skills that have a task (see `ladder.problems`)."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model with one set of demonstrations."""

    size: str
    """Name in `SIZES`."""
    seed: int
    """Of pretraining."""
    step: int
    """Pretraining step of the checkpoint."""
    skill: str
    """Name in `skills.SKILLS`."""
    noise: str
    """Name in `skills.NOISES`."""
    rate: float
    """Expected share of demonstrations with that noise."""
    rows: int
    """Number of demonstrations."""

    @property
    def name(self) -> str:
        """Identifies the cell."""
        return f"{self.size}-{self.seed}-{self.step}-{self.skill}-{self.noise}-{self.rate:g}-{self.rows}"

    @property
    def family(self) -> str:
        """Checkpoints that share a pretraining run."""
        return f"{self.size}-{self.seed}"

    @property
    def epochs(self) -> int:
        """How often the demonstrations are read."""
        return 5 if self.rows <= FEW else 1

    @property
    def rung(self) -> Rung:
        """The demonstrations, as the ladder writes them."""
        return Rung(
            step=self.step, skill=self.skill, noise=self.noise, rate=self.rate, rows=self.rows
        )


def rates_by_word(size: str) -> dict[Word, float]:
    """The learning rates of a size, as plans call them."""
    low, high = RATES[size]
    return {"low": low, "high": high, "tenth": high / 10}


def make_grid(seed: int = 0) -> list[Cell]:
    """The cells: every checkpoint with known and new skills, manners and skills in rotation."""
    rng = Random(seed)
    known = _rotation(rng, [(s, m) for m in MANNERS for s in TASKED if _possible(s, m[0])])
    new = _rotation(rng, [(s, m) for m in (*NEW_MANNERS, NEW_MANNERS[0]) for s in UNKNOWN])
    cells = []
    for size, seeds in CHECKPOINTS.items():
        for pretrained, steps in seeds.items():
            for step in steps:
                # What is new to a model does not depend on how long it learnt the rest.
                drawn = [next(known) for _ in range(KNOWN_CELLS[size])]
                drawn += [next(new) for _ in range(NEW_CELLS[size] if step >= 2000 else 1)]
                cells += [_cell(size, pretrained, step, pair) for pair in drawn]
    cells = list(dict.fromkeys(cells))
    rng.shuffle(cells)
    return cells


def make_fresh(seed: int = 0) -> list[Cell]:
    """The fresh cells: six known skills in a manner each, every fresh skill clean and noisy."""
    rng = Random(f"fresh {seed}")
    places = [
        (size, pretrained, step)
        for size, seeds in FRESH_CHECKPOINTS.items()
        for pretrained, steps in seeds.items()
        for step in steps
        for _ in range(FRESH_CELLS[size])
    ]
    cells = []
    for drawn in (_known_draws(rng), _fresh_draws(rng)):
        rng.shuffle(drawn)
        cells += [_cell(*place, pair) for place, pair in zip(places, drawn, strict=True)]
    rng.shuffle(cells)
    return cells


def write_grid(cells: Iterable[Cell], path: Path) -> None:
    """Write the cells as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Cell)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(cell) for cell in cells)


def read_grid(path: Path) -> list[Cell]:
    """Read the cells from CSV; InputError where it is not a grid."""
    kinds = {"seed": int, "step": int, "rate": float, "rows": int}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                Cell(**{name: kinds.get(name, str)(value) for name, value in row.items()})
                for row in csv.DictReader(file)
            ]
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a grid ({error}): write one with `grid`") from error
    return rows


def _cell(size: str, seed: int, step: int, drawn: Drawn) -> Cell:
    skill, (noise, rate, rows) = drawn
    return Cell(size=size, seed=seed, step=step, skill=skill, noise=noise, rate=rate, rows=rows)


def _known_draws(rng: Random) -> list[Drawn]:
    left, drawn = list(TASKED), []
    for manner in FRESH_MANNERS:
        skill = rng.choice([skill for skill in left if _possible(skill, manner[0])])
        left.remove(skill)
        drawn.append((skill, manner))
    return drawn


def _fresh_draws(rng: Random) -> list[Drawn]:
    drawn: list[Drawn] = []
    for skill in FRESH:
        clean, noisy = rng.sample((SOME, MANY), 2)
        drawn += [(skill, ("none", 0.0, clean)), (skill, ("mix", 0.4, noisy))]
    return drawn


def _possible(skill: str, noise: str) -> bool:
    return noise != "systematic" or skill in SYSTEMATIC


def _rotation(rng: Random, items: list[Drawn]) -> Iterator[Drawn]:
    """Every item once, in random order, before any of them again."""
    while True:
        yield from rng.sample(items, len(items))
