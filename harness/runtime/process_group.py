"""The end of a training on several ranks."""

from __future__ import annotations

import gc
from typing import Any


def leave_process_group(trainer: Any) -> None:
    """End this rank's communication, after the last thing that the ranks do together.

    `destroy_process_group` alone ends none of gloo's threads: the model wrapped for DDP keeps the group
    alive, and a thread that lets go of a tensor while Python shuts down aborts the process (seen once in
    some sixty runs on a busy machine, after everything was saved). So the wrapped model goes first; in
    the other order the group's end, inside the garbage collector, can wait for a thread that waits for
    Python's lock.
    """
    trainer.model_wrapped = trainer.model
    trainer.accelerator.free_memory()
    gc.collect()
    trainer.accelerator.end_training()
