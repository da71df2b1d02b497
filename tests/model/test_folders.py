"""Folders given as MODEL that hold something else, or a part: named, with the way to a model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from advisor.errors import InputError
from advisor.model.load import load_model


def move_to_checkpoints(folder: Path) -> None:
    """What `--output_dir` holds before a training has ended."""
    for step in (90, 100):
        shutil.copytree(folder, folder.parent / "kept", dirs_exist_ok=True)
        (folder / f"checkpoint-{step}").mkdir()
        shutil.copy(folder.parent / "kept" / "config.json", folder / f"checkpoint-{step}")
    (folder / "config.json").unlink()


def leave_optimiser(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (folder / name).write_bytes(b"x")


def leave_shards(folder: Path) -> None:
    leave_optimiser(folder)
    (folder / "global_step500").mkdir()


def leave_fsdp(folder: Path) -> None:
    leave_optimiser(folder)
    (folder / "pytorch_model_fsdp_0").mkdir()


def weights_in_a_folder(folder: Path) -> None:
    (folder / "checkpoint-7").mkdir()
    (folder / "model.safetensors").rename(folder / "checkpoint-7" / "model.safetensors")


def lose_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {"weight_map": {"lm_head.weight": files[0], "model.norm.weight": files[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def keep_the_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")


def point_to_weights(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99000\n"
    (folder / "model.safetensors").write_text(text)


def be_an_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def add_an_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def be_data(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "train.jsonl.gz").write_bytes(b"x")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (move_to_checkpoints, r"holds checkpoint-90, checkpoint-100: give .*checkpoint-100"),
        (leave_optimiser, r"no weights: there is no \*.safetensors file in it$"),
        (leave_shards, "DeepSpeed's shards: run its zero_to_fp32.py"),
        (leave_fsdp, "FSDP's shards: run accelerate merge-weights"),
        (weights_in_a_folder, "its folder checkpoint-7 has some"),
        (lose_a_shard, r"lacks 1 of the 2 weight files .*first: model-00002-of-00002"),
        (keep_the_index, "only its index"),
        (point_to_weights, r"Git LFS's pointer to one of 99,000 bytes"),
        (
            be_an_adapter,
            "is an adapter, not a model: merge it into its base first.*merge_and_unload",
        ),
        (add_an_adapter, "an adapter beside a config.json"),
        (be_data, "it holds data files, and the command takes MODEL DATASET"),
    ],
)
def test_folders_that_are_no_whole_model(
    model_folder: Path, tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    change(folder)
    with pytest.raises(InputError, match=reason) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
