"""Other implementations of the head, each as (hidden, weight, labels) -> NLL of every position.

Gradients flow through what they return; an objective is then a detached weight on it, which is how a
user of these libraries would write it. Those that are not installed, or cannot run on this device,
are left out by name: the extra `bench` installs them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

Peer = Callable[[Tensor, Tensor, Tensor], Tensor]
CHUNK_ROWS = 512  # for torch's own, whose default of 8 rows on a CPU would be nobody's choice
TRL_CHUNK = 32768  # columns, as its trainers set it


def full_logits(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The DFT authors' way: all logits, cross-entropy without reduction."""
    logits = functional.linear(hidden, weight).float()
    return functional.cross_entropy(logits, labels, reduction="none")


def trl_all(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """TRL's fused head as SFTTrainer calls it: entropy and top-1 too, every position on a CPU."""
    if hidden.is_cuda:
        return trl_targets(hidden, weight, labels)
    return _trl(hidden, weight, labels.clamp(min=0)).masked_fill(labels == -100, 0)


def trl_targets(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The same on target rows only, which is what it does on a GPU."""
    mask = labels != -100
    nll = _trl(hidden[mask], weight, labels[mask])
    return nll.new_zeros(labels.shape).masked_scatter(mask, nll)


def _trl(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    wanted = ("log_probs", "entropy", "is_top1")
    arguments = (hidden, weight, None, targets, 1.0, TRL_CHUNK, None, 1.0, wanted)
    function: Any = ChunkedLogProbFunction
    return -cast(Tensor, function.apply(*arguments)[0])


def installed(device: str) -> tuple[dict[str, Peer], list[str]]:
    """The peers that run here, and a line about each that does not."""
    peers: dict[str, Peer] = {"reference": full_logits}
    missing = []
    for name, build in (
        ("trl as sft", lambda _: _with_trl(trl_all)),
        ("trl targets", lambda _: _with_trl(trl_targets)),
        ("cce", _cce),
        ("cce exact", _cce_exact),
        ("liger", _liger),
        ("torch", _torch),
    ):
        if name == "cce exact" and device != "cuda":
            continue  # compiled, it filters nothing
        try:
            peers[name] = build(device)
        except (ImportError, AttributeError) as error:
            missing.append(f"left out: {name} ({str(error).splitlines()[0]})")
    return peers, missing


def _with_trl(peer: Peer) -> Peer:
    if importlib.util.find_spec("trl") is None:
        raise ImportError("No module named 'trl'")
    return peer


def _cce(device: str, *, filtered: bool = True) -> Peer:
    from cut_cross_entropy import linear_cross_entropy

    # Its own kernel needs a GPU; elsewhere it compiles, for which a C++ compiler has to be there.
    settings: dict[str, Any] = {"impl": "cce" if device == "cuda" else "torch_compile"}
    if not filtered:
        settings["filter_eps"] = None
    return lambda hidden, weight, labels: cast(
        Tensor, linear_cross_entropy(hidden, weight, labels, reduction="none", **settings)
    )


def _cce_exact(device: str) -> Peer:
    return _cce(device, filtered=False)


def _liger(device: str) -> Peer:
    if device == "cuda":
        return _liger_kernel()
    from liger_kernel.ops.fused_linear_scaled_cross_entropy import (
        LigerFusedLinearScaledCrossEntropyFunction as Scaled,
    )

    return lambda hidden, weight, labels: cast(Tensor, Scaled.apply(hidden, weight, labels))


def _liger_kernel() -> Peer:
    """Its Triton kernel by its own name: the scaled one takes CuTe DSL on capability 9.0, seldom there."""
    from liger_kernel.ops.fused_linear_cross_entropy import (
        LigerFusedLinearCrossEntropyFunction as Fused,
    )

    def run(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        found = Fused.apply(hidden, weight, labels, None, None, -100, 0.0, 0.0, "none")
        return cast(Tensor, found[0] if isinstance(found, tuple) else found)

    return run


def _torch(device: str) -> Peer:
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=CHUNK_ROWS)  # type: ignore[attr-defined,unused-ignore]
    apply: Any = functional.linear_cross_entropy  # type: ignore[attr-defined,unused-ignore]
    return lambda hidden, weight, labels: cast(
        Tensor, apply(hidden, weight, labels, reduction="none", options=options)
    )
