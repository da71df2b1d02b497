"""One optimiser step of a whole model, forward and backward, DFT: ours against TRL and full logits.

Two micro-batches of eight pairs of varied length. Gradients of all parameters are compared with a
float64 copy of the model before anything is timed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel
from trl.trainer.utils import add_fused_lm_head

from advisor.model.forward import extend_forward
from advisor.objectives.table import get_objective
from harness.experiments.bench import measure
from harness.experiments.bench.goals import Goal, aligned
from harness.experiments.bench.measure import Conditions, WrongNumbers, ratio
from harness.experiments.bench.models import body_for, make_model, make_pairs, packed, padded
from harness.train.packed_attention import attend_within_documents

BATCH, BATCHES, VOCABULARY = 8, 2, 49152
MEDIANS = {"float32": (64, 32), "bfloat16": (200, 60)}
"""Lengths of prompt and completion."""
LONGER = 4
"""Times as long on a GPU."""
ERROR = {"float32": 1e-4, "bfloat16": 0.05}
"""Relative gradient error against float64 beyond which a variant computes something else."""
Record = dict[str, Any]
Loss = Callable[[PreTrainedModel, dict[str, Tensor]], Tensor]
"""(model, batch) -> sum over the targets of DFT's loss."""


def trl(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The model with TRL's fused head, as SFTTrainer calls it."""
    logp: Tensor = model(**batch, fused_lm_head=True).log_probs
    return -(logp.exp().detach() * logp).sum()


def reference(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The DFT authors' way: padded, all logits."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    logits = model(**inputs, use_cache=False).logits[:, :-1].flatten(0, 1)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    nll = functional.cross_entropy(logits, batch["labels"][:, 1:].flatten(), reduction="none")
    return (nll * (-nll).exp().detach()).sum()


def ours(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """The model with our head."""
    loss: Tensor = model(**batch, objective_head=get_objective("dft")).loss
    return loss


VARIANTS: dict[str, tuple[Loss, Callable[..., dict[str, Tensor]]]] = {
    "trl as sft": (trl, padded),
    "reference": (reference, padded),
    "ours padded": (ours, padded),
    "ours packed": (ours, packed),
}


def run_case(
    dtype: str,
    conditions: Conditions,
    say: Callable[[str], None],
    *,
    tiny: bool = False,
    replace: Mapping[str, tuple[Loss, Callable[..., dict[str, Tensor]]]] | None = None,
) -> Record:
    """Check and time one step in one dtype; `tiny` and `replace` are for trying it out.

    Raises:
        WrongNumbers: the gradients of ours are not those of the float64 model.
    """
    vocabulary = 211 if tiny else VOCABULARY
    size = body_for(conditions.device, tiny=tiny)
    kind = getattr(torch, dtype)
    model = make_model(size, vocabulary, kind, conditions.device, conditions.seed).train()
    exact_model = copy.deepcopy(model).double()
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    extend_forward(model)
    attend_within_documents(model)  # as `advisor train --padding_free` does; padded rows keep SDPA
    longer = LONGER if conditions.device == "cuda" else 1
    prompt, completion = (longer * median for median in MEDIANS[dtype])
    number = BATCH * BATCHES
    pairs = make_pairs(number, vocabulary, conditions.seed, prompt=prompt, completion=completion)
    targets = sum(pair.target_tokens for pair in pairs)
    groups = [pairs[first : first + BATCH] for first in range(0, number, BATCH)]
    runs = {}
    for name, (loss, collate) in {**VARIANTS, **(replace or {})}.items():
        if conditions.peers or name.startswith("ours"):
            batches = [collate(group, conditions.device) for group in groups]
            runs[name] = _bind(loss, model, batches, targets)
    batches = [padded(group, conditions.device) for group in groups]
    _bind(reference, exact_model, batches, targets)()
    errors = _check(model, _gradient(exact_model), runs, ERROR[dtype], say)
    del exact_model
    multiply, operations = measure.matmul(kind, conditions.device, 64 if tiny else None)
    times = measure.interleave(
        {"matmul": multiply, **runs}, conditions, reset=lambda: model.zero_grad(set_to_none=True)
    )
    record = {
        "case": {"dtype": dtype, "tiny": tiny},
        "tokens": sum(len(pair.input_ids) for pair in pairs),
        "padded_positions": sum(batch["input_ids"].numel() for batch in batches),
        "targets": targets,
        "gflops": operations / min(times["matmul"]) / 1e9,
        "floor_spread": measure.spread(times["matmul"]),
        "variants": {
            name: {"seconds": seconds, "error": errors.get(name)} for name, seconds in times.items()
        },
    }
    say_case(record, say)
    return record


def _bind(
    loss: Loss, model: PreTrainedModel, batches: Sequence[dict[str, Tensor]], targets: int
) -> Callable[[], None]:
    def run() -> None:
        for batch in batches:
            (loss(model, batch) / targets).backward()

    return run


def _gradient(model: PreTrainedModel) -> Tensor:
    """All gradients as one float64 vector."""
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).double().flatten()
            for p in model.parameters()
        ]
    )


def _check(
    model: PreTrainedModel,
    exact: Tensor,
    runs: dict[str, Callable[[], None]],
    bound: float,
    say: Callable[[str], None],
) -> dict[str, float]:
    errors = {}
    for name in list(runs):
        model.zero_grad(set_to_none=True)
        runs[name]()
        error = float((_gradient(model) - exact).norm() / exact.norm())
        if error <= bound:
            errors[name] = error
        elif name.startswith("ours") or math.isnan(error):
            raise WrongNumbers(f"{name}: relative gradient error {error:.1e} > {bound:g}")
        else:
            say(f"left out: {name} (relative gradient error {error:.1e})")
            del runs[name]
    return errors


def say_case(record: Record, say: Callable[[str], None]) -> None:
    """The table of one dtype."""
    times = {name: found["seconds"] for name, found in record["variants"].items()}
    say(
        f"\nstep {record['case']['dtype']}: {record['tokens']} tokens, "
        f"{record['padded_positions']} padded, {record['targets']} targets; matmul "
        f"{record['gflops']:.0f} GFLOP/s, its spread {record['floor_spread']:.0%}"
    )
    rows = [("", "seconds", "/ ours packed", "gradient error")]
    for name, found in record["variants"].items():
        error = found["error"]
        rows.append(
            (
                name,
                f"{min(times[name]):.3g}",
                str(ratio(times[name], times["ours packed"])),
                "" if error is None else f"{error:.1e}",
            )
        )
    for line in aligned(rows):
        say(line)


def goals(records: Sequence[Record]) -> list[Goal]:
    """What the records say of the step's goals."""
    return [goal for record in records for goal in _goals_of(record)]


def _goals_of(record: Record) -> Iterator[Goal]:
    times = {name: found["seconds"] for name, found in record["variants"].items()}
    dtype = record["case"]["dtype"]
    bounds = {"S1": ("reference", 2.9), "S2": ("trl as sft", 4.8 if dtype == "float32" else 8.5)}
    for name, (peer, bound) in bounds.items():
        if peer in times:
            measured = ratio(times[peer], times["ours packed"])
            what = f"{peer} / ours packed"
            yield Goal(
                name=name, what=what, where=dtype, bound=bound, measured=measured, at_least=True
            )
