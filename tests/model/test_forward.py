"""The head against full logits, on every kind of architecture that can be built here."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    RwkvConfig,
)
from trl.trainer.utils import add_fused_lm_head

from advisor.model.forward import copied, extend_forward, find_head, may_differ_by, score_batch
from advisor.model.head import Head, token_stats
from advisor.objectives.table import TokenStats, get_objective

VOCABULARY = 97
SMALL: dict[str, Any] = dict(
    vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, intermediate_size=48, head_dim=8, pad_token_id=0, initializer_range=0.5,
)  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SMALL),
    "llama-tied": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "qwen2-tied": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SMALL),
    "gemma2-softcap": Gemma2Config(**SMALL, final_logit_softcapping=5.0, query_pre_attn_scalar=8),
    "gpt-neox": GPTNeoXConfig(**SMALL),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, initializer_range=0.5
    ),
    "cohere-scale": CohereConfig(**SMALL, logit_scale=0.25),
    "granite-scaling": GraniteConfig(**SMALL, logits_scaling=4.0),
    "bloom": BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.5
    ),
    "mamba": MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4),
    "rwkv": RwkvConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32
    ),
}
NO_LEFT_PADDING = {"mamba", "rwkv"}  # recurrent: padding on the left enters their state
LENGTHS = (5, 9, 2, 12)


@pytest.fixture(params=CONFIGS, scope="module")
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    model = Auto.from_config(CONFIGS[request.param]).eval()
    if (bias := getattr(model.get_output_embeddings(), "bias", None)) is not None:
        torch.nn.init.normal_(bias)
    return model


def sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(1, VOCABULARY, (length,), generator=generator) for length in LENGTHS]


def reference(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Log-probability, entropy and top-1 of tokens 1.. of one sequence by itself, from its full logits."""
    with torch.no_grad():
        log_q = model(ids[None], use_cache=False).logits[0, :-1].double().log_softmax(-1)
    log_p = log_q.gather(-1, ids[1:, None])[:, 0]
    return torch.stack(
        [log_p, -(log_q.exp() * log_q).sum(-1), (log_q.argmax(-1) == ids[1:]).double()]
    )


def padded(rows: list[torch.Tensor], side: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    width = max(len(row) for row in rows)
    ids, labels, mask = (torch.full((len(rows), width), fill) for fill in (0, -100, 0))
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, place], labels[i, place], mask[i, place] = row, row, 1
    return ids, labels, mask


def as_rows(stats: TokenStats) -> torch.Tensor:
    return torch.stack([stats.logp, stats.entropy, stats.top1.float()]).double()


@pytest.mark.parametrize("side", ["right", "left"])
def test_equals_full_logits_for_any_padding(model: PreTrainedModel, side: str) -> None:
    if side == "left" and model.config.model_type in NO_LEFT_PADDING:
        pytest.skip("recurrent models read left padding as input; the probe pads on the right")
    head = find_head(model)
    assert head is not None
    expected = torch.cat([reference(model, row) for row in sequences()], dim=1)
    stats = score_batch(model, head, *padded(sequences(), side))
    torch.testing.assert_close(as_rows(stats), expected, rtol=0, atol=1e-5)
    assert stats.example is not None
    assert stats.example.tolist() == [i for i, n in enumerate(LENGTHS) for _ in range(n - 1)]


def test_batch_composition_changes_nothing(model: PreTrainedModel) -> None:
    head = find_head(model)
    together = as_rows(score_batch(model, head, *padded(sequences(), "right")))
    alone = [as_rows(score_batch(model, head, *padded([row], "right"))) for row in sequences()]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=0, atol=1e-5)


def test_own_logits_give_the_same(model: PreTrainedModel) -> None:
    batch = padded(sequences(), "right")
    slow, fast = score_batch(model, None, *batch), score_batch(model, find_head(model), *batch)
    torch.testing.assert_close(as_rows(slow), as_rows(fast), rtol=0, atol=1e-5)


def test_only_labelled_tokens_are_scored() -> None:
    model = Auto.from_config(CONFIGS["llama"]).eval()
    ids, labels, mask = padded(sequences(), "right")
    labels[:, :4] = -100
    stats = score_batch(model, find_head(model), ids, labels, mask)
    expected = torch.cat([reference(model, row)[:, 3:] for row in sequences()], dim=1)
    torch.testing.assert_close(as_rows(stats), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 7, 1000])
def test_tile_size_changes_nothing(rows: int) -> None:
    torch.manual_seed(0)
    head = Head(weight=torch.randn(50, 8), bias=torch.randn(50), scale=0.5, softcap=3.0)
    hidden, targets = torch.randn(21, 8), torch.randint(0, 50, (21,))
    z = 3.0 * torch.tanh((hidden @ head.weight.T + head.bias) * 0.5 / 3.0)  # type: ignore[operator]
    expected = z.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    actual = token_stats(head, hidden, targets, tile_rows=rows).logp
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_float32_log_softmax_of_a_bf16_model() -> None:
    torch.manual_seed(0)
    head = Head(weight=torch.randn(2000, 16).bfloat16())
    hidden, targets = torch.randn(300, 16).bfloat16(), torch.randint(0, 2000, (300,))
    stats = token_stats(head, hidden, targets)
    exact = (hidden @ head.weight.T).double().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    assert stats.logp.dtype == torch.float32
    torch.testing.assert_close(stats.logp.double(), exact, rtol=0, atol=1e-5)


def test_no_target_is_no_row() -> None:
    head = Head(weight=torch.randn(10, 4))
    assert token_stats(head, torch.empty(0, 4), torch.empty(0, dtype=torch.long)).logp.shape == (0,)


def test_extreme_logits_stay_finite() -> None:
    head = Head(weight=torch.tensor([[1.0], [-1.0]]))
    stats = token_stats(head, torch.tensor([[1e4], [1e4]]), torch.tensor([0, 1]))
    assert stats.logp.tolist() == [0.0, -2e4]
    assert stats.entropy.tolist() == [0.0, 0.0]


def test_an_unknown_treatment_of_the_logits_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Auto.from_config(CONFIGS["llama"]).eval()
    forward = model.forward

    def squared(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits * 1.5
        return output

    monkeypatch.setattr(model, "forward", squared)
    assert find_head(model) is None
    row = sequences()[3]
    stats = score_batch(model, None, *padded([row], "right"))
    torch.testing.assert_close(as_rows(stats), reference(model, row), rtol=0, atol=1e-5)


def test_a_copy_runs_on_its_own_weights_whatever_trainer_came_before() -> None:
    """Breaks where a frozen reference is the model that is trained, by what TRL has left on its forward."""
    model = Auto.from_config(CONFIGS["llama"]).eval()
    ids = sequences()[3][None]
    extend_forward(model)
    add_fused_lm_head(model)
    before, frozen = model(ids).logits, copied(model)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert torch.equal(frozen(ids).logits, before) and not torch.equal(model(ids).logits, before)


def test_a_model_with_dropout_is_trained_on_its_own_loss() -> None:
    model = Auto.from_config(CONFIGS["gpt2"]).train()
    assert model.config.resid_pdrop > 0
    ids = torch.stack([sequences()[3]] * 2)
    torch.manual_seed(0)
    own = model(ids, labels=ids).loss.item()
    extend_forward(model)
    torch.manual_seed(0)
    ours = model(ids, labels=ids, objective_head=get_objective("nll"))
    assert ours.loss.item() / len(ours.logp) == pytest.approx(own, rel=1e-5)
    torch.manual_seed(1)
    assert model(ids, labels=ids).loss.item() != pytest.approx(own, rel=1e-3)  # it does drop


@pytest.mark.parametrize("name", ["tinystories-260k", "tinystories-char-936k", "rwkv4-byte-661k"])
def test_real_models(shared: Any, name: str) -> None:
    model = Auto.from_pretrained(shared / "models" / name).eval()
    row = sequences()[3]
    stats = score_batch(model, find_head(model), *padded([row], "right"))
    torch.testing.assert_close(as_rows(stats), reference(model, row), rtol=0, atol=1e-5)


def test_large_logits_may_differ_by_their_rounding() -> None:
    """One unit in the last place of bfloat16 is 0.125 above 16 and 1 above 128; -inf masks a token."""
    small, large = torch.tensor([1.0, -2.0]), torch.tensor([3.0, -130.0, -torch.inf])
    assert may_differ_by(small, torch.bfloat16) == 0.1
    assert may_differ_by(large, torch.bfloat16) == pytest.approx(2.03, abs=0.01)
    assert may_differ_by(large, torch.float32) == 1e-4
