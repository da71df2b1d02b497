"""Run by torchrun: trains on two CPU ranks and saves what rank 0 ends with."""

import gc
import sys
from pathlib import Path

import torch

from tests.helpers.processes import leave_without_threads
from tests.helpers.training import WEIGHTED, curve, train, weighted_rows, weights

if __name__ == "__main__":
    gc.freeze()  # as in conftest.py
    folder, names = Path(sys.argv[1]), sys.argv[2].split(",")
    for name in names:
        objective = name.removeprefix(WEIGHTED)
        data = weighted_rows(64) if name != objective else None
        settings = {"max_steps": 4, "per_device_train_batch_size": 4}
        trainer = train(folder / name, objective, data=data, **settings)
        assert trainer.accelerator.num_processes == 2, "this has to run on two ranks"
        if trainer.is_world_process_zero():
            found = {
                "weights": weights(trainer),
                **{k: curve(trainer, k) for k in ("nll", "grad_norm")},
            }
            torch.save(found, folder / f"{name}.pt")
    leave_without_threads(trainer)
