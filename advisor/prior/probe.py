"""The probe: a model reads examples, and each target token's log-probability, entropy and top-1 come back.

Examples go through shortest first, batched by a budget of tokens, padded on the right, which suits every
causal architecture, the recurrent ones included. Which examples share a batch does not change a number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from advisor.data.dataset import Example
from advisor.errors import InputError
from advisor.model.forward import find_head, score_batch
from advisor.model.load import LoadedModel
from advisor.model.out_of_memory import is_out_of_memory
from advisor.objectives.table import TokenStats


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The target tokens of one example, in order."""

    example: Example
    """The example that was read."""
    positions: NDArray[np.int64]
    """[targets] where they stand in `input_ids`."""
    log_p: NDArray[np.float32]
    """[targets] log-probability, natural log."""
    entropy: NDArray[np.float32]
    """[targets] entropy of the next-token distribution, nats."""
    top1: NDArray[np.bool_]
    """[targets] whether the target is the most probable token."""
    more: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """[targets] each, the statistics that were asked for besides, by their names in TokenStats."""

    @property
    def p(self) -> NDArray[np.float64]:
        """[targets] probability."""
        return np.exp(self.log_p.astype(np.float64))


class Probe:
    """A model ready to score examples."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        batch_tokens: int | None = None,
        needs: Collection[str] = (),
    ) -> None:
        """A model that scores.

        Args:
            loaded: the model.
            batch_tokens: bounds what it reads at a time, padding included.
            needs: statistics beyond log p, entropy and top-1, as of `advisor.model.head.token_stats`.
        """
        self.loaded, self.needs = loaded, tuple(needs)
        # On a CPU more in a batch is no faster, and few examples of a length are padded to the longest.
        self.batch_tokens = batch_tokens or (1024 if loaded.device == "cpu" else 8192)
        self.head = find_head(loaded.model)
        self.vocabulary = cast(nn.Embedding, loaded.model.get_input_embeddings()).weight.shape[0]
        self.notes = (
            ()
            if self.head
            else ("Scored from the model's own logits: its head is not a plain one.",)
        )

    def score(self, examples: Sequence[Example]) -> Iterator[list[Scored]]:
        """Score examples that have targets, a batch at a time.

        Raises:
            InputError: a token id outside the vocabulary, log-probabilities that are not finite, or an
                example that does not fit in memory by itself.
        """
        for batch in _batches(sorted(examples, key=lambda e: len(e.input_ids)), self.batch_tokens):
            yield self._score_batch(batch)

    def _score_batch(self, batch: Sequence[Example]) -> list[Scored]:
        largest = max(max(example.input_ids) for example in batch)
        if largest >= self.vocabulary:
            raise InputError(
                f"token id {largest} lies outside the model's vocabulary of {self.vocabulary}: "
                "was the dataset tokenised for another model?"
            )
        try:
            read = _collate(batch, self.loaded.model.device)
            stats = score_batch(self.loaded.model, self.head, *read, needs=self.needs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            half = len(batch) // 2
            if half == 0:
                raise InputError(
                    f"an example of {len(batch[0].input_ids)} tokens does not fit in the device's memory: "
                    "give a lower --max_length, or --dtype bfloat16"
                ) from None
        else:
            return self._split(batch, stats)
        return self._score_batch(batch[:half]) + self._score_batch(batch[half:])

    def _split(self, batch: Sequence[Example], stats: TokenStats) -> list[Scored]:
        """[targets of the batch] -> one `Scored` an example."""
        log_p, entropy, top1 = (t.cpu().numpy() for t in (stats.logp, stats.entropy, stats.top1))
        more = {name: getattr(stats, name).cpu().numpy() for name in self.needs}
        if not np.isfinite(log_p).all():
            raise InputError(
                f"{self.loaded.name}: log-probabilities are not finite in {self.loaded.dtype}: "
                "try --dtype float32; if it persists the weights are broken"
            )
        scored, end = [], 0
        for example in batch:
            labels = np.asarray(example.labels)
            positions = np.flatnonzero(labels[1:] != -100) + 1
            part = slice(end, end := end + len(positions))
            scored.append(
                Scored(
                    example=example,
                    positions=positions,
                    log_p=log_p[part],
                    entropy=entropy[part],
                    top1=top1[part],
                    more={name: column[part] for name, column in more.items()},
                )
            )
        return scored


def _batches(examples: Sequence[Example], batch_tokens: int) -> Iterator[Sequence[Example]]:
    """Runs of examples, sorted by length, whose padded size stays within the budget."""
    batch: list[Example] = []
    for example in examples:
        if batch and (len(batch) + 1) * len(example.input_ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def _collate(
    batch: Sequence[Example], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(input_ids, labels, mask), [batch, longest]."""
    shape = (len(batch), max(len(example.input_ids) for example in batch))
    ids = torch.zeros(shape, dtype=torch.long)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for row, example in enumerate(batch):
        length = len(example.input_ids)
        ids[row, :length] = torch.as_tensor(example.input_ids)
        labels[row, :length] = torch.as_tensor(example.labels)
        mask[row, :length] = 1
    return ids.to(device), labels.to(device), mask.to(device)
