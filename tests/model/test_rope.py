"""Where rotary frequencies depend on a length, it is that of the row, in whatever batch it is read."""

import copy
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    Phi3Config,
    PhimoeConfig,
    PreTrainedModel,
)

from advisor.model.forward import extend_forward, find_head, score_batch
from advisor.model.rope import each_row_by_itself
from advisor.objectives.table import get_objective

ORIGINAL = 8
"""Tokens up to which the frequencies are the original ones."""
LENGTHS = (5, 8, 9, 12, 20)
SMALL: dict[str, Any] = dict(
    vocab_size=31, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
    intermediate_size=32, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
)  # fmt: skip
LONG = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
    "original_max_position_embeddings": ORIGINAL,
}  # fmt: skip
CONFIGS = {
    "longrope": lambda **more: Phi3Config(
        **SMALL, max_position_embeddings=32, original_max_position_embeddings=ORIGINAL,
        rope_parameters=dict(LONG), **more,
    ),
    "longrope-with-scales": lambda **more: PhimoeConfig(
        **SMALL, max_position_embeddings=32, original_max_position_embeddings=ORIGINAL, num_local_experts=2,
        rope_parameters={**LONG, "short_mscale": 1.0, "long_mscale": 1.3}, **more,
    ),
    "dynamic": lambda **more: LlamaConfig(
        **SMALL, max_position_embeddings=ORIGINAL,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0}, **more,
    ),
}  # fmt: skip


def built(name: str, **more: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name](**more)).eval()


def sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 31, (length,), generator=generator) for length in LENGTHS]


def padded(rows: list[torch.Tensor], side: str = "right") -> tuple[torch.Tensor, ...]:
    width = max(map(len, rows))
    ids, labels, mask = (torch.full((len(rows), width), fill) for fill in (0, -100, 0))
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, place], labels[i, place], mask[i, place] = row, row, 1
    return ids, labels, mask


def alone(name: str, row: torch.Tensor, **more: Any) -> torch.Tensor:
    """Log-probabilities of one row by a fresh model of transformers that read nothing else."""
    with torch.no_grad():
        log_q = built(name, **more)(row[None], use_cache=False).logits[0, :-1].log_softmax(-1)
    return log_q.gather(-1, row[1:, None])[:, 0]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_has_its_log_p_in_any_company(name: str, tied: bool, side: str) -> None:
    more = {"tie_word_embeddings": tied}
    expected = torch.cat([alone(name, row, **more) for row in sequences()])
    model = built(name, **more)
    loose = score_batch(model, None, *padded(sequences(), side)).logp
    assert (
        loose - expected
    ).abs().max() > 0.01  # as transformers reads a batch, or nothing is tested
    model = built(name, **more)
    assert each_row_by_itself(model)
    head = find_head(model)
    together = score_batch(model, head, *padded(sequences(), side)).logp
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-4)
    after = [score_batch(model, head, *padded([row])).logp for row in reversed(sequences())]
    torch.testing.assert_close(torch.cat(after[::-1]), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_do_not_depend_on_the_micro_batches(name: str) -> None:
    gradients = []
    for size in (len(LENGTHS), 2, 1):
        model = built(name)
        each_row_by_itself(model)
        extend_forward(model)
        for first in range(0, len(LENGTHS), size):
            ids, labels, mask = padded(sequences()[first : first + size])
            objective = get_objective("dft")
            model(
                input_ids=ids, labels=labels, attention_mask=mask, objective_head=objective
            ).loss.backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_documents_of_a_packed_row_have_their_own_frequencies(name: str) -> None:
    def rotary(model: PreTrainedModel) -> Any:
        return next(m for m in model.modules() if hasattr(m, "original_inv_freq"))

    model = built(name)
    each_row_by_itself(model)
    x = torch.zeros(1, sum(LENGTHS), 32)
    documents = [torch.arange(length)[None] for length in LENGTHS]
    packed = rotary(model)(x, torch.cat(documents, dim=1))
    apart = [rotary(built(name))(x[:, : d.shape[1]], d) for d in documents]
    for table, parts in zip(packed, zip(*apart, strict=True), strict=True):
        torch.testing.assert_close(table, torch.cat(parts, dim=1))


@pytest.mark.parametrize("name", CONFIGS)
def test_answers_do_not_depend_on_what_else_is_asked(name: str) -> None:
    rows = [sequences()[i] for i in (0, 4)]  # the short one stays within the original length
    settings = {"max_new_tokens": 2, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    model = built(name)
    each_row_by_itself(model)
    ids, _, mask = padded(rows, "left")
    together = model.generate(input_ids=ids, attention_mask=mask, **settings)[:, -2:]
    for row, answer in zip(rows, together, strict=True):
        ones = torch.ones_like(row)[None]
        own = built(name).generate(input_ids=row[None], attention_mask=ones, **settings)
        assert own[0, -2:].tolist() == answer.tolist()


def test_a_copy_keeps_rows_apart_by_itself() -> None:
    model = built("dynamic")
    each_row_by_itself(model)
    twin = copy.deepcopy(model)
    rows = sequences()
    score_batch(model, None, *padded(rows[-1:]))
    together = score_batch(twin, None, *padded(rows)).logp
    torch.testing.assert_close(together[:4], alone("dynamic", rows[0]), rtol=0, atol=1e-4)


def test_models_of_one_set_of_frequencies_get_no_hooks() -> None:
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SMALL))
    assert not each_row_by_itself(model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
