"""Prompts read apart: the answers are those of prompts read in one batch."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig

from advisor.model.load import LoadedModel
from harness.generate import hinted
from harness.generate.decoding import padded
from harness.generate.hinted import Mixing, Sampling, hinted_answers
from harness.generate.read_apart import ROOM, RoomyLayer, read_apart
from tests.helpers.tiny import WORDS, tiny_model, tiny_tokenizer

PLAIN = [[1, 4, 5], [1, 9], [1, 6, 7, 8, 3]]
HINTED = [[1, *range(4, 14)] * 4, [1, 9, 3, 3], [1, 6, 7, 8, 3, 4]]


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=128, initializer_range=0.5,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


def mistral() -> Any:
    """With a window of attention that is shorter than the prompts."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, sliding_window=8, initializer_range=0.5,
        eos_token_id=None,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


def llama() -> Any:
    model = tiny_model(initializer_range=0.5, max_position_embeddings=1024)
    model.generation_config.eos_token_id = None
    return model


@pytest.mark.parametrize("make", [llama, gpt2, mistral])
def test_answers_are_those_of_one_batch(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = LoadedModel(
        model=make(), tokenizer=tiny_tokenizer(pad_token="<pad>"), name="tiny", fingerprint="",
        parameters=0, dtype="float32", device="cpu", kind="base", notes=(),
    )  # fmt: skip
    drawn = torch.rand(3, ROOM + 8, generator=torch.Generator().manual_seed(1))
    given = (HINTED, PLAIN, drawn, Sampling(temperature=0.8), Mixing(splitter="f", beta=1.5))
    apart = hinted_answers(loaded, *given)
    monkeypatch.setattr(hinted, "read_apart", lambda *_: None)
    together = hinted_answers(loaded, *given)
    assert [answer.tokens for answer in apart] == [answer.tokens for answer in together]
    shares = [answer.own_share for answer in together]
    assert [answer.own_share for answer in apart] == pytest.approx(shares, abs=1e-5)
    assert max(len(answer.tokens) for answer in apart) > ROOM


def test_each_stream_is_read_at_its_own_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shapes = llama(), []

    def note(_: Any, args: Any, kwargs: Any) -> None:
        shapes.append(tuple(kwargs["input_ids"].shape))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    cache = read_apart(model, [HINTED, PLAIN], 0)
    hook.remove()
    assert shapes == [(3, 43), (3, 4)]
    assert cache is not None and cache.get_seq_length() == 43
    inputs = padded(HINTED + PLAIN, 0, model.device)
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    whole: Any = model(inputs["input_ids"], mask, position_ids=positions, use_cache=True)
    seen = mask[:, :-1].bool()
    for ours, theirs in zip(cache.layers, whole.past_key_values.layers, strict=True):
        for one, other in ((ours.keys, theirs.keys), (ours.values, theirs.values)):
            kept = one.transpose(1, 2)[seen]
            assert torch.allclose(kept, other[..., :-1, :].transpose(1, 2)[seen], atol=1e-5)


def test_models_with_other_caches_and_prompts_of_one_token_are_left_to_generate() -> None:
    assert read_apart(mistral(), [HINTED, PLAIN], 0) is None
    assert read_apart(llama(), [HINTED, [[1], [1, 2], [1, 2]]], 0) is None


def test_layer_grows_and_keeps_what_it_holds() -> None:
    states = torch.rand(2, 3, 5, 4)
    layer = RoomyLayer(states, 2 * states)
    new = torch.rand(2, 3, 2 * ROOM + 1, 4)
    keys, values = layer.update(new, -new)
    assert (
        torch.equal(keys, torch.cat([states, new], 2))
        and layer.get_seq_length() == 5 + 2 * ROOM + 1
    )
    assert torch.equal(values, torch.cat([2 * states, -new], 2))
