"""What the head's bench runs: ours, the peers with an objective's weight, and bare matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from advisor.model.head import Head, weighted_nll
from advisor.objectives.table import get_objective
from harness.experiments.bench.peers import Peer
from harness.experiments.bench.problem import OBJECTIVES, Problem

Variant = Callable[[Problem], object]
"""Forward and backward; leaves the gradients in the problem."""


def ours(objective: str, tile_rows: int | None = None) -> Variant:
    """Our head with an objective of the table."""
    row = get_objective(OBJECTIVES[objective][0])

    def run(problem: Problem) -> None:
        weighted_nll(
            Head(weight=problem.weight),
            problem.hidden[problem.rows],
            problem.labels[problem.rows],
            row.weight,
            needs=row.head_statistics,
            sparse=row.sparse,
            tile_rows=tile_rows,
        ).loss.div(len(problem.rows)).backward()

    return run


def reweighted(peer: Peer, objective: str) -> Variant:
    """A peer's NLL with the objective's weight on it."""
    # Of the published loss of log p, whatever it is, minus its derivative is the weight.
    loss_of = OBJECTIVES[objective][1]

    def run(problem: Problem) -> None:
        nll = peer(problem.hidden, problem.weight, problem.labels)
        logp = (-nll).detach().requires_grad_()
        (slope,) = torch.autograd.grad(loss_of(logp).sum(), logp)
        ((-slope * nll).sum() / len(problem.rows)).backward()

    return run


def hugging_face(problem: Problem) -> None:
    """The loss of transformers: all logits, in float32, NLL."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    # The logits get no name here: as in Trainer, they are gone before the backward.
    ForCausalLMLoss(
        functional.linear(problem.hidden, problem.weight),
        None,
        problem.weight.shape[0],
        shift_labels=problem.labels,
    ).backward()


def frozen(variant: Variant) -> Variant:
    """The same without a gradient for the head's weight, as under LoRA."""

    def run(problem: Problem) -> None:
        problem.weight.requires_grad_(False)
        try:
            variant(problem)
        finally:
            problem.weight.requires_grad_(True)

    return run


def floors(problem: Problem) -> dict[str, Variant]:
    """The bare products on the supervised rows, outputs allocated beforehand."""
    weight = problem.weight.detach()
    states = problem.hidden.detach()[problem.rows]
    logits = states.new_empty(len(states), len(weight))
    states_out, weight_out = torch.empty_like(states), torch.empty_like(weight)

    def two(_: Problem) -> None:
        torch.mm(states, weight.T, out=logits)
        torch.mm(logits, weight, out=states_out)

    def three(_: Problem) -> None:
        two(problem)
        torch.mm(logits.T, states, out=weight_out)

    return {"floor": three, "floor, frozen": two}


def variants(found: Mapping[str, Peer], tile_rows: int | None = None) -> dict[str, Variant]:
    """Every variant but the floor, by name."""
    made = {f"ours {objective}": ours(objective, tile_rows) for objective in OBJECTIVES}
    made["ours dft, frozen"] = frozen(made["ours dft"])
    if not found:
        return made
    made["hf nll"] = hugging_face
    made |= {f"{name} dft": reweighted(peer, "dft") for name, peer in found.items()}
    made["reference threshold 50 %"] = reweighted(found["reference"], "threshold 50 %")
    if "cce" in found:
        made["cce nll"] = reweighted(found["cce"], "nll")
        made["cce dft, frozen"] = frozen(made["cce dft"])
    return made


def objective_of(variant: str) -> str:
    """The objective that a variant's name speaks of."""
    name = variant.removesuffix(", frozen")
    return next(o for o in sorted(OBJECTIVES, key=len, reverse=True) if name.endswith(f" {o}"))


def counterpart(name: str) -> str:
    """Ours with the same objective and the same gradients."""
    return f"ours {objective_of(name)}" + (", frozen" if name.endswith(", frozen") else "")
