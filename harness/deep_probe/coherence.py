"""Coherence: whether the gradients of a dataset's improbable targets pull one way.

Coherence is the cosine between the summed NLL gradients of two random halves of the improbable targets, one
target an example. What is reported is its expectation for halves of 150: the cosine of halves grows with
their size, and with the targets taken from one example, so a raw one says as much about the sample as about
the data (with all targets of an example in it, natural stories come to .8, with one of each to .3). With g_e
the gradient of one example's target, rho = E[g_e . g_f] / E[g_e . g_e] needs no splitting (all pairs e != f
serve), and the cosine of sums of n is n rho / (1 + (n - 1) rho), the formula of Spearman and Brown. The
interval is a jackknife of rho over examples. Noise alone brings the pairs' mean below 0, and only what is
reported counts that as 0: held at 0 in the jackknife, few examples would give an interval without width.

Gradients are taken with respect to all parameters of a model under 50M, and of the last block of a larger
one, for which the backward pass stops there. Those of the head's weight or input are cheaper still, and tell
less: on the ladder, noise on a known skill against an unknown one comes to .46 against .86 over all
parameters, .63 and .95 in the last block, .73 and .97 at the head's weight, .81 and .99 at its input. Of more
than half a million coordinates that many drawn at random stand for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from advisor.data.dataset import Example
from advisor.model.forward import copied, extend_forward
from advisor.model.load import LoadedModel
from advisor.objectives.table import get_objective
from advisor.prior.deep import HALF
from advisor.prior.intervals import Interval
from advisor.prior.prior import LOW_P
from advisor.progress import Progress

Array = NDArray[np.float64]

GRADIENTS = 128
"""Examples whose gradients are taken at most."""
FEWEST_GRADIENTS = 24
"""Examples with improbable targets below which coherence is not given."""
WHOLE = 50_000_000
"""Parameters from which a model is trained by an adapter."""
COORDINATES = 2**19
"""Coordinates of a gradient that are kept."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number, its 95 % interval, and how many tokens, examples or answers it rests on."""

    value: float | None = None
    interval: Interval | None = None
    count: int = 0


def one_improbable(
    examples: Sequence[Example], probabilities: Sequence[Array], seed: int
) -> list[Example]:
    """Examples with improbable targets, in random order, each with one of these as its only target."""
    rng = np.random.default_rng(seed)
    found = []
    for number in rng.permutation(len(examples)):
        low = np.flatnonzero(probabilities[number] < LOW_P)
        if len(low):
            labels = np.asarray(examples[number].labels)
            position = (np.flatnonzero(labels[1:] != -100) + 1)[rng.choice(low)]
            only = np.full_like(labels, -100)
            only[position] = labels[position]
            found.append(replace(examples[number], labels=only.tolist()))
    return found


def measure_coherence(
    loaded: LoadedModel, examples: Sequence[Example], on_progress: Progress
) -> tuple[Estimate, str]:
    """Coherence of the first examples' targets, and with respect to which parameters."""
    small = loaded.parameters < WHOLE
    scope = "all" if small else "last block"
    if len(examples) < FEWEST_GRADIENTS:
        return Estimate(count=len(examples)), scope
    model = twin(loaded.model)
    parameters = list((model if small else last_block(model)).parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    extend_forward(model)
    rows = []
    for example in examples[:GRADIENTS]:
        rows.append(_gradient(model, parameters, example))
        on_progress(len(rows), min(GRADIENTS, len(examples)))
    table = torch.stack(rows)
    return coherence((table @ table.T).double().numpy()), scope


def _gradient(
    model: PreTrainedModel, parameters: Sequence[nn.Parameter], example: Example
) -> Tensor:
    """[coordinates] gradient of the summed NLL of an example's targets; the same coordinates every time."""
    ids, labels = (
        torch.tensor([row], device=model.device) for row in (example.input_ids, example.labels)
    )
    nll = get_objective("nll")
    with torch.enable_grad():
        loss = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            labels=labels,
            objective_head=nll,
        ).loss
        parts = torch.autograd.grad(loss, parameters, materialize_grads=True)
    # Drawn where the gradient is: of a large model all of it would take longer to the host than to compute.
    whole = torch.cat([part.float().flatten() for part in parts])
    if len(whole) <= COORDINATES:
        return whole.cpu()
    fixed = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(whole), (COORDINATES,), generator=fixed)
    return whole[drawn.to(whole.device)].cpu()


def last_block(model: PreTrainedModel) -> nn.Module:
    """The last of the decoder's blocks; the model itself where it has no list of them."""
    lists = (m for m in model.get_decoder().modules() if isinstance(m, nn.ModuleList) and len(m))
    blocks = next(lists, None)
    return model if blocks is None else blocks[-1]


def twin(model: PreTrainedModel) -> PreTrainedModel:
    """A second model on the same weights, to wrap, to hook and to give adapters; their memory is shared."""
    shared: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()
    }
    return copied(model, shared)


def coherence(gram: Array) -> Estimate:
    """Expected cosine between two halves of `HALF` examples, see the module; their one target each.

    Args:
        gram: [examples, examples] inner products of the examples' gradients.
    """
    n, diagonal = len(gram), np.diagonal(gram)
    total, trace = gram.sum(), diagonal.sum()
    rho = float(_agreement(total, trace, n))
    without = _agreement(total - 2 * gram.sum(axis=1) + diagonal, trace - diagonal, n - 1)
    error = float(np.sqrt((n - 1) * without.var()))
    return Estimate(
        value=_cosine(rho),
        interval=(_cosine(rho - 1.96 * error), _cosine(rho + 1.96 * error)),
        count=n,
    )


def _agreement(total: Any, trace: Any, n: int) -> Any:
    """rho, from the sum and the trace of n examples' Gram matrix, elementwise; below 0 by noise."""
    return (total - trace) / (n - 1) / trace


def _cosine(rho: float) -> float:
    """Between halves of `HALF` targets; rho below 0 counts as 0, and above 1 as 1."""
    inside = min(1.0, max(0.0, rho))
    return HALF * inside / (1 + (HALF - 1) * inside)
