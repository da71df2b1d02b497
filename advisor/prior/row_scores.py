r"""Scores of single rows: how well each example of a dataset fits what a model already predicts.

`measure_scores(model, dataset, rows) -> [ExampleScore]`, forward passes only; `write_scores` puts one JSON
line a row into a file, so that the worst rows can be read or cut. A row's numbers are means over its
target tokens:

* `p`, the probability of the target;
* `nll`, $-\log p$ in nats, at most LARGEST_NLL a token: CADFT's raw score (arXiv:2606.11206), lower is more
  compatible;
* `compatibility`, in standard deviations above the mean, larger is more compatible: minus CADFT's
  standardised score $\hat c$, which grows with the NLL, here over all rows scored instead of over those of an
  optimiser step. CADFT multiplies the row's loss by $e^{-\beta \max(0, \hat c)}$, less where compatibility
  is below 0;
* `cll`, the centred log-likelihood $\phi = \log p + H(p)$ in nats (arXiv:2602.12222): the log-probability
  less what the model expects of its own samples.

What CLL cannot see. Let $p$ be the model's distribution at a position and $q$ the one targets come from:

$$ E_q[\phi] = \sum_v q_v \log p_v + H(p) = H(p) - H(q) - \mathrm{KL}(q \| p), $$

since the cross-entropy $-\sum_v q_v \log p_v$ is $H(q) + \mathrm{KL}(q \| p)$. It is 0 where $q = p$, but not
only there, and it is no test of where a text comes from:

* $H(q)$ and KL enter by their sum alone: a confident model that is wrong about a certain target (KL large,
  $H(q) = 0$) and a noisy target ($H(q)$ large) look alike, though one can be learnt and the other cannot;
* a model that knows nothing has $\phi = 0$ on every target: where $p$ is uniform, $\log p_v = -H(p)$. Its
  ignorance shows in `nll`, not here;
* targets that are surer than the model ($H(q) + \mathrm{KL}(q \| p) < H(p)$), such as greedily decoded
  text, score above 0, hence above the model's own samples;
* a mean hides one broken token in a long row.

This is why the rows are ordered by `nll` where the worst are shown. It has a blind spot of its own, which
`cll` does not share: a row whose words are merely free to choose has a high `nll` too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from advisor.files import publish
from advisor.progress import Progress, untold

if TYPE_CHECKING:
    from advisor.data.dataset import SFTDataset
    from advisor.model.load import LoadedModel
    from advisor.prior.probe import Scored

BLOCK = 1024
"""Rows that are tokenised together and sorted by length."""
LARGEST_NLL = 1000.0
"""Nats that a target of probability 0 counts for: JSON has no infinity, and a mean of one says nothing."""


@dataclass(frozen=True, kw_only=True)
class ExampleScore:
    """The numbers of one row; means are over its target tokens."""

    row: int
    """Index in the source, counted from 0."""
    target_tokens: int
    """Targets that were scored."""
    p: float
    """Mean probability of a target token."""
    nll: float
    """Mean negative log-probability, nats: CADFT's raw score, lower is more compatible."""
    cll: float
    """Mean of log p + entropy, nats."""
    compatibility: float
    """Standard deviations by which `nll` lies below its mean over the rows scored: larger fits better."""

    def to_dict(self) -> dict[str, float | None]:
        """As JSON holds it: None for what is no number, as the entropy of a model that rules tokens out."""
        return {
            name: value if math.isfinite(value) else None for name, value in asdict(self).items()
        }


class Means(NamedTuple):
    """One row before it is set against the others."""

    target_tokens: int
    """Targets that were scored."""
    p: float
    """Mean probability of a target token."""
    nll: float
    """Mean negative log-probability, nats."""
    cll: float
    """Mean of log p + entropy, nats."""


def means_of(scored: Scored) -> Means:
    """Means over the target tokens of one example that has some."""
    log_p = scored.log_p.astype(np.float64).clip(min=-LARGEST_NLL)
    return Means(
        target_tokens=len(log_p),
        p=float(scored.p.mean()),
        nll=float(-log_p.mean()),
        cll=float((log_p + scored.entropy).mean()),
    )


def standardised(means: Mapping[int, Means]) -> list[ExampleScore]:
    """Rows in the source's order, each with its compatibility among them all.

    Minus the score of `advisor.objectives.weights.cadft`: population standard deviation, 1e-6 added to it,
    so that rows which are all alike have 0.
    """
    nll = np.array([row.nll for row in means.values()])
    return [
        ExampleScore(
            row=row,
            compatibility=float((nll.mean() - means[row].nll) / (nll.std() + 1e-6)),
            **means[row]._asdict(),
        )
        for row in sorted(means)
    ]


def measure_scores(
    loaded: LoadedModel,
    dataset: SFTDataset,
    rows: Sequence[int],
    *,
    batch_tokens: int | None = None,
    on_progress: Progress = untold,
) -> list[ExampleScore]:
    """Score rows of a dataset; those without a target have no score and are left out.

    Args:
        loaded: the model with its tokenizer.
        dataset: tokenised by that tokenizer.
        rows: indices in the source, each once.
        batch_tokens: tokens, padding included, that the model reads at a time; see `Probe`.
        on_progress: told the rows done and all rows, after every batch.

    Raises:
        InputError: no row has a target, or what `Probe.score` refuses.
    """
    from advisor.prior.probe import Probe

    probe = Probe(loaded, batch_tokens=batch_tokens)
    means: dict[int, Means] = {}
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK]
        dataset.tokenize(block)
        examples = {row: example for row in block if (example := dataset[row]).target_tokens}
        row_of = {id(example): row for row, example in examples.items()}
        done = first + len(block) - len(examples)
        for batch in probe.score(list(examples.values())):
            means |= {row_of[id(scored.example)]: means_of(scored) for scored in batch}
            done += len(batch)
            on_progress(done, len(rows))
    if not means:
        dataset.require_targets()
    return standardised(means)


def worst(scores: Sequence[ExampleScore], count: int = 5) -> list[ExampleScore]:
    """The least compatible rows, the worst first: by `nll`, as CADFT orders them."""
    return sorted(scores, key=lambda score: (-score.nll, score.row))[:count]


def write_scores(path: Path, scores: Sequence[ExampleScore]) -> None:
    """Write one JSON object a line, in the order given, the file whole or not at all."""
    text = "".join(json.dumps(score.to_dict(), allow_nan=False) + "\n" for score in scores)
    publish(path, text.encode(), subject=f"--scores {path}:", remedy="give another path")
