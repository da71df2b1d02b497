"""Weights that are spread over the ranks: what of one is on this rank, and the way that is refused."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor

from advisor.errors import InputError

WHOLE = 3
"""The stage that shards the weights themselves; those before it shard gradients and the optimiser's state."""


def on_this_rank(tensor: Tensor) -> Tensor:
    """The part of a weight or gradient that this rank has: all of it, unless FSDP2 has spread it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def refuse_split_rows(arguments: Any) -> None:
    """Raise InputError where a sequence or a layer is split over ranks (accelerate's `ParallelismConfig`).

    The shift of labels by one would stay within a rank's part of a sequence, and the number of ranks that the
    loss is a mean over would be another.

    Args:
        arguments: of a Hugging Face trainer.
    """
    layout = getattr(arguments, "parallelism_config", None)
    for name, what in (("cp", "context"), ("sp", "sequence"), ("tp", "tensor")):
        if (getattr(layout, f"{name}_size", None) or 1) > 1:
            raise InputError(
                f"{what} parallelism ({name}_size) splits rows or layers over ranks, and the loss takes "
                "whole ones: train with DDP or FSDP"
            )


def refuse_zero3(arguments: Any) -> None:
    """Raise InputError where weights are sharded by DeepSpeed.

    ZeRO-3 gathers the weights of a layer around that layer's own forward (arXiv:1910.02054, Sec. 5.3). Our
    loss reads the weights of the output layer without calling it, so that no [tokens, vocabulary] logits are
    made. FSDP gathers them around the forward of the whole model, in which the loss is.

    Args:
        arguments: of a Hugging Face trainer.
    """
    plugin = getattr(arguments, "deepspeed_plugin", None)
    if plugin is not None and plugin.zero_stage == WHOLE:
        raise InputError(
            "DeepSpeed ZeRO-3 gathers weights layer by layer, and the loss reads those of the output layer "
            "outside of its forward: train with DDP or FSDP, or with another zero_optimization.stage"
        )
