"""Attention within documents: packed rows give what each document gives alone; nothing else changes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen3Config,
)

from harness.train import packed_attention as attention

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
DOCUMENTS = ((5, 9, 3, 7, 1), (2,), (8, 8, 4, 6, 10, 11, 12))


def make(config: object) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


def packed(model: PreTrainedModel) -> torch.Tensor:
    ids = torch.tensor([[token for document in DOCUMENTS for token in document]])
    positions = torch.tensor([[i for document in DOCUMENTS for i in range(len(document))]])
    logits: torch.Tensor = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    return logits[0]


def alone(model: PreTrainedModel) -> torch.Tensor:
    return torch.cat([model(input_ids=torch.tensor([d])).logits[0] for d in DOCUMENTS])


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen3Config])
def test_packed_documents_are_as_alone_without_a_mask(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(kind(**SIZES))
    expected = alone(model)
    assert attention.attend_within_documents(model)
    seen = []
    original = attention.sdpa_attention_forward

    def watched(module, query, key, value, attention_mask, **kwargs):  # type: ignore[no-untyped-def]
        seen.append((query.shape[2], attention_mask))
        return original(module, query, key, value, attention_mask, **kwargs)

    monkeypatch.setattr(attention, "sdpa_attention_forward", watched)
    torch.testing.assert_close(packed(model), expected, atol=1e-5, rtol=1e-5)
    assert seen == [(5, None), (1, None), (7, None)] * 2  # once a document and layer


def test_under_autocast_the_kernel_is_offered_what_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Breaks where masters in float32 rotate queries and keys into float32, which the kernel refuses."""
    model, seen = make(LlamaConfig(**SIZES)), []
    assert attention.attend_within_documents(model)
    monkeypatch.setattr(attention, "kernel", lambda: object())

    def fits(query: torch.Tensor, value: torch.Tensor, *, dropout: float) -> bool:
        seen.append((query.dtype, value.dtype))
        return False

    monkeypatch.setattr(attention, "fits", fits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        packed(model)
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)}


def test_gradients_are_those_of_the_dense_mask() -> None:
    gradients = []
    for within in (False, True):
        model = make(LlamaConfig(**SIZES))
        assert not within or attention.attend_within_documents(model)
        packed(model).log_softmax(-1)[:, 3].sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_padded_batches_and_generation_stay_as_they_were() -> None:
    model = make(LlamaConfig(**SIZES))
    ids = torch.tensor([[0, 0, 5, 9, 3], [7, 1, 2, 8, 8]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])

    def outputs() -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        told = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=5)
        return logits, told

    before = outputs()
    assert attention.attend_within_documents(model)
    after = outputs()
    torch.testing.assert_close(before[0], after[0])
    assert before[1].tolist() == after[1].tolist()


def test_a_sliding_window_keeps_its_mask() -> None:
    model = make(MistralConfig(**SIZES, sliding_window=3))
    expected = alone(model)
    attention.attend_within_documents(model)
    torch.testing.assert_close(packed(model), expected, atol=1e-5, rtol=1e-5)


def test_another_architecture_is_as_it_was() -> None:
    model = make(GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4))
    expected = packed(model)
    assert attention.attend_within_documents(model)
    torch.testing.assert_close(packed(model), expected, atol=1e-5, rtol=1e-5)


def without_positions(attend: Callable[..., Any]) -> Callable[..., Any]:
    """The attention of an architecture that does not hand the positions on."""
    return lambda *args, position_ids=None, **more: attend(*args, **more)


def test_a_model_that_hides_positions_from_its_attention_keeps_its_own() -> None:
    model = make(LlamaConfig(**SIZES))
    expected = alone(model)
    for layer in model.model.layers:
        layer.self_attn.forward = without_positions(layer.self_attn.forward)
    assert not attention.attend_within_documents(model)
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(packed(model), expected, atol=1e-5, rtol=1e-5)


def test_eager_attention_is_left_alone() -> None:
    model = make(LlamaConfig(**SIZES, attn_implementation="eager"))
    assert not attention.attend_within_documents(model)
    assert model.config._attn_implementation == "eager"
