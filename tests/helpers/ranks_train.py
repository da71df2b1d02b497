"""Run by torchrun: trains on several CPU ranks and saves what rank 0 ends with."""

import gc
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests.helpers.processes import RANKS, leave_without_threads
from tests.helpers.training import SHARDED, WEIGHTED, build, curve, weighted_rows


def shard(model: Any) -> None:
    """Spread the weights of a model over the ranks by FSDP2, each layer and the rest apart."""
    mesh = init_device_mesh("cpu", (RANKS,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def trained(folder: Path, name: str) -> Any:
    """A trainer that has trained; accelerate shards on GPUs alone, so that here it leaves the model be."""
    plain = name.removeprefix(SHARDED)
    objective = plain.removeprefix(WEIGHTED)
    data = weighted_rows(64) if plain != objective else None
    settings = {"max_steps": 4, "per_device_train_batch_size": 8 // RANKS}
    trainer = build(folder / name, objective, data=data, **settings)
    assert trainer.accelerator.num_processes == RANKS, f"this has to run on {RANKS} ranks"
    if plain != name:
        shard(trainer.model)
        trainer.accelerator.prepare_model = lambda model, **rest: model
    trainer.train()
    return trainer


def weights(trainer: Any) -> torch.Tensor:
    """All of them, gathered from the ranks where they are spread."""
    found = [parameter.detach() for parameter in trainer.model.parameters()]
    whole = [one.full_tensor() if isinstance(one, DTensor) else one for one in found]
    return torch.cat([one.flatten() for one in whole])


if __name__ == "__main__":
    gc.freeze()  # as in conftest.py
    folder, names = Path(sys.argv[1]), sys.argv[2].split(",")
    for name in names:
        trainer = trained(folder, name)
        found = {"weights": weights(trainer), "nll": curve(trainer, "nll")}
        if trainer.is_world_process_zero():
            torch.save({**found, "grad_norm": curve(trainer, "grad_norm")}, folder / f"{name}.pt")
    if names[-1] == names[-1].removeprefix(SHARDED):
        leave_without_threads(trainer)
    else:  # a mesh keeps the group and its threads, and a process that ends with them is sometimes aborted
        torch.distributed.barrier()
        sys.stdout.flush()
        os._exit(0)
