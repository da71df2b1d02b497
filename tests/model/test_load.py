"""load_model on models built here, on every refusal, and on the five real ones."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from advisor.errors import InputError
from advisor.model.load import decoding_temperature, load_model, load_tokenizer

WORDS = ["<unk>", "</s>", "the", "cat", "sat"]


def llama_config(**changes) -> LlamaConfig:
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    return LlamaConfig(**{**sizes, "vocab_size": 8, "eos_token_id": 1, **changes})


def word_tokenizer(words=WORDS) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Llama with a padded head (8 rows, 5 tokens)."""
    torch.manual_seed(0)
    LlamaForCausalLM(llama_config()).save_pretrained(tmp_path / "tiny")
    word_tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, edit) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def refusal(name, **arguments) -> str:
    with pytest.raises(InputError) as caught:
        load_model(name, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_loads_what_was_saved(folder, capfd):
    loaded = load_model(str(folder), device="cpu")
    # Embedding 8x16, q k v o 4x16x16, three 16x32 projections, three norms of 16, head 8x16.
    assert loaded.parameters == 128 + 1024 + 1536 + 48 + 128
    assert (loaded.name, loaded.dtype, loaded.device) == (str(folder), "float32", "cpu")
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    stored = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert torch.equal(loaded.model.lm_head.weight, stored)
    assert loaded.tokenizer("the cat")["input_ids"] == [2, 3]
    assert capfd.readouterr() == ("", "")


def test_tiny_models_run_one_thread(folder):
    torch.set_num_threads(2)
    loaded = load_model(folder, device="cpu")
    assert torch.get_num_threads() == 1
    assert any("thread" in note for note in loaded.notes)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_small_models_are_float32_on_the_cpu(folder, stored):
    model = LlamaForCausalLM(llama_config()).to(stored)
    model.save_pretrained(folder)
    loaded = load_model(folder, device="cpu")
    assert loaded.dtype == "float32"
    assert torch.equal(loaded.model.lm_head.weight, model.lm_head.weight.float())


def test_large_models_keep_their_dtype(folder, monkeypatch):
    LlamaForCausalLM(llama_config()).bfloat16().save_pretrained(folder)
    monkeypatch.setattr("advisor.model.load.SMALL", 1)
    assert load_model(folder, device="cpu").dtype == "bfloat16"


def test_dtype_as_asked(folder):
    assert load_model(folder, device="cpu", dtype="bfloat16").dtype == "bfloat16"
    assert "--dtype int8" in refusal(folder, dtype="int8")


def test_device_refusals(folder):
    assert "--device nowhere" in refusal(folder, device="nowhere")
    assert "exclude each other" in refusal(folder, device="cpu", device_map="auto")
    assert "--device meta: not usable here" in refusal(folder, device="meta")


def test_device_map(folder):
    assert load_model(folder, device_map={"": "cpu"}).device == "cpu"


def test_fingerprint_is_over_weights_and_config(folder):
    files = [folder / "model.safetensors", folder / "config.json"]
    expected = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    assert load_model(folder).fingerprint == expected
    edit_weights(folder, lambda weights: weights["lm_head.weight"].add_(1))
    assert load_model(folder).fingerprint != expected


def test_kind_of_folders(folder):
    assert load_model(folder).kind == "unknown"
    edit_config(folder, _name_or_path="/models/Llama-3-8B-Instruct")
    assert load_model(folder).kind == "instruct"
    cached = folder.parent / "models--x--tiny-base" / "snapshots"
    cached.mkdir(parents=True)
    assert load_model(folder.rename(cached / "0a1b")).kind == "base"


def test_decoding_temperature():
    model = LlamaForCausalLM(llama_config())
    assert decoding_temperature(model)[0] == 0.0
    model.generation_config = GenerationConfig(do_sample=True)
    assert decoding_temperature(model)[0] == 1.0
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.6)
    assert decoding_temperature(model) == (0.6, "its generation config samples at temperature 0.6")
    model.generation_config = GenerationConfig(do_sample=False, temperature=0.6)
    assert decoding_temperature(model)[0] == 0.0


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ('{"do_sample": true, "top_k": 1, "temperature": 0.7}', 0.0),
        ('{"do_sample": true, "temperature": 10}', 10.0),
        (
            '{"do_sample": true, "temperature": "0.7"}',
            "temperature '0.7' is no number from 0 to 10",
        ),
        ('{"do_sample": true, "temperature": -1}', "temperature -1 is no number"),
        ('{"do_sample": true, "temperature": NaN}', "temperature nan is no number"),
        ('{"do_sample": true', "broken JSON"),
    ],
)
def test_decoding_temperature_of_a_file(folder, settings, found):
    (folder / "generation_config.json").write_text(settings)
    model = load_model(folder, device="cpu").model
    if isinstance(found, float):
        assert decoding_temperature(model)[0] == found
        return
    with pytest.raises(InputError, match=found) as caught:
        decoding_temperature(model)
    assert str(folder / "generation_config.json") in str(caught.value)
    assert "--temperature" in str(caught.value)


def test_missing_paths_name_the_neighbour(folder):
    assert str(folder) in refusal(folder.parent / "tinny")
    assert "no such folder" in refusal("./not/here/at/all")
    assert "is a file" in refusal(folder / "config.json")
    assert "File name too long" in refusal("x" * 300)


def test_unreachable_hub():
    assert "the hub is out of reach" in refusal("nobody/no-such-model")


def test_folders_that_are_no_model(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert "is an adapter" in refusal(folder)
    (folder / "adapter_config.json").unlink()
    assert "no config.json" in refusal(folder)


def test_broken_config(folder):
    (folder / "config.json").write_text("{")
    assert "config.json" in refusal(folder)
    (folder / "config.json").write_text('{"model_type": "unheard-of"}')
    assert "unheard-of" in refusal(folder)


@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_attention_heads": 7}, "not a multiple of the number of attention heads"),
        ({"num_attention_heads": 0}, "modulo by zero"),
        ({"hidden_size": "16"}, "'hidden_size' expected int, got str"),
        ({"hidden_act": "foo"}, "unknown value 'foo'"),
        ({"rope_scaling": {"type": "foo", "factor": 2.0}}, "unknown value 'foo'"),
        ({"dtype": "float99"}, "float99"),
        ({"architectures": 5}, "config.json"),
        ({"auto_map": 5}, "config.json"),
    ],
)
def test_wrong_values_in_the_config(folder, changes, reason, dtype):
    edit_config(folder, **changes)
    assert reason in refusal(folder, device="cpu", dtype=dtype)


def test_configs_that_are_no_settings(folder):
    for text in ("null", "[1]", '"a"'):
        (folder / "config.json").write_text(text)
        assert f"{folder}: its config.json holds no settings" in refusal(folder)


def test_a_recorded_name_that_is_no_text(folder):
    edit_config(folder, _name_or_path=5)
    assert load_model(folder, device="cpu").kind == "unknown"


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (
            lambda: BertForMaskedLM(
                BertConfig(
                    vocab_size=8,
                    hidden_size=8,
                    num_hidden_layers=1,
                    num_attention_heads=1,
                    intermediate_size=8,
                )
            ),
            "encoder-only",
        ),
        (
            lambda: T5ForConditionalGeneration(
                T5Config(vocab_size=8, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8)
            ),
            "encoder-decoder",
        ),
        (lambda: LlamaForSequenceClassification(llama_config()), "no language-model head"),
    ],
)
def test_models_that_predict_no_next_token(folder, model, word):
    model().save_pretrained(folder)
    assert word in refusal(folder)


def test_remote_code_is_refused(folder):
    edit_config(
        folder,
        model_type="homemade",
        auto_map={"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"},
    )
    assert "--trust_remote_code" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_implementation": "kernels-community/flash-attn2"},
        {"_attn_implementation": "somebody/kernel@v1:function"},
        {"attn_implementation": {"": "eager", "text_config": "somebody/kernel"}},
        {"experts_implementation": "somebody/experts"},
        {"use_kernels": True},
        {"kernel_config": {"RMSNorm": "somebody/norm:RMSNorm"}},
        {"text_config": {"attn_implementation": "somebody/kernel"}},
    ],
)
def test_kernels_of_the_hub_are_refused(folder, changes):
    edit_config(folder, **changes)
    told = refusal(folder)
    assert "code from the hub" in told and "--trust_remote_code" in told


@pytest.mark.parametrize("changes", [{"attn_implementation": "eager"}, {"use_kernels": False}])
def test_own_implementations_are_no_kernels(folder, changes):
    edit_config(folder, **changes)
    assert load_model(folder).model is not None


def test_no_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "no tokenizer (tokenizer.json" in refusal(folder)


def test_tokenizer_of_special_tokens_only(folder):
    word_tokenizer(WORDS[:2]).save_pretrained(folder)
    with pytest.raises(InputError, match="no tokenizer"):
        load_tokenizer(folder)


def test_broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer cannot be read" in refusal(folder)


def test_vocabulary_larger_than_the_head(folder):
    word_tokenizer([*WORDS, "on", "a", "mat", "dog"]).save_pretrained(folder)
    text = refusal(folder)
    assert "9 entries" in text
    assert "8 rows" in text


def test_added_token_without_a_row(folder):
    tokenizer = word_tokenizer([*WORDS, "on", "a", "mat"])
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(folder)
    assert "9 entries" in refusal(folder)


def test_image_placeholder_without_a_row_is_fine(folder):
    tokenizer = word_tokenizer([*WORDS, "on", "a", "mat"])
    tokenizer.add_tokens(["<image_soft_token>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    assert any("placeholder" in note for note in load_model(folder).notes)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "no weights" in refusal(folder)


def test_truncated_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "weights cannot be loaded" in refusal(folder)


def test_pickled_weights(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    text = refusal(folder)
    assert "pytorch_model.bin is pickled" in text
    assert "--allow_pickle" in text
    loaded = load_model(folder, device="cpu", allow_pickle=True)
    assert torch.equal(loaded.model.lm_head.weight, weights["lm_head.weight"])
    (folder / "pytorch_model.bin").rename(folder / "weights.pt")
    assert "only pytorch_model.bin" in refusal(folder, allow_pickle=True)


class Hostile:
    def __reduce__(self):
        return (Path("ran").touch, ())


def test_allowed_pickles_run_no_code(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Hostile()}, folder / "pytorch_model.bin")
    assert "more than tensors" in refusal(folder, allow_pickle=True)
    assert not Path("ran").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights(folder, value):
    key = "model.layers.0.self_attn.q_proj.weight"
    edit_weights(folder, lambda weights: weights[key].index_fill_(0, torch.tensor([3]), value))
    assert key in refusal(folder)


def test_missing_weights(folder):
    edit_weights(folder, lambda weights: weights.pop("model.norm.weight"))
    assert "lacks 1 of the model's tensors (first: model.norm.weight)" in refusal(folder)


def test_tied_head_is_not_missing(folder):
    LlamaForCausalLM(llama_config(tie_word_embeddings=True)).save_pretrained(folder)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert load_model(folder).parameters == 128 + 1024 + 1536 + 48


def test_mismatched_weights(folder):
    edit_config(folder, intermediate_size=64)
    text = refusal(folder)
    assert "mlp" in text
    assert "32" in text
    assert "64" in text


def test_unused_weights_are_noted(folder):
    edit_weights(folder, lambda weights: weights.update({"extra.weight": torch.ones(2)}))
    assert any("extra.weight" in note for note in load_model(folder).notes)


@pytest.mark.parametrize(
    ("name", "parameters", "vocabulary"),
    [
        ("tinystories-260k", 260_032, 512),
        ("tinystories-279k-early", 279_232, 512),
        ("tinystories-char-936k", 936_448, 105),
        ("tinystories-bytechar-969k", 969_216, 361),
        ("rwkv4-byte-661k", 661_504, 256),
    ],
)
def test_real_models(shared, name, parameters, vocabulary):
    loaded = load_model(shared / "models" / name, device="cpu")
    assert loaded.parameters == parameters
    assert len(loaded.tokenizer) == vocabulary
    assert decoding_temperature(loaded.model)[0] == 0.0
