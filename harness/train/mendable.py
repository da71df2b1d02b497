"""What a training lacks of its machine, disk, memory or a process, as a refusal that says how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError

from advisor.errors import InputError
from advisor.files import unwritten
from advisor.model.out_of_memory import is_out_of_memory

GO_ON = "go on with --resume_from_checkpoint true"
LACKS = (OSError, EOFError, RuntimeError, MemoryError, SafetensorError)
"""How libraries say that something is lacking."""


@contextmanager
def mendable(trainer: Any) -> Iterator[None]:
    """Turn what the machine lacks while a trainer works into a refusal; all else passes.

    Raises:
        InputError: a full disk, too little memory, or a process of the data loader that has died.
    """
    try:
        yield
    except LACKS as error:
        objective = getattr(trainer, "objective", None)
        uncut = objective is not None and objective.by_forward
        if (line := _remedy(error, trainer.args, uncut=uncut)) is None:
            raise
        raise InputError(line) from error


@contextmanager
def written() -> Iterator[None]:
    """Have what cannot be written be an OSError, the machine's fault, whatever the writer raises."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if (reason := unwritten(error)) is None:
            raise
        raise OSError(f"the checkpoint cannot be written ({reason})") from error


def _remedy(error: BaseException, args: Any, *, uncut: bool) -> str | None:
    """What to say of an error; None where it is no such lack."""
    if (reason := unwritten(error)) is not None:
        return f"{args.output_dir}: a file cannot be written ({reason}): make room, then {GO_ON}"
    if is_out_of_memory(error):
        return _less(args, uncut=uncut)
    # A process that dies while it hands a batch over is first seen as a connection that ends.
    cut = isinstance(error, ConnectionError | EOFError) and args.dataloader_num_workers > 0
    if cut or "DataLoader worker" in str(error):
        return (
            f"a process of the data loader has died ({' '.join(str(error).split())[:120]}): {GO_ON}, with "
            "fewer --dataloader_num_workers if memory was short"
        )
    return None


def _less(args: Any, *, uncut: bool) -> str:
    """How to train the same with less memory; uncut: in forwards as large, among whose rows it selects."""
    rows, accumulated = args.per_device_train_batch_size, args.gradient_accumulation_steps
    if rows == 1 or uncut:
        again = "" if args.gradient_checkpointing else "--gradient_checkpointing true, "
        what = (
            "a single row" if rows == 1 else f"the {rows} rows among which the objective selects,"
        )
        return (
            f"memory has no room for {what} at a time: give a lower --max_length, {again}--use_peft, "
            "or --dtype bfloat16, in which small updates are lost"
        )
    half = next(size for size in range(rows // 2, 0, -1) if rows % size == 0)
    return (
        f"memory has no room for {rows} rows at a time: the same is trained with "
        f"--per_device_train_batch_size {half} --gradient_accumulation_steps {accumulated * rows // half}; "
        f"to go on from a checkpoint add --resume_from_checkpoint true"
    )
