"""How long a plan takes on another machine, from peak arithmetic and memory bandwidth: an estimate.

Training costs 6 N operations a token, N being the parameters: two in the forward pass and four in the
backward one (arXiv:2001.08361, section 2.1). An answer costs 2 N a token, and every step of decoding reads
all weights once, however many answers are decoded side by side. Peaks are of dense bfloat16 products,
without sparsity. Pretraining reaches 38 to 43 % of them on H100s (arXiv:2407.21783, Table 4) and 46 % on
TPUs (arXiv:2204.02311, Table 3); fine-tunes of a few rows a step reach less, so that `SHARE` is below both.
What a step costs whatever the size of the model is added: `STEP` and `TOKEN`. Of several accelerators it is
taken that they share the work evenly.

Sources, the makers' data sheets: NVIDIA H100 SXM (1,979 TFLOP/s with sparsity, twice the dense figure),
H200 SXM, A100 80GB SXM, L40S, L4 (242 with sparsity), A10; GeForce RTX 4090 (whitepaper of the Ada
architecture, appendix A: bfloat16 with float32 sums); AMD Instinct MI300X. A core is a 64th of an AMD EPYC
7763 (2.45 GHz, two multiply-adds of eight float32 numbers a cycle, 204.8 GB/s for all); 4 GB of memory a
core are assumed.
Pure, and free of torch.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advisor.errors import InputError
from advisor.names import did_you_mean

if TYPE_CHECKING:
    from advisor.prior.prior import Prior

SHARE = 0.3
"""Of peak arithmetic that is taken to be reached."""
OF_BANDWIDTH = 0.6
"""Of peak bandwidth that decoding is taken to reach."""
STEP, TOKEN = 0.03, 0.004
"""Seconds of an optimiser step and of a step of decoding that no faster arithmetic spares.

CPU time of one row on the ladder's models of four layers, on a core of an AMD EPYC; deeper ones take more.
"""
ROWS, ANSWERS = 8, 64
"""Rows of an optimiser step and answers that are decoded side by side, as of `confirm`."""
COPIES = 4
"""Numbers of 4 bytes that full fine-tuning keeps for a parameter: weight, gradient, Adam's two moments."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one or several accelerators can do together."""

    name: str
    """As it was asked for."""
    peak: float
    """Operations a second."""
    bandwidth: float
    """Bytes a second."""
    memory: float
    """Bytes."""
    devices: int = 1
    """That share the work."""


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """A plan on another machine."""

    machine: str
    """Its name."""
    minutes: float | None
    """Training and scoring, within a factor of about two; None where full fine-tuning does not fit."""
    needed: float
    """Bytes of weights, gradients and Adam's moments."""
    memory: float
    """Bytes that one of its devices has, on which `confirm` makes a run."""
    devices: int = 1
    """That it has."""


def _of(name: str, tera: float, gigabytes_a_second: float, gigabytes: float) -> Machine:
    return Machine(
        name=name, peak=tera * 1e12, bandwidth=gigabytes_a_second * 1e9, memory=gigabytes * 1e9
    )


ACCELERATORS = {
    one.name: one
    for one in (
        _of("a10", 125, 600, 24),
        _of("a100", 312, 2039, 80),
        _of("h100", 989, 3350, 80),
        _of("h200", 989, 4800, 141),
        _of("l4", 121, 300, 24),
        _of("l40s", 362, 864, 48),
        _of("mi300x", 1307, 5300, 192),
        _of("rtx4090", 165, 1008, 24),
    )
}
CORE = _of("cpu", 2.45e9 * 2 * 2 * 8 / 1e12, 204.8 / 64, 4)
"""In float32."""


def machine_of(name: str) -> Machine:
    """The machine of a name: an accelerator, `h100x8` for eight of them, `cpu16` for 16 cores.

    Raises:
        InputError: there is none of this name.
    """
    low = name.lower()
    kinds = "|".join(ACCELERATORS)
    if found := re.fullmatch(rf"({kinds})(?:x([1-9]\d{{0,4}}))?", low):
        one, many = ACCELERATORS[found[1]], int(found[2] or 1)
    elif found := re.fullmatch(r"cpu([1-9]\d{0,4})", low):
        one, many = CORE, int(found[1])
    else:
        near = did_you_mean(low, (*ACCELERATORS, *(f"{kind}x8" for kind in ACCELERATORS), "cpu2"))
        raise InputError(
            f"--machine {name}: not a known machine: {f'{near} ' if near else ''}There are "
            f"{', '.join(ACCELERATORS)}, each also as h100x8, and cpu with a number of cores, such as cpu2"
        )
    return Machine(
        name=low,
        peak=many * one.peak,
        bandwidth=many * one.bandwidth,
        memory=many * one.memory,
        devices=1 if one is CORE else many,
    )


def elsewhere(machine: Machine, prior: Prior, *, runs: float, answers: int) -> Elsewhere:
    """A plan on a machine.

    Args:
        machine: where.
        prior: size of the model, rows and their length.
        runs: fine-tunes of an epoch.
        answers: that each run is scored on.

    Raises:
        InputError: a prior of an earlier version, which does not know how long rows are.
    """
    if prior.tokens is None:
        raise InputError(
            f"--machine {machine.name}: this prior does not know how many tokens a row has: measure it again"
        )
    parameters = float(prior.model["parameters"])
    size = BYTES.get(str(prior.model.get("dtype")), 4)
    needed = COPIES * BYTES["float32"] * parameters
    row, target = prior.tokens / prior.examples, prior.target_tokens / prior.examples
    rows, speed = prior.usable_rows, SHARE * machine.peak
    training = 6 * parameters * rows * row / speed + math.ceil(rows / ROWS) * STEP
    reading = 2 * parameters * answers * (row - target) / speed
    batches = math.ceil(answers / (ANSWERS * machine.devices))
    # The devices decode at once, each its own answers with its own weights.
    weights = size * parameters * machine.devices / (OF_BANDWIDTH * machine.bandwidth)
    arithmetic = 2 * parameters * ANSWERS * machine.devices / speed
    answering = batches * target * (TOKEN + max(weights, arithmetic))
    minutes = runs * (training + reading + answering) / 60
    memory = machine.memory / machine.devices
    return Elsewhere(
        machine=machine.name,
        minutes=minutes if needed <= memory else None,
        needed=needed,
        memory=memory,
        devices=machine.devices,
    )
