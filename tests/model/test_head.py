"""The loss head against autograd through full logits: values, gradients, tiles, dtypes, the anchor."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from advisor.model.head import Anchor, Head, WeightedNLL, logit_stats, weighted_nll
from advisor.objectives.table import TokenStats

TOKENS, HIDDEN, VOCABULARY = 37, 12, 53
HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": True},
    "scale": {"scale": 0.25},
    "softcap": {"softcap": 2.0},
    "all": {"bias": True, "scale": 1.5, "softcap": 3.0},
}


def ones(stats: TokenStats) -> Tensor:
    return torch.ones_like(stats.logp)


def p(stats: TokenStats) -> Tensor:
    return stats.p


def kept(stats: TokenStats) -> Tensor:
    return (stats.p >= 0.02).to(stats.logp)


WEIGHTS: dict[str, Callable[[TokenStats], Tensor]] = {"nll": ones, "neg_p": p, "threshold": kept}


def problem(kind: str, dtype: torch.dtype) -> tuple[Head, Tensor, Tensor]:
    torch.manual_seed(0)
    options = dict(HEADS[kind])
    bias = (
        torch.randn(VOCABULARY, dtype=dtype).requires_grad_()
        if options.pop("bias", False)
        else None
    )
    weight = torch.randn(VOCABULARY, HIDDEN, dtype=dtype).requires_grad_()
    hidden = torch.randn(TOKENS, HIDDEN, dtype=dtype).requires_grad_()
    return (
        Head(weight=weight, bias=bias, **options),
        hidden,
        torch.randint(0, VOCABULARY, (TOKENS,)),
    )


def reference_log_q(head: Head, hidden: Tensor) -> Tensor:
    """Log-softmax of the full logits, by the formula in the module's docstring."""
    z = hidden @ head.weight.T
    z = (z if head.bias is None else z + head.bias) * head.scale
    return (z if head.softcap is None else head.softcap * torch.tanh(z / head.softcap)).log_softmax(
        -1
    )


def gradients(loss: Tensor, head: Head, hidden: Tensor) -> list[Tensor]:
    inputs = [hidden, head.weight, *([] if head.bias is None else [head.bias])]
    return list(torch.autograd.grad(loss, inputs))


def assert_same(actual: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm() + 1e-30


@pytest.mark.parametrize("rows", [1, 5, 64])
@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("kind", HEADS)
def test_value_and_gradients_equal_autograd_in_float64(kind: str, name: str, rows: int) -> None:
    head, hidden, targets = problem(kind, torch.float64)
    log_p = reference_log_q(head, hidden).gather(1, targets[:, None])[:, 0]
    q = log_p.exp().detach()
    weights = {"nll": torch.ones_like(q), "neg_p": q, "threshold": (q >= 0.02).double()}[name]
    expected = -(weights * log_p).sum()
    result = weighted_nll(
        head, hidden, targets, WEIGHTS[name], sparse=name == "threshold", tile_rows=rows
    )
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.stats.logp, log_p.detach())
    torch.testing.assert_close(result.weights, weights)
    assert_same(gradients(result.loss, head, hidden), gradients(expected, head, hidden), 1e-12)


def test_float32_gradient_error_against_float64() -> None:
    for weight in WEIGHTS.values():
        exact_head, exact_hidden, targets = problem("plain", torch.float64)
        head = Head(weight=exact_head.weight.detach().float().requires_grad_())
        hidden = exact_hidden.detach().float().requires_grad_()
        exact = weighted_nll(exact_head, exact_hidden, targets, weight).loss
        ours = weighted_nll(head, hidden, targets, weight, tile_rows=8).loss
        found = [g.double() for g in gradients(ours, head, hidden)]
        assert_same(found, gradients(exact, exact_head, exact_hidden), 3e-6)


def test_given_weights_and_weights_of_zero() -> None:
    head, hidden, targets = problem("bias", torch.float64)
    weights = torch.rand(TOKENS, dtype=torch.float64)
    log_p = reference_log_q(head, hidden).gather(1, targets[:, None])[:, 0]
    result = weighted_nll(head, hidden, targets, weights, tile_rows=5)
    assert_same(
        gradients(result.loss, head, hidden),
        gradients(-(weights * log_p).sum(), head, hidden),
        1e-12,
    )
    none = weighted_nll(head, hidden, targets, torch.zeros(TOKENS), sparse=True, tile_rows=5)
    assert all(not g.any() for g in gradients(none.loss, head, hidden))


@pytest.mark.parametrize("weight", [1.0, 100.0, 1e-8])
@pytest.mark.parametrize("kind", ["bias", "all"])
@pytest.mark.parametrize("coefficient", [None, 0.5])
def test_float16_holds_weights_of_any_size_and_sums_over_many_rows(
    kind: str, coefficient: float | None, weight: float
) -> None:
    """Breaks where gradients are infinite or 0 before a loss scale could save them: no step was ever made."""
    head, _, _ = problem(kind, torch.float32)
    tokens = 4096
    hidden = torch.randn(tokens, HIDDEN)
    hidden[:, 3] += 25  # as final norms have it
    targets = torch.full((tokens,), 7)
    targets[::2] = torch.randint(0, VOCABULARY, (tokens // 2,))
    factor = weight * (0.5 + torch.rand(tokens))
    anchor = None
    if coefficient is not None:
        anchor = Anchor(head=head, hidden=torch.randn(tokens, HIDDEN), coefficient=coefficient)
    found = []
    for half in (False, True):
        states = hidden.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.float16, enabled=half):
            result = weighted_nll(head, states, targets, ones, factor=factor, anchor=anchor)
        loss = result.loss / factor.sum()
        found.append([loss.detach(), *gradients(loss * 65536, head, states)])
        torch.testing.assert_close(result.weights, factor)
    assert_same(found[1], found[0], 1e-2)


def test_upstream_gradient_scales() -> None:
    head, hidden, targets = problem("plain", torch.float64)
    one = gradients(weighted_nll(head, hidden, targets, p).loss, head, hidden)
    tenth = gradients(weighted_nll(head, hidden, targets, p).loss / 10, head, hidden)
    assert_same(tenth, [g / 10 for g in one], 1e-12)


def test_frozen_parts_get_no_gradient() -> None:
    head, hidden, targets = problem("bias", torch.float64)
    frozen = Head(weight=head.weight.detach(), bias=head.bias)
    result = weighted_nll(frozen, hidden, targets, ones)
    only_hidden, bias = torch.autograd.grad(result.loss, [hidden, head.bias])  # type: ignore[list-item]
    full = gradients(weighted_nll(head, hidden, targets, ones).loss, head, hidden)
    assert_same([only_hidden, bias], [full[0], full[2]], 1e-12)


def test_without_gradients_there_is_one_product_of_three() -> None:
    """Breaks where an evaluation makes the gradients that only training takes."""
    head = Head(
        weight=torch.randn(50, 8, requires_grad=True), bias=torch.randn(50, requires_grad=True)
    )
    hidden, targets = torch.randn(20, 8), torch.randint(0, 50, (20,))
    products, losses = [], []
    for gradient in (False, True):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(gradient):
            found = weighted_nll(head, hidden.requires_grad_(gradient), targets, torch.ones(20))
        products.append(counter.get_total_flops() / (2 * 20 * 50 * 8))
        losses.append(found.loss.item())
    assert products[0] == 1 and products[1] >= 3
    assert losses[0] == losses[1]


def test_what_a_model_has_masked_is_no_part_of_the_statistics() -> None:
    logits, targets = torch.randn(6, 9), torch.randint(0, 8, (6,))
    masked = logits.index_fill(1, torch.tensor([8]), -torch.inf)
    needs = ("topk_entropy", "collision", "mass")
    found = logit_stats(masked, targets, needs=needs)
    right = logit_stats(logits[:, :8], targets, needs=needs)
    for name, values in vars(right).items():
        if values is not None:
            torch.testing.assert_close(getattr(found, name), values)


def test_no_target_is_zero_with_a_live_graph() -> None:
    head, hidden, _ = problem("bias", torch.float64)
    result = weighted_nll(head, hidden[:0], torch.empty(0, dtype=torch.long), p)
    assert result.loss.item() == 0
    grads = gradients(result.loss, head, hidden)
    assert all(g.isfinite().all() and not g.any() for g in grads)


def test_given_fields_and_needs_reach_the_weight() -> None:
    head, hidden, targets = problem("plain", torch.float64)
    reference = torch.linspace(-3, -1, TOKENS, dtype=torch.float64)
    seen: list[TokenStats] = []

    def ratio(stats: TokenStats) -> Tensor:
        seen.append(stats)
        return (stats.logp - stats.reference_logp).exp()

    result = weighted_nll(
        head, hidden, targets, ratio, given={"reference_logp": reference},
        needs=("topk_entropy", "collision", "mass"), tile_rows=10,
    )  # fmt: skip
    log_q = reference_log_q(head, hidden).detach()
    log_p = log_q.gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(result.weights, (log_p - reference).exp())
    collision = torch.cat([stats.collision for stats in seen])  # type: ignore[misc]
    torch.testing.assert_close(collision, log_q.exp().square().sum(-1))
    top = log_q.topk(20).values.softmax(-1)
    topk_entropy = torch.cat([stats.topk_entropy for stats in seen])  # type: ignore[misc]
    torch.testing.assert_close(topk_entropy, -(top * top.log()).sum(-1))
    mass = torch.cat([stats.mass for stats in seen])  # type: ignore[misc]
    q, p_y = log_q.exp(), log_p.exp()[:, None]
    torch.testing.assert_close(mass, p_y[:, 0] + (q * (log_q < p_y.log())).sum(-1))


@pytest.mark.parametrize("kind", ["plain", "all"])
def test_anchor_adds_the_kl_and_its_gradient(kind: str) -> None:
    head, hidden, targets = problem(kind, torch.float64)
    other = Head(weight=torch.randn(VOCABULARY, 7, dtype=torch.float64))
    states = torch.randn(TOKENS, 7, dtype=torch.float64)
    log_q = reference_log_q(head, hidden)
    log_r = reference_log_q(other, states)
    log_p = log_q.gather(1, targets[:, None])[:, 0]
    kl = torch.nn.functional.kl_div(log_q, log_r, log_target=True, reduction="sum")
    expected = -(log_p.exp().detach() * log_p).sum() + 0.1 * kl
    anchor = Anchor(head=other, hidden=states, coefficient=0.1)
    result = weighted_nll(head, hidden, targets, p, anchor=anchor, tile_rows=6)
    torch.testing.assert_close(result.loss, expected)
    assert_same(gradients(result.loss, head, hidden), gradients(expected, head, hidden), 1e-12)


def bf16_error(weight: Callable[[TokenStats], Tensor]) -> tuple[float, float]:
    """Relative error of our bf16 hidden gradient, and of autograd's through bf16 logits made float."""
    head, hidden, targets = problem("plain", torch.float64)
    exact = gradients(weighted_nll(head, hidden, targets, weight).loss, head, hidden)[0]
    half = Head(weight=head.weight.detach().bfloat16().requires_grad_())
    states = hidden.detach().bfloat16().requires_grad_()
    ours = gradients(weighted_nll(half, states, targets, weight).loss, half, states)[0]
    log_p = (states @ half.weight.T).float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    stats = TokenStats(logp=log_p.detach(), entropy=log_p, top1=log_p > 0)
    theirs = gradients(-(weight(stats) * log_p).sum(), half, states)[0]
    return tuple(((g.double() - exact).norm() / exact.norm()).item() for g in (ours, theirs))  # type: ignore[return-value]


@pytest.mark.parametrize("name", WEIGHTS)
def test_bf16_is_as_good_as_float_softmax_of_bf16_logits(name: str) -> None:
    ours, theirs = bf16_error(WEIGHTS[name])
    assert ours <= 1.2 * theirs + 1e-3


def test_autocast_computes_in_bf16_and_returns_float32_gradients() -> None:
    head, hidden, targets = problem("plain", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = weighted_nll(head, hidden, targets, ones)
    assert isinstance(result, WeightedNLL) and result.loss.dtype == torch.float32
    grads = gradients(result.loss, head, hidden)
    assert {g.dtype for g in grads} == {torch.float32}
    assert_same(
        grads, gradients(weighted_nll(head, hidden, targets, ones).loss, head, hidden), 0.02
    )


def test_an_anchor_of_several_blocks_is_that_of_one() -> None:
    """A tile of a large vocabulary is made float32 in several parts."""
    torch.manual_seed(0)
    tokens, vocabulary = 5, 2**17 * max(1, torch.get_num_threads())
    head = Head(weight=torch.randn(vocabulary, 2, dtype=torch.float64).requires_grad_())
    other = Head(weight=torch.randn(vocabulary, 2, dtype=torch.float64))
    hidden = torch.randn(tokens, 2, dtype=torch.float64).requires_grad_()
    states = torch.randn(tokens, 2, dtype=torch.float64)
    targets, factor = torch.arange(tokens), torch.linspace(0.5, 2, tokens, dtype=torch.float64)
    log_q, log_r = reference_log_q(head, hidden), reference_log_q(other, states)
    log_p = log_q.gather(1, targets[:, None])[:, 0]
    kl = (log_r.exp() * (log_r - log_q)).sum(-1)
    expected = (factor * (0.1 * kl - log_p.exp().detach() * log_p)).sum()
    anchor = Anchor(head=other, hidden=states, coefficient=0.1)
    result = weighted_nll(head, hidden, targets, p, anchor=anchor, factor=factor)
    torch.testing.assert_close(result.loss, expected)
    assert_same(gradients(result.loss, head, hidden), gradients(expected, head, hidden), 1e-12)
