"""Whether a checkpoint can be gone on from: that its files are there and can be read, and its numbers finite.

Trainer goes on without an optimiser state, and with what it finds of the weights, and says nothing.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from advisor.errors import InputError, TrainingDiverged
from advisor.files import read_json
from harness.train.divergence import StopsWhenDiverged

WEIGHTS = (
    "model.safetensors",
    "adapter_model.safetensors",
    "pytorch_model.bin",
    "adapter_model.bin",
)
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SHARDED = ("pytorch_model_fsdp*", "global_step*")
"""Of FSDP and DeepSpeed, who read and check them themselves."""
OPTIMISERS = ("optimizer.pt", "optimizer.bin", "optimizer_*", *SHARDED)
MEND = "name an older checkpoint-N, or begin anew without --resume_from_checkpoint"


def check_whole(checkpoint: str | None) -> None:
    """Refuse a checkpoint of which a part is missing or cannot be read.

    Raises:
        InputError: names what is wrong with it.
    """
    if checkpoint is None:
        return
    folder = Path(checkpoint)
    for file in _weights(folder):
        if not file.is_file():
            raise InputError(
                f"{checkpoint}: is only a part of a checkpoint: it has no {file.name}: {MEND}"
            )
        _require_readable(checkpoint, file)
    _check_optimiser(checkpoint, folder)


def _weights(folder: Path) -> list[Path]:
    """The files that the weights should be in."""
    index = next((folder / name for name in INDEXES if (folder / name).is_file()), None)
    if index is not None:
        try:
            names = set(read_json(index)["weight_map"].values())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder}: is damaged: {index.name} cannot be read: {MEND}"
            ) from error
        return [folder / name for name in sorted(names)]
    found = [path for name in WEIGHTS for path in (folder / name, *folder.glob(f"*/{name}"))]
    there = [path for path in found if path.is_file()]
    return there if there or any(_any(folder, SHARDED)) else [folder / WEIGHTS[0]]


def _check_optimiser(checkpoint: str, folder: Path) -> None:
    schedule = ("scheduler.pt", "global_step*")  # DeepSpeed keeps its own with the rest
    for name, patterns in (("optimiser state", OPTIMISERS), ("scheduler.pt", schedule)):
        found = list(_any(folder, patterns))
        if not found and name == "scheduler.pt":
            raise InputError(
                f"{checkpoint}: has no {name}, though its optimiser state is there: it was copied partly; "
                f"copy it again, {MEND}"
            )
        if not found:
            raise InputError(
                f"{checkpoint}: has no {name} (was it saved with --save_only_model?): no training can go on "
                "from it; to train on from its weights give it as MODEL, without --resume_from_checkpoint"
            )
        for file in found:
            _require_readable(checkpoint, file)
    for file in folder.glob("rng_state*.pth"):
        if not zipfile.is_zipfile(file):
            raise _damaged(checkpoint, file)


def _any(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    return (path for pattern in patterns for path in folder.glob(pattern))


def _require_readable(checkpoint: str, file: Path) -> None:
    """Raise InputError where a file cannot be read; a pickle is never executed."""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                tensors.keys()
        elif file.is_file():
            torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (
        SafetensorError,
        RuntimeError,
        OSError,
        ValueError,
        EOFError,
        UnpicklingError,
        KeyError,
    ) as error:
        raise _damaged(checkpoint, file) from error


def _damaged(checkpoint: str, file: Path) -> InputError:
    return InputError(f"{checkpoint}: is damaged: {file.name} cannot be read: {MEND}")


class ReadsWholeCheckpoints(StopsWhenDiverged):
    """Mix-in before a Hugging Face trainer: weights are taken over whole and finite, or not at all."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        before = self._zero_matrices()
        try:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        except (RuntimeError, ValueError, OSError, SafetensorError) as error:
            if isinstance(error, InputError):
                part = f"{resume_from_checkpoint}: is only a part of a checkpoint"
                raise InputError(f"{part}: {error}: {MEND}") from error
            line = " ".join(str(error).split())[:160]
            raise InputError(
                f"{resume_from_checkpoint}: does not fit this model ({line}): resume with the model and the "
                "settings that it was made with"
            ) from error
        try:
            self.require_finite()
        except TrainingDiverged as error:
            raise InputError(
                f"{resume_from_checkpoint}: its weights are not finite: that training had diverged: {MEND}"
            ) from error

        if lost := sorted(self._zero_matrices() - before):
            some = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
            raise InputError(
                f"{resume_from_checkpoint}: is damaged: {len(lost)} of its weight matrices hold nothing but "
                f"zeros ({some}): {MEND}"
            )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As Trainer's, which makes a step before it looks whether all of them are made, or it is to stop."""
        trainer: Any = super()
        ended = self.state.global_step >= self.state.max_steps
        if ended or self.control.should_training_stop:
            self.control.should_training_stop = True
            return
        trainer._run_epoch(*args, **kwargs)

    def _zero_matrices(self) -> set[str]:
        """Weights of two and more dimensions that are zero throughout, as LoRA's B is before training.

        Vectors may well be: biases, and norms that are kept as a difference from 1.
        """
        model: Any = self.model
        weights = [(name, w) for name, w in model.named_parameters() if w.dim() > 1 and w.numel()]
        zero = [~w.detach().any() for _, w in weights]  # read once all are on their way
        return {name for (name, _), flag in zip(weights, zero, strict=True) if bool(flag)}

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        model: Any = self.model
        there = {name: id(w) for name, w in model.named_parameters(remove_duplicate=False)}
        missing = set(load_result.missing_keys)
        loaded = {number for name, number in there.items() if name not in missing}
        lost = sorted(name for name in missing if name in there and there[name] not in loaded)
        if lost:
            some = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
            raise InputError(f"it lacks {len(lost)} of {len(there)} weights: {some}")
