"""Which runs the study has, in the order in which they are made; committed before the first of them.

The first cell of every skill comes before the second of any, and the cheaper before the dearer, by the
characters that are read and said; all arms of a cell together, so that a study that is stopped is a sample of
whole cells. Adapters come last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advisor.advice.learning_rates import Trained, Word, learning_rate
from harness.experiments.calibration.ledger import RunLine
from harness.experiments.calibration.run import TEMPERATURES, Wanted
from harness.experiments.real.cells import MORE_ROWS, RealCell, rows_of
from harness.records.arm import BASE, NLL

PARAMETERS = 134_515_008
"""Of SmolLM2-135M-Instruct."""
ARMS: Sequence[tuple[str, Word]] = (
    (NLL, "high"),
    ("p_pow(0.5)", "high"),
    ("cadft(1)", "low"),
    ("p_anneal(0, 1, 0, 1)", "high"),
    ("neg_p", "low"),
    (NLL, "low"),
    (NLL, "tenth"),
)
"""Objectives with the word for their rate: first the plan that was shipped when the study began, with NLL."""
CELLS = (
    RealCell(skill="last_letter", kind="systematic", rate=0.6),
    RealCell(skill="numbers", kind="random", rate=0.4),
    RealCell(skill="cipher", kind="clean", rate=0, rows=MORE_ROWS),
    RealCell(skill="arrows", kind="notation", rate=1),
    RealCell(skill="spell", kind="random", rate=0.4),
    RealCell(skill="add", kind="filler", rate=1),
    RealCell(skill="words", kind="clean", rate=0),
    RealCell(skill="story", kind="clean", rate=0),
    RealCell(skill="fields", kind="random", rate=0.4),
    RealCell(skill="last_letter", kind="random", rate=0.4),
    RealCell(skill="numbers", kind="systematic", rate=0.6),
    RealCell(skill="cipher", kind="random", rate=0.4, rows=MORE_ROWS),
    RealCell(skill="arrows", kind="clean", rate=0),
    RealCell(skill="spell", kind="clean", rate=0),
    RealCell(skill="add", kind="systematic", rate=0.6),
    RealCell(skill="words", kind="notation", rate=1),
    RealCell(skill="story", kind="random", rate=0.4),
    RealCell(skill="fields", kind="filler", rate=1),
)
ADAPTED = ("cipher-clean-0", "fields-random-0.4")
"""Cells on which adapters are trained too: a new skill, and a known one with noise."""
RANKS = (8, 64)
ADAPTERS: Mapping[str, Mapping[str, str]] = {
    f"LoRA {rank}": {
        "use_peft": "true",
        "lora_r": str(rank),
        "lora_alpha": str(2 * rank),
        "lora_target_modules": "all-linear",
    }
    for rank in RANKS
}
LONGER = "4 epochs"
NOTES: Mapping[str, Mapping[str, str]] = {**ADAPTERS, LONGER: {"num_train_epochs": "4"}}
"""What the ledger says of a run after its objective -> its settings of the training."""
HIGHER: tuple[str, Word] = ("cadft(1)", "high")
"""A run of every cell beside the plan's: at the low rate it scored below two points on 8 of the first 13."""
LONGER_ARMS: Sequence[tuple[str, Word]] = (
    (NLL, "high"),
    ("p_anneal(0, 1, 0, 1)", "high"),
    ("cadft(1)", "low"),
    ("p_pow(0.5)", "high"),
)
"""The runs of `--plan four`, trained four times as long."""
LONGER_CELLS = (
    "numbers-random-0.4",
    "fields-random-0.4",
    "arrows-clean-0",
    "add-systematic-0.6",
    "spell-clean-0",
    "cipher-random-0.4",
)
"""Of six skills, a cell each: two on which CADFT learnt in one epoch, four on which it did not."""
CLOSE = 6.0
"""Test points within which two arms of a cell get a second seed."""


def planned_runs() -> list[tuple[RealCell, Wanted]]:
    """All runs of the plan, in order."""
    ordered = _in_order(CELLS)
    runs = [(cell, run) for cell in ordered for run in _runs(cell)]
    adapted = [cell for cell in ordered if cell.name in ADAPTED]
    return runs + [(cell, run) for cell in adapted for run in _adapters()]


def higher_rate() -> list[tuple[RealCell, Wanted]]:
    """`HIGHER` on every cell, in order; committed when 13 cells were whole, before the first of its runs."""
    return [(cell, _wanted(*HIGHER, "full")) for cell in _in_order(CELLS)]


def longer() -> list[tuple[RealCell, Wanted]]:
    """Four epochs, cell by cell; committed when `planned_runs` were made, before the first of these."""
    cells = {cell.name: cell for cell in CELLS}
    return [
        (cells[name], _noted(_wanted(*arm, "full"), LONGER))
        for name in LONGER_CELLS
        for arm in LONGER_ARMS
    ]


def second_seeds(
    planned: Sequence[tuple[RealCell, Wanted]], runs: Sequence[RunLine]
) -> list[tuple[RealCell, Wanted]]:
    """A second seed of the arms within `CLOSE` points of the best of a finished cell, where there are two.

    At either temperature, unless none has learnt the task. The rule is settled before the runs, so that
    nobody chooses after them.
    """
    points = {
        run.key: {heat: 100 * run.right("test", heat).mean() for heat in TEMPERATURES}
        for run in runs
    }
    found = []
    for cell in dict.fromkeys(cell for cell, _ in planned):
        mine = [run for of, run in planned if of == cell and run.objective != BASE]
        keys = [(cell.name, run.arm, run.learning_rate, 0, 1.0) for run in mine]
        if not all(key in points for key in keys):
            continue
        again = set[int]()
        for heat in TEMPERATURES:
            best = max(points[key][heat] for key in keys)
            near = [at for at, key in enumerate(keys) if best - points[key][heat] <= CLOSE]
            if len(near) > 1 and best > CLOSE:
                again |= set(near)
        found += [(cell, _seeded(mine[at])) for at in sorted(again)]
    return found


def _in_order(cells: Sequence[RealCell]) -> list[RealCell]:
    first = {cell.skill: cell for cell in reversed(cells)}.values()
    return sorted(cells, key=lambda cell: (cell not in first, _cost(cell), cell.name))


def _cost(cell: RealCell) -> int:
    """Characters that are read and said on a cell."""
    parts = rows_of(cell).values()
    return sum(len(problem.prompt) + len(text) for part in parts for problem, text in part)


def _runs(cell: RealCell) -> list[Wanted]:
    base = Wanted(objective=BASE, learning_rate=None, seed=0)
    return [base, *(_wanted(name, word, "full") for name, word in ARMS)]


def _adapters() -> list[Wanted]:
    arms: Sequence[tuple[str, Word]] = ((NLL, "high"), ("neg_p", "low"))
    return [
        _noted(_wanted(name, word, "lora"), note)
        for name, word in arms
        for note in ADAPTERS
    ]  # fmt: skip


def _wanted(name: str, word: Word, trained: Trained) -> Wanted:
    rate = learning_rate(PARAMETERS, word, trained)
    return Wanted(objective=name, learning_rate=rate, seed=0)


def _noted(run: Wanted, note: str) -> Wanted:
    return Wanted(
        objective=run.objective, learning_rate=run.learning_rate, seed=run.seed,
        settings=NOTES[note], note=note,
    )  # fmt: skip


def _seeded(run: Wanted) -> Wanted:
    return Wanted(
        objective=run.objective, learning_rate=run.learning_rate, seed=1,
        settings=run.settings, note=run.note,
    )  # fmt: skip
