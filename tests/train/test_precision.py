"""In which precision a model is trained, and that it comes out as it went in."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from trl import SFTConfig

from advisor.data.dataset import load_dataset
from advisor.model.forward import find_head
from advisor.model.load import LoadedModel, load_model
from advisor.objectives.table import get_objective
from harness.train.looks import LooksAt
from harness.train.precision import float_masters
from harness.train.sft import build_trainer
from harness.train.trl_settings import configured
from tests.helpers.tiny import tiny_model, tiny_tokenizer
from tests.helpers.training import build, config

IDS = torch.tensor([[3, 4, 5, 6, 7, 8, 9, 10]])
SLOW = 1e-5
"""A learning rate whose updates are nearly all below the resolution of bfloat16."""


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def in_float32(model: Any) -> torch.Tensor:
    """The same from a fresh model with these weights."""
    fresh = tiny_model()
    fresh.load_state_dict(model.state_dict())
    return logits(fresh)


def test_a_model_that_trained_under_autocast_is_scored_without(tmp_path: Path) -> None:
    seen: list[float] = []

    def look(share: float, model: Any) -> None:
        seen.append(float((logits(model) - in_float32(model)).abs().max()))

    trainer = build(tmp_path, "dft", bf16=True, max_steps=4, learning_rate=1e-3)
    trainer.add_callback(LooksAt((1 / 2,), look))
    trainer.train()
    trained: Any = trainer.model.eval()
    assert torch.equal(logits(trained), in_float32(trained))
    assert seen == [0.0]
    assert find_head(trained) is not None
    loss = trained(input_ids=IDS, labels=IDS, objective_head=get_objective("nll")).loss
    assert torch.isfinite(loss)  # it still takes objectives
    before = logits(trained)
    trainer.train()  # a second one is under autocast again, and comes out as the first
    assert not torch.equal(logits(trained.eval()), before)
    assert torch.equal(logits(trained), in_float32(trained))


def test_it_is_so_where_a_training_breaks_off(tmp_path: Path) -> None:
    def stop(share: float, model: Any) -> None:
        raise KeyboardInterrupt

    trainer = build(tmp_path, "nll", bf16=True, max_steps=4)
    trainer.add_callback(LooksAt((1 / 4,), stop))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trained: Any = trainer.model.eval()
    assert torch.equal(logits(trained), in_float32(trained))


@pytest.fixture
def rows(write: Any) -> Path:
    made = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6])} for i in range(16)]
    path: Path = write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in made))
    return path


def in_bfloat16(folder: Path, *, chosen: bool) -> LoadedModel:
    return replace(load_model(folder, device="cpu", dtype="bfloat16"), dtype_chosen=chosen)


def trained(loaded: LoadedModel, rows: Path, folder: Path) -> Any:
    trainer = build_trainer(
        loaded,
        load_dataset(rows, loaded.tokenizer),
        get_objective("nll"),
        config(folder, learning_rate=SLOW, max_steps=12, lr_scheduler_type="constant"),
    )
    trainer.train()
    return trainer


def weights(model: Any) -> torch.Tensor:
    return torch.cat([w.detach().flatten() for w in model.parameters()])


def test_weights_of_16_bits_that_we_chose_are_trained_in_float32(
    model_folder: Path, rows: Path, tmp_path: Path
) -> None:
    floats = in_bfloat16(model_folder, chosen=False)
    floats.model.float()
    exact = weights(trained(floats, rows, tmp_path / "floats").model)
    trainer = trained(in_bfloat16(model_folder, chosen=True), rows, tmp_path / "chosen")
    assert torch.equal(weights(trainer.model), exact.bfloat16())  # as if rounded once, at the end
    assert set(trainer.masters.values()) == {torch.bfloat16}


def test_a_dtype_that_was_asked_for_is_kept(model_folder: Path, rows: Path, tmp_path: Path) -> None:
    before = weights(in_bfloat16(model_folder, chosen=False).model)
    trainer = trained(in_bfloat16(model_folder, chosen=False), rows, tmp_path)
    after = weights(trainer.model)
    assert not trainer.masters and after.dtype == torch.bfloat16
    share = float((after != before).float().mean())
    assert share < 0.2  # the loss of updates that masters are for


def test_whole_layers_beside_an_adapter_are_trained_in_float32(
    model_folder: Path, rows: Path, tmp_path: Path
) -> None:
    """Breaks where `--lora_modules_to_save`, which PEFT copies in 16 bits, loses its small updates."""
    loaded = in_bfloat16(model_folder, chosen=True)
    adapter = LoraConfig(
        target_modules="all-linear", modules_to_save=["lm_head"], task_type="CAUSAL_LM"
    )
    trainer = build_trainer(
        loaded, load_dataset(rows, loaded.tokenizer), get_objective("nll"),
        config(tmp_path, learning_rate=SLOW, max_steps=2, bf16=True), peft_config=adapter,
    )  # fmt: skip
    model: Any = trainer.model
    assert {w.dtype for w in model.parameters() if w.requires_grad} == {torch.float32}
    trainer.train()
    kept = {name: w.dtype for name, w in model.named_parameters() if "modules_to_save" in name}
    assert list(kept.values()) == [torch.bfloat16]


def test_an_adapter_has_no_use_for_masters(model_folder: Path) -> None:
    loaded = in_bfloat16(model_folder, chosen=True)
    assert not float_masters(loaded, LoraConfig())
    assert loaded.model.dtype == torch.bfloat16


def test_auto_says_that_it_chose(model_folder: Path) -> None:
    assert load_model(model_folder, device="cpu").dtype_chosen
    assert not load_model(model_folder, device="cpu", dtype="bfloat16").dtype_chosen
    model = tiny_model()
    assert not load_model(model, tokenizer=tiny_tokenizer()).dtype_chosen


def test_one_process_trains_on_one_gpu(tmp_path: Path) -> None:
    class OnTwo(SFTConfig):
        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = 2

    fixed = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none"}
    assert configured(fixed, OnTwo)[0].n_gpu == 1


def test_a_model_on_the_cpu_is_trained_there_beside_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = configured({"output_dir": str(tmp_path), "report_to": "none"}, device="cpu")[0]
    assert chosen.use_cpu and not chosen.bf16 and chosen.device.type == "cpu"
