"""Run by torchrun: a model teaches itself on several CPU ranks, and saves what rank 0 ends with."""

import gc
import sys
from pathlib import Path

import torch

from tests.helpers.distilling import GREEDY
from tests.helpers.processes import RANKS, leave_without_threads
from tests.helpers.self_teaching import build
from tests.helpers.training import curve, weights

if __name__ == "__main__":
    gc.freeze()  # as in conftest.py
    folder = Path(sys.argv[1])
    trainer = build(folder, **GREEDY, per_device_train_batch_size=8 // RANKS)
    trainer.train()
    assert trainer.accelerator.num_processes == RANKS, f"this has to run on {RANKS} ranks"
    if trainer.is_world_process_zero():
        found = {"weights": weights(trainer), "grad_norm": curve(trainer, "grad_norm")}
        torch.save(found, folder / "ranks.pt")
    leave_without_threads(trainer)
