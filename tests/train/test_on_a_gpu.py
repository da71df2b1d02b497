"""What only a GPU can show: `pytest -m gpu`. With ADVISOR_REHEARSE=1 it is tried out on the CPU."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.data.dataset import SFTDataset, load_dataset
from advisor.model.forward import extend_forward, find_head
from advisor.model.load import LoadedModel, load_model
from advisor.objectives.table import get_objective
from advisor.prior.probe import Probe
from harness.evaluate.lm_eval import evaluate
from harness.experiments.bench import step
from harness.experiments.bench.measure import Conditions
from harness.generate.hinted import Mixing, hinted_answers
from harness.generate.rewrite_settings import Sampling
from harness.ladder import resolve
from harness.runtime.memory import largest_that_fits
from harness.train.packed_documents import fits, kernel
from harness.train.sft import build_trainer
from tests.helpers import distilling
from tests.helpers.tiny import tiny_model
from tests.helpers.training import config

pytestmark = pytest.mark.gpu


def strong(device: str, dtype: str) -> tuple[LoadedModel, SFTDataset]:
    folder, rows = resolve("strong")
    loaded = load_model(folder, device=device, dtype=dtype)
    return loaded, load_dataset(rows, loaded.tokenizer)


def log_p(device: str, dtype: str) -> torch.Tensor:
    """Of the targets of the first 64 examples, in their order."""
    loaded, dataset = strong(device, dtype)
    examples = [dataset[i] for i in range(64)]
    found = {id(s.example): s.log_p for batch in Probe(loaded).score(examples) for s in batch}
    return torch.cat([torch.from_numpy(found[id(example)]) for example in examples])


def test_the_probe_in_bfloat16_is_that_in_float32(gpu_device: str) -> None:
    exact = log_p("cpu", "float32")
    single = (log_p(gpu_device, "float32") - exact).abs()
    half = (log_p(gpu_device, "bfloat16") - exact).abs()
    assert single.max() < 1e-3
    assert half.mean() < 0.05


def test_packed_and_padded_steps_have_the_gradients_of_float64(gpu_device: str) -> None:
    clock = "cuda" if gpu_device == "cuda" else "wall"
    conditions = Conditions(device=gpu_device, clock=clock, rounds=1, peers=False, memory=False)
    record = step.run_case("bfloat16", conditions, lambda line: None, tiny=True)
    assert {"ours padded", "ours packed"} <= record["variants"].keys()


def test_one_call_over_all_documents_is_there(gpu_device: str) -> None:
    if gpu_device == "cpu":
        pytest.skip("PyTorch has it on a GPU alone")
    states = torch.zeros(1, 2, 16, 64, dtype=torch.bfloat16, device=gpu_device)
    assert kernel() is not None and fits(states, states, dropout=0.0)


def test_three_steps_under_autocast_and_checkpointing(gpu_device: str, tmp_path: Path) -> None:
    """The model comes out in its own dtype, finite, and with a head that reproduces its logits."""
    loaded, dataset = strong(gpu_device, "bfloat16")
    settings: dict[str, Any] = {
        "max_steps": 3, "bf16": True, "gradient_checkpointing": True, "use_cpu": gpu_device == "cpu",
        "learning_rate": 1e-4, "padding_free": True,
    }  # fmt: skip
    trainer = build_trainer(
        replace(loaded, dtype_chosen=True),
        dataset,
        get_objective("dft"),
        config(tmp_path, **settings),
    )
    trainer.train()
    trained: Any = trainer.model.eval()
    assert trainer.state.global_step == 3 and trainer.masters
    assert {w.dtype for w in trained.parameters()} == {torch.bfloat16}
    assert find_head(trained) is not None


def test_a_tied_head_in_bfloat16(gpu_device: str) -> None:
    """One weight is embedding and head: its gradient is the sum of both, near that of float64."""
    gradients = []
    ids = torch.arange(3, 13, device=gpu_device)[None]
    for dtype in (torch.float64, torch.bfloat16):
        model = tiny_model(tie_word_embeddings=True, initializer_range=0.3).bfloat16().to(dtype)
        model = model.to(gpu_device)
        extend_forward(model)
        inputs = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
        model(**inputs, objective_head=get_objective("dft")).loss.backward()
        gradients.append(model.get_input_embeddings().weight.grad.double())
    exact, found = gradients
    assert (found - exact).norm() < 0.05 * exact.norm()


def test_two_on_policy_steps(gpu_device: str, tmp_path: Path) -> None:
    cpu = gpu_device == "cpu"
    trainer = distilling.run(tmp_path, use_cpu=cpu, bf16=not cpu)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and torch.tensor(losses).isfinite().all()


def test_hinted_decoding_gives_the_tokens_of_the_cpu(gpu_device: str) -> None:
    answers = []
    for device in ("cpu", gpu_device):
        loaded = distilling.loaded(tiny_model(initializer_range=0.5).to(device))
        found = hinted_answers(
            replace(loaded, device=device),
            [[3, 4, 5, 6], [7, 8]],
            [[3, 4], [7]],
            torch.rand(2, 12, generator=torch.Generator().manual_seed(0)),
            Sampling(temperature=0.0, top_p=1.0),
            Mixing(splitter="never"),
        )
        answers.append([answer.tokens for answer in found])
    assert answers[0] == answers[1]


def test_an_lm_eval_score_is_that_of_the_cpu(gpu_device: str) -> None:
    means = []
    for device in ("cpu", gpu_device):
        loaded, _ = strong(device, "float32")
        (score,) = evaluate(
            loaded.model, loaded.tokenizer, ["ladder_chain"], temperature=0.0, limit=40
        )
        means.append(score.mean)
    assert means[0] == pytest.approx(means[1], abs=0.051)  # two answers of 40 may tip over


def test_batches_get_smaller_until_they_fit(gpu_device: str) -> None:
    if gpu_device == "cpu":
        pytest.skip("the memory of a GPU is bounded")
    whole = torch.cuda.get_device_properties(0).total_memory
    used = torch.cuda.memory_reserved()
    room = 2**30
    torch.cuda.set_per_process_memory_fraction((used + room) / whole)
    try:
        size = largest_that_fits(
            lambda n: len(torch.empty(n, 2**27, dtype=torch.uint8, device="cuda")), 24, "blocks"
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert size in (6, 8)  # of 128 MiB each, in about 1 GiB
