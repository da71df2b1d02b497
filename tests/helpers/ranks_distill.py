"""Run by torchrun: distils on several CPU ranks and saves what rank 0 ends with."""

import gc
import sys
from pathlib import Path

import torch

from harness.distill.fire_settings import Fire
from tests.helpers.distilling import GREEDY, evaluated, run
from tests.helpers.processes import RANKS, leave_without_threads
from tests.helpers.training import curve, weights

if __name__ == "__main__":
    gc.freeze()  # as in conftest.py
    folder = Path(sys.argv[1])
    trainer = run(
        folder, fire=Fire(), **GREEDY, **evaluated(), per_device_train_batch_size=8 // RANKS
    )
    assert trainer.accelerator.num_processes == RANKS, f"this has to run on {RANKS} ranks"
    if trainer.is_world_process_zero():
        curves = {name: curve(trainer, name) for name in ("kept", "eval_loss")}
        torch.save({"weights": weights(trainer), **curves}, folder / "ranks.pt")
    leave_without_threads(trainer)
