"""How a model goes into a training and comes out of it: its precision, its forward, and what is frozen.

A model that trains in 16 bits (`--bf16 true`, TRL's default on a GPU) is wrapped by accelerate, and the
wrapper stays on its `forward` after the training: what is scored with it is computed under autocast, while
the untouched model is scored without. And weights of 16 bits that are trained themselves lose most updates:
a bfloat16 has 8 bits of precision, so that an update under 1/512 of a weight is rounded away, and Adam's are
about the learning rate (the remedy, float32 masters: Micikevicius et al., arXiv:1710.03740, Sec. 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer

from advisor.model.loaded import LoadedModel

if TYPE_CHECKING:
    _Mixed = Trainer
else:
    _Mixed = object

COARSE = (torch.bfloat16, torch.float16)
"""Dtypes in which updates are lost."""
_WRAPPED, _PREPARED = "_original_forward", "_is_accelerate_prepared"
"""What accelerate leaves on a model: the forward that it wrapped, and that it did so."""

Dtypes = Mapping[str, torch.dtype]
"""Of parameters, by name."""


def to_train(model: PreTrainedModel) -> PreTrainedModel:
    """The model in training mode, all of it trained; what the user froze in a model in memory stays frozen.

    One that was loaded here has no weight that is trained, and so has one whose adapter was taken out.
    """
    if not any(weight.requires_grad for weight in model.parameters()):
        model.requires_grad_(True)
    model.train()
    return model


def float_masters(loaded: LoadedModel, peft_config: Any) -> Dtypes:
    """Make the weights of a model that is trained whole float32, where they are 16 bits by our own choice.

    A dtype that the user named (`--dtype bfloat16`, a model in memory) is kept: `WatchResolution` says what
    is lost by it. An adapter's weights are float32 already.

    Returns:
        What the weights were, for `as_loaded`; empty where nothing was changed.
    """
    if peft_config is not None or not loaded.dtype_chosen:
        return {}
    model: nn.Module = loaded.model
    before = {name: w.dtype for name, w in model.named_parameters() if w.dtype in COARSE}
    for name in before:
        weight = model.get_parameter(name)
        weight.data = weight.data.float()
    return before


def float_copies(model: nn.Module) -> Dtypes:
    """Make all that is trained beside an adapter float32: PEFT copies whole layers in the base's 16 bits.

    Returns:
        As `float_masters`.
    """
    before = {
        name: w.dtype
        for name, w in model.named_parameters()
        if w.requires_grad and w.dtype in COARSE
    }
    for name in before:
        weight = model.get_parameter(name)
        weight.data = weight.data.float()
    return before


def as_loaded(model: nn.Module, before: Dtypes) -> None:
    """Give weights the dtypes back that they had before `float_masters`."""
    for name, dtype in before.items():
        weight = model.get_parameter(name)
        weight.grad = None
        weight.data = weight.data.to(dtype)


def remarks_on(before: Dtypes) -> tuple[str, ...]:
    """What a user should know of weights that were made float32 to be trained."""
    names = sorted({str(dtype).removeprefix("torch.") for dtype in before.values()})
    return tuple(
        f"The weights were trained in float32 and are kept in {name}, in which the model was loaded."
        for name in names
    )


def take_off_autocast(model: nn.Module) -> None:
    """Give a model the forward back that it had before accelerate prepared it; once is enough.

    `accelerator.unwrap_model(model, keep_fp32_wrapper=False)` goes down to the innermost function, and so
    takes off every decorator besides: transformers' own, and `extend_forward`.
    """
    original = model.__dict__.pop(_WRAPPED, None)
    if original is None:
        return
    _put(model, original)
    model.__dict__.pop(_PREPARED, None)  # a second training is to be prepared again


@contextmanager
def without_autocast(model: nn.Module) -> Iterator[None]:
    """Within the block a model that is being trained computes as it does after training."""
    original = model.__dict__.get(_WRAPPED)
    wrapped = model.forward
    if original is not None:
        _put(model, original)
    try:
        yield
    finally:
        if original is not None:
            _put(model, wrapped)


def _put(model: nn.Module, forward: Any) -> None:
    """Set a forward; the class's own is no attribute of the model."""
    if getattr(forward, "__func__", None) is type(model).forward:
        model.__dict__.pop("forward", None)
    else:
        model.forward = forward


class ComesOutAsItWas(_Mixed):
    """Mix-in before a Hugging Face trainer: after a training, whatever its end, autocast is off the model."""

    masters: Dtypes = {}  # noqa: RUF012
    """What weights were before `float_masters`; they are that again when the training is over."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's."""
        model: Any = self.model
        try:
            return super().train(*args, **kwargs)
        finally:
            take_off_autocast(model)
            if not (
                self.is_fsdp_enabled or self.is_deepspeed_enabled
            ):  # their weights are elsewhere
                as_loaded(model, self.masters)
