"""What tiny models hide, on SmolLM2-135M-Instruct: its chat template, 49,152 entries, a tied head."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from advisor.model.load import load_model
from harness.cli.main import main
from harness.experiments.real import fetch
from harness.experiments.real.cells import demonstrated
from tests.helpers.paths import ROOT

MODEL = ROOT / "outputs" / "smollm2"
pytestmark = pytest.mark.skipif(
    not (MODEL / "config.json").exists(), reason="no outputs/smollm2: `make real` fetches it"
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Chats whose answers are fields of a sentence."""
    path = tmp_path / "fields.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in demonstrated("fields", 40)))
    return path


def test_it_answers_its_guards() -> None:
    loaded = load_model(MODEL, dtype="float32", device="cpu")
    assert fetch.answer(loaded, fetch.QUESTION) == "The capital of France is Paris."


@pytest.mark.slow
def test_the_prior_is_of_answers_and_of_ends_of_turns(rows: Path, capsys: Any) -> None:
    """Protects the chat template on a real tokenizer: what is a target, and what ends a turn."""
    assert (
        main(["recommend", str(MODEL), str(rows), "--exact", "--temperature", "0", "--json"]) == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert answer["prior"]["p_eos"] < 0.1 < answer["prior"]["mean_p"] < 0.6
    assert answer["prior"]["model"]["kind"] == "instruct"


@pytest.mark.slow
def test_accumulation_does_not_change_the_update(rows: Path, tmp_path: Path) -> None:
    """Protects a tied head of 49,152 entries: two micro-batches of two make the step of one of four."""
    weights = []
    for number, (size, parts) in enumerate([(4, 1), (2, 2)]):
        folder = tmp_path / str(number)
        words = [
            "--objective", "cadft", "--learning_rate", "1e-4", "--max_steps", "2", "--optim", "sgd",
            "--per_device_train_batch_size", str(size), "--gradient_accumulation_steps", str(parts),
            "--save_strategy", "no", "--report_to", "none", "--device", "cpu",
        ]  # fmt: skip
        assert main(["train", str(MODEL), str(rows), "--output_dir", str(folder), *words]) == 0
        weights.append(load_file(folder / "model.safetensors"))
    whole, parts_of_it = weights
    before = load_file(MODEL / "model.safetensors")
    moved = max(float((whole[name] - before[name]).abs().max()) for name in whole)
    apart = max(float((whole[name] - parts_of_it[name]).abs().max()) for name in whole)
    assert moved > 0 and apart < 1e-3 * moved
    assert all(torch.isfinite(one).all() for one in whole.values())
