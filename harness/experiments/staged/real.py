"""The cells of a real model: how they are trained on and scored, and their plan.

`python -m harness.experiments.staged real_plan` writes the list of runs, which is committed before the first
of them; `real` does what is missing. Where the first cell stands after six runs, every arm of all three
follows, and two more seeds of the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.model.load import LoadedModel
from harness.experiments.calibration.ledger import pack
from harness.experiments.calibration.run import TRAINING, Bench, Wanted
from harness.experiments.staged.exact_answers import exactly_right
from harness.experiments.staged.made_rows import CELLS, MadeCell, Row, made
from harness.experiments.staged.plan import EACH, noted
from harness.generate.decoding import prompt_of
from harness.records.arm import BASE, NLL

STAGED = "nll>neg_p(at=0.5)"
FIRST = (BASE, NLL, "neg_p", STAGED, "p_anneal(0, 1, 0, 1)", "p_pow(0.5)")
REST = ("cadft(1)", "nll>neg_p(at=0.25)", "nll>cadft(1, at=0.5)", "neg_p>nll(at=0.5)")


class RealBench(Bench[MadeCell]):
    """A cell of a real model."""

    @property
    def called(self) -> str:
        """The folder's name."""
        return self.model.name

    @cached_property
    def demonstrations(self) -> SFTDataset:
        """Made rows, as chats of the model's own template."""
        return load_dataset(self._rows["train"], self.loaded)

    def answers(
        self, loaded: LoadedModel, seed: int, parts: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        """By exact match of the whole answer."""
        for part in parts:
            rows = self._rows[part]
            prompts = [prompt_of(example) for example in self.demonstrations.read(rows)]
            wanted = [(row["completion"],) for row in rows]
            for heat, right in exactly_right(loaded, prompts, wanted, seed=seed).items():
                yield f"{part}@{heat:g}", pack(right)

    def training(self, run: Wanted) -> dict[str, str]:
        """One epoch, without padding, which changes the last digits and saves a fourteenth of the time."""
        return {**TRAINING, "num_train_epochs": "1", "padding_free": "true", **run.settings}

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        return made(self.cell)


def real_runs() -> list[tuple[MadeCell, Wanted]]:
    """All runs, in the order in which they are made."""
    fields, *others = CELLS
    pair = (NLL, STAGED)
    planned = [_planned(fields, name, seed) for seed in (0, 1, 2) for name in pair]
    planned += [_planned(cell, name) for cell in others for name in FIRST]
    planned += [_planned(fields, name) for name in FIRST if name not in pair]
    for cell in CELLS:
        planned += [_planned(cell, name) for name in REST]
        planned.append((cell, noted(STAGED, cell.learning_rate, EACH)))
    return planned + [_planned(fields, name, seed) for seed in (3, 4) for name in pair]


def _planned(cell: MadeCell, objective: str, seed: int = 0) -> tuple[MadeCell, Wanted]:
    rate = None if objective == BASE else cell.learning_rate
    return cell, Wanted(objective=objective, learning_rate=rate, seed=seed)
