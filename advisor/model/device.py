"""Where a model goes: the device that was asked for, or the first accelerator there is."""

from __future__ import annotations

import os
from typing import Any

import torch

from advisor.errors import InputError


def choose_device(device: str, device_map: str | dict[str, Any] | None = None) -> tuple[str, str]:
    """The device of the weights, and the sentence that says why.

    A GPU has its number: the Trainer of transformers takes `cuda` beside its own `cuda:0` for a model that is
    spread, and of several processes on a machine (torchrun) each has its own GPU.

    Args:
        device: cpu, cuda, cuda:1, mps, or auto.
        device_map: of accelerate, which then places the weights itself.

    Raises:
        InputError: a device that is not usable here, both arguments at once, or more processes than GPUs.
    """
    if device_map is not None:
        if device != "auto":
            raise InputError("--device and --device_map exclude each other: give one of them")
        placed = "cuda" if torch.cuda.is_available() else "cpu"
        return placed, f"Placed by device_map={device_map}."
    if device != "auto":
        device = _numbered(device)
        try:
            torch.zeros(1, device=device).item()  # the meta device has no values
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].split(". ")[0]
            raise InputError(f"--device {device}: not usable here ({reason})") from error
        return device, f"On {device}, as asked."
    if torch.cuda.is_available():
        found = _numbered("cuda")
        return found, f"On {found}, which this machine has."
    if torch.backends.mps.is_available():
        return "mps", "On mps, which this machine has."
    return "cpu", "On cpu: no accelerator was found."


def _numbered(device: str) -> str:
    """`cuda` with the number of this process's GPU; every other device as it is."""
    if device != "cuda" or not torch.cuda.is_available():
        return device
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= there:
        raise InputError(
            f"{number + 1} or more processes were started on a machine that has {there} GPU(s): start as "
            "many as it has GPUs, or give --device cpu"
        )
    return f"cuda:{number}"
