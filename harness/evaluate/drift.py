r"""How far fine-tuning has moved a model: the divergence of its predictions from the untouched model's.

$$ \mathrm{KL} = \frac{1}{N} \sum_t \sum_v p_0(v \mid t) \log \frac{p_0(v \mid t)}{p(v \mid t)} $$

over the N target tokens t of demonstrations of the new task, given what stands before them, p_0 of the
untouched model and p of the tuned one, in nats. Taken on the new task it is said to tell how much of others
is forgotten, without data of those (Shenfeld, Pari, Agrawal, "RL's Razor", arXiv:2509.04259). There answers
are sampled; here they are given, and the same for every arm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from advisor.data.dataset import Example
from advisor.model.forward import scored_positions
from advisor.model.load import LoadedModel

ROWS = 8
"""Examples that are read at a time."""


class Drift:
    """The untouched model's predictions of the targets of some examples, and how far others are from them."""

    def __init__(self, untouched: LoadedModel, examples: Sequence[Example]) -> None:
        """Reads the examples once; keeps [targets, vocabulary] log-probabilities, float32, on the CPU.

        Args:
            untouched: the model before any training, in evaluation mode.
            examples: with targets, the same for all models that are held against it.
        """
        self.examples = sorted(examples, key=lambda example: len(example.input_ids))
        self._log_p = [table.cpu() for table in _log_probabilities(untouched, self.examples)]

    def divergence(self, tuned: LoadedModel) -> float:
        """KL from the untouched model to a tuned one of the same vocabulary, nats a target token."""
        total, targets = 0.0, 0
        for mine, theirs in zip(self._log_p, _log_probabilities(tuned, self.examples), strict=True):
            base = mine.to(theirs.device)
            total += float((base.exp() * (base - theirs)).sum(dtype=torch.float64))
            targets += len(mine)
        return total / max(1, targets)


@torch.no_grad()
def _log_probabilities(loaded: LoadedModel, examples: Sequence[Example]) -> Iterator[Tensor]:
    """[targets of a few examples, vocabulary] float32 log-probabilities, in the order of the examples."""
    for start in range(0, len(examples), ROWS):
        batch = examples[start : start + ROWS]
        longest = max(len(example.input_ids) for example in batch)
        shape, device = (len(batch), longest), loaded.model.device
        ids, mask = (torch.zeros(shape, dtype=torch.long) for _ in range(2))
        labels = torch.full(shape, -100)
        for row, example in enumerate(batch):
            length = len(example.input_ids)
            ids[row, :length] = torch.tensor(example.input_ids)
            labels[row, :length] = torch.tensor(example.labels)
            mask[row, :length] = 1
        logits = loaded.model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).logits
        rows, columns = scored_positions(labels, mask)
        yield logits[rows.to(logits.device), columns.to(logits.device)].float().log_softmax(-1)
