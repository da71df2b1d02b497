"""A model in memory: the facts and refusals of a loaded one, and nothing changed in it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from advisor.model.load import context_length, decoding_temperature, load_model
from tests.helpers.tiny import WORDS, tiny_model, tiny_tokenizer

TINY = LlamaConfig(
    vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=64,
)  # fmt: skip


def test_facts_are_those_of_the_folder_it_came_from(model_folder: Path) -> None:
    by_path = load_model(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    loaded = load_model(model, tokenizer=by_path.tokenizer)
    for fact in ("name", "parameters", "dtype", "device", "kind", "context_length"):
        assert getattr(loaded, fact) == getattr(by_path, fact), fact
    assert loaded.context_length == context_length(model_folder) == 64
    assert loaded.model is model and not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert loaded.notes[0] == "A model in memory, on cpu."


def test_a_model_from_nowhere_is_called_by_its_class(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generation_config.json").write_text("{")  # another model's
    monkeypatch.setattr("huggingface_hub.model_info", lambda *_, **__: pytest.fail("asks the hub"))
    monkeypatch.setattr("advisor.hub.get_session", lambda: pytest.fail("asks the hub"))
    loaded = load_model(tiny_model(), tokenizer=tiny_tokenizer())
    assert loaded.name == "LlamaForCausalLM" and loaded.kind == "unknown"
    assert decoding_temperature(loaded.model)[0] == 0


def test_the_fingerprint_is_of_the_weights_as_they_are() -> None:
    def mark(model: Any) -> str:
        return load_model(model, tokenizer=tiny_tokenizer()).fingerprint

    model = tiny_model()
    before = mark(model)
    assert len(before) == 16 and before == mark(tiny_model()) == mark(model)
    with torch.no_grad():
        model.model.norm.weight[-1] += 1e-3
    assert mark(model) != before
    assert mark(tiny_model().bfloat16()) != before
    assert mark(tiny_model(rope_parameters={"rope_type": "default", "rope_theta": 5e5})) != before


def test_large_weights_are_fingerprinted_by_both_ends(monkeypatch: Any) -> None:
    monkeypatch.setattr("advisor.model.checkpoint.WHOLE_HASH", 1)
    monkeypatch.setattr("advisor.model.checkpoint.SAMPLE", 8)
    model = tiny_model()
    loaded = load_model(model, tokenizer=tiny_tokenizer())
    assert loaded.notes[-1] == "Over 2 GB of weights: fingerprinted by both ends of each tensor."
    with torch.no_grad():
        model.model.norm.weight[-1] += 1
    assert load_model(model, tokenizer=tiny_tokenizer()).fingerprint != loaded.fingerprint


def test_rows_are_told_apart_once(model_folder: Path) -> None:
    settings = {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}
    model = tiny_model(**settings)
    for _ in range(2):
        loaded = load_model(model, tokenizer=tiny_tokenizer())
        assert any("rotary" in note for note in loaded.notes)
        assert len(model.model.rotary_emb._forward_hooks) == 1


def broken() -> Any:
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[3, 2] = float("nan")
    return model


def adapted() -> Any:
    """The user's own model after PEFT has wrapped it: the layers are exchanged in place."""
    model = tiny_model()
    get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    return model


class Adapter:
    merge_and_unload = None


BERT = BertConfig(
    vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=16,
)  # fmt: skip
T5 = T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
REFUSED: list[tuple[Any, str]] = [
    (lambda: LlamaModel(TINY), "LlamaModel has no language-model head"),
    (lambda: LlamaForSequenceClassification(TINY), "has no language-model head"),
    (lambda: BertForMaskedLM(BERT), "bert is encoder-only"),
    (lambda: T5ForConditionalGeneration(T5), "t5 is an encoder-decoder"),
    (broken, r"hold NaN or infinity \(first: lm_head.weight\)"),
    (lambda: tiny_model(vocab_size=9), "tokenizer has 16 entries and the model's head 9 rows"),
    (adapted, r"an adapter in its layers \(first: model.layers.0.self_attn.q_proj\)"),
    (Adapter, "carries an adapter: give model.merge_and_unload"),
    (lambda: torch.nn.Linear(2, 2), "MODEL is of type Linear: give a folder, a hub id"),
    (lambda: None, "MODEL is of type NoneType"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_refused_models(make: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        load_model(make(), tokenizer=tiny_tokenizer())
    assert "\n" not in str(caught.value)


def test_refused_tokenizers_and_settings(model_folder: Path) -> None:
    model = tiny_model()
    with pytest.raises(InputError, match=r"needs its tokenizer: give \(model, tokenizer\)"):
        load_model(model)
    with pytest.raises(InputError, match="the tokenizer is of type str"):
        load_model(model, tokenizer="gpt2")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="in memory already"):
        load_model(model, tokenizer=tiny_tokenizer(), dtype="bfloat16")
    with pytest.raises(InputError, match="beside a path, which brings its own"):
        load_model(model_folder, tokenizer=tiny_tokenizer())


def test_a_dataset_takes_the_context_of_a_loaded_model(model_folder: Path) -> None:
    loaded = load_model(model_folder)
    rows = [{"prompt": "a b", "completion": "c d " * 100}]
    assert load_dataset(rows, loaded).info.max_length == 64
    assert load_dataset(rows, loaded, context_length=32).info.max_length == 32
    assert load_dataset(rows, loaded.tokenizer).info.max_length == 2048
    with pytest.raises(InputError, match="the tokenizer is of type str: give what load_model gave"):
        load_dataset(rows, "gpt2")  # type: ignore[arg-type]
