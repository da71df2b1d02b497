"""Weights that are spread over ranks: what is seen of them here, and the way to spread that is refused."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import DeepSpeedPlugin, ParallelismConfig
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from advisor.errors import InputError, TrainingDiverged
from advisor.objectives.table import get_objective
from harness.train.objective_trainer import ObjectiveTrainer
from harness.train.resolution import WatchResolution
from harness.train.shards import refuse_split_rows, refuse_zero3
from tests.helpers.tiny import tiny_model
from tests.helpers.training import build, config


@pytest.fixture
def ranks() -> Iterator[Any]:
    """A mesh of one rank: FSDP2's weights are those of several, and this process has all of them."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def reduced(tensor: torch.Tensor, reduction: str) -> torch.Tensor:
    """As accelerate's of several ranks."""
    distributed.all_reduce(tensor)
    return tensor


def test_spread_weights_are_seen_to_be_finite(tmp_path: Path, ranks: Any) -> None:
    """All ranks look at their own parts: a training with FSDP2 ended in a traceback instead."""
    trainer: Any = build(tmp_path, "dft")
    trainer.accelerator = SimpleNamespace(reduce=reduced)
    fully_shard(trainer.model, mesh=ranks)
    trainer.require_finite()
    with torch.no_grad():
        trainer.model.lm_head.weight.to_local()[0, 0] = torch.nan
    with pytest.raises(TrainingDiverged, match="a weight is not a finite number"):
        trainer.require_finite()


def test_spread_weights_of_16_bits_are_watched(ranks: Any) -> None:
    model, watch = tiny_model().bfloat16().train(), WatchResolution()
    fully_shard(model, mesh=ranks)
    watch.on_train_begin(None, None, None, model=model)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    watch.on_pre_optimizer_step(None, None, None)
    assert watch.share() == 1.0
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    assert watch.share() == 0.0


def sharded(folder: Path, stage: int) -> Any:
    """A trainer's arguments as they are where a stage was chosen."""
    arguments = config(folder)
    settings = {"zero_optimization": {"stage": stage}, "train_micro_batch_size_per_gpu": 1}
    arguments.deepspeed_plugin = DeepSpeedPlugin(hf_ds_config=settings)
    return arguments


def test_weights_that_deepspeed_shards_are_refused(tmp_path: Path) -> None:
    """Before the trainer is built, which takes DeepSpeed and the model's place in memory."""
    arguments = sharded(tmp_path, 3)
    with pytest.raises(InputError, match=r"ZeRO-3 .* train with DDP or FSDP") as refusal:
        ObjectiveTrainer(objective=get_objective("dft"), model=tiny_model(), args=arguments)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["cp", "sp", "tp"])
def test_sequences_and_layers_that_are_split_over_ranks_are_refused(name: str) -> None:
    split = SimpleNamespace(parallelism_config=SimpleNamespace(**{f"{name}_size": 2}))
    with pytest.raises(InputError, match=rf"parallelism \({name}_size\) .* train with DDP or FSDP"):
        refuse_split_rows(split)
    refuse_split_rows(SimpleNamespace(parallelism_config=ParallelismConfig(dp_replicate_size=2)))
    refuse_split_rows(None)


def test_other_stages_and_none_are_not(tmp_path: Path) -> None:
    refuse_zero3(sharded(tmp_path, 2))
    refuse_zero3(config(tmp_path))
    refuse_zero3(None)
