"""GGUF files as MODEL: the same model as in safetensors, and one clear line for what cannot be used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advisor.errors import InputError
from advisor.model.load import context_length, load_model, load_tokenizer
from harness.cli.main import main
from tests.helpers.tiny import tiny_model

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")

LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
TOKENS = ["<pad>", "<s>", "</s>", *LETTERS, "Ġ", ":", "Ċ", "ab", "U", "A"]
"""A byte-level vocabulary: letters, the space, a line end, one merge."""
TEMPLATE = "{% for m in messages %}{{ m.role[0] + ':' + m.content + eos_token }}{% endfor %}"


def rotary(weight: torch.Tensor, heads: int) -> np.ndarray[Any, Any]:
    """Rows as llama.cpp orders them: it rotates neighbours, transformers the halves of a head."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns).numpy()


def write_gguf(path: Path, model: Any, **facts: str) -> Path:
    """The model in the file format of llama.cpp, in float32."""
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    writer.add_name(facts.get("name", "tiny base"))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    if "source" in facts:
        writer.add_base_model_count(1)
        writer.add_base_model_repo_url(0, facts["source"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["a b"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in model.state_dict().items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        turned = next((n for key, n in heads.items() if key in name), None)
        values = rotary(tensor, turned) if turned else tensor.numpy()
        writer.add_tensor(ggml_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def ggml_name(name: str) -> str:
    """`model.layers.0.self_attn.q_proj.weight` to `blk.0.attn_q.weight`."""
    for old, new in (
        ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"),
        ("model.layers", "blk"), ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.o_proj", "attn_output"), ("self_attn.", "attn_"), ("mlp.", "ffn_"), ("_proj", ""),
    ):  # fmt: skip
        name = name.replace(old, new)
    return name


@pytest.fixture(scope="module")
def reference() -> Any:
    return tiny_model(vocab_size=len(TOKENS), num_key_value_heads=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, reference: Any) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-gguf"
    folder.mkdir()
    return write_gguf(folder / "tiny-f32.gguf", reference, source="https://huggingface.co/us/tiny")


@pytest.mark.parametrize("place", ["file", "folder"])
def test_the_same_model_as_in_safetensors(
    file: Path, reference: Any, tmp_path: Path, place: str
) -> None:
    """Logits of the GGUF file and of the same weights in safetensors; also nothing quantised is left."""
    reference.save_pretrained(tmp_path / "same")
    from transformers import AutoModelForCausalLM

    same = AutoModelForCausalLM.from_pretrained(tmp_path / "same").eval()
    loaded = load_model(file if place == "file" else file.parent)
    ids = torch.tensor([[1, 5, 9, 3, 3, 20, 31]])
    with torch.no_grad():
        expected, found = same(ids).logits, loaded.model(ids).logits
    assert torch.allclose(found, expected, atol=1e-5) and expected.std() > 0.1
    assert loaded.dtype == "float32" and loaded.parameters == same.num_parameters()
    assert loaded.kind == "base" and "tiny-f32.gguf is a GGUF file" in " ".join(loaded.notes)
    assert not getattr(loaded.model, "is_quantized", False)
    loaded.model.save_pretrained(tmp_path / "again")
    assert "quantization_config" not in (tmp_path / "again" / "config.json").read_text()


def test_its_tokenizer_template_and_context(file: Path) -> None:
    tokenizer = load_tokenizer(file)
    assert tokenizer("abc a", add_special_tokens=False)["input_ids"] == [
        TOKENS.index("ab"), TOKENS.index("c"), TOKENS.index("Ġ"), TOKENS.index("a"),
    ]  # fmt: skip
    # transformers adds a token of GPT-2 that neither the file nor the model has.
    assert max(tokenizer("a<|endoftext|>:")["input_ids"]) < len(TOKENS)
    assert (tokenizer.eos_token, tokenizer.chat_template) == ("</s>", TEMPLATE)
    assert context_length(file) == 64


def test_recommend_and_validate_read_it(file: Path, tmp_path: Path, capsys: Any) -> None:
    data = tmp_path / "d.jsonl"
    row = {"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cd"}]}
    data.write_text("\n".join([json.dumps(row)] * 40))
    for command in ("validate", "recommend"):
        assert main([command, str(file), str(data), "--json"]) == 0
    understood, answer = map(json.loads, capsys.readouterr().out.strip().splitlines())
    assert understood["template"] == "tokenizer"
    assert understood["target_tokens"] == 40 * 3  # c d </s>
    assert answer["model"] == str(file) and answer["prior"]["model"]["parameters"] > 0


@pytest.mark.parametrize("command", ["train", "distill", "confirm", "rewrite"])
def test_it_is_not_trained(file: Path, tmp_path: Path, capsys: Any, command: str) -> None:
    out = {"train": ["--output_dir"], "distill": ["--teacher", "t", "--output_dir"],
           "confirm": ["--results"], "rewrite": ["--output_path"]}[command]  # fmt: skip
    where = str(tmp_path / "o.jsonl") if command == "rewrite" else str(tmp_path / "o")
    assert main([command, str(file), str(tmp_path / "d.jsonl"), *out, where]) == 2
    said = capsys.readouterr().err
    assert f"is a GGUF file, rounded for use, and {command} needs a checkpoint" in said
    assert 'it names "https://huggingface.co/us/tiny"' in said


def test_files_that_cannot_be_used(file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    content = file.read_bytes()
    cases = {
        "no.gguf": (b"hello", "is no GGUF file"),
        "lfs.gguf": (b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "git lfs pull"),
        "m-00001-of-00003.gguf": (content, r"one of 3 parts.*llama-gguf-split --merge"),
        "cut.gguf": (content[: len(content) // 3], "tiny|cut"),
        "head.gguf": (content[:13], r"head.gguf: is damaged \(.*\); copy it again"),
    }
    for name, (held, reason) in cases.items():
        (tmp_path / name).write_bytes(held)
        with pytest.raises(InputError, match=reason) as caught:
            load_model(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="holds 5 GGUF files; name one"):
        load_model(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'objective-advisor\[gguf\]'"):
        load_tokenizer(file)
