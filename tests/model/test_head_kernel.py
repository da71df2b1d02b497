"""The kernel over a tile against float64 and against the eager tile, by Triton's interpreter on a CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from advisor.model import head as head_module
from advisor.model.head import Head, weighted_nll
from advisor.objectives.table import TokenStats, get_objective

pytest.importorskip("triton", reason="the kernel is Triton's, which is not installed")

from advisor.model.head_kernel import run_tile_

ROWS, VOCABULARY = 13, 211
COLUMNS = 64
"""Fewer than the vocabulary, which they do not divide."""
NEEDS = ("collision", "mass")
HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": 0.25},
    "softcap": {"softcap": 2.0},
    "both": {"scale": 1.5, "softcap": 30.0},
}
CERTAIN = 25.0
"""Raw logits by which a target that is certain stands above the others: 1 - p is under 1e-8."""


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device here")
    if request.param == "cpu" and torch.cuda.is_available():
        pytest.skip("Triton compiles here: the interpreter is for machines without a GPU")
    return str(request.param)


def tile(device: str, dtype: torch.dtype, *, first: float = 0.0) -> tuple[Tensor, Tensor]:
    """Raw logits and targets; the first row's target stands `first` above the others."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(ROWS, VOCABULARY, generator=generator) * 3
    targets = torch.randint(0, VOCABULARY, (ROWS,), generator=generator)
    if first:
        raw[0].div_(3)[targets[0]] = first
    return raw.to(device, dtype), targets.to(device)


def finished(raw: Tensor, scale: float = 1.0, softcap: float | None = None) -> Tensor:
    z = raw.double() * scale
    return z if softcap is None else softcap * torch.tanh(z / softcap)


def run(raw: Tensor, targets: Tensor, *, gradient: bool = True, **options: Any) -> Any:
    chosen = {"scale": 1.0, "softcap": None, **options}
    return run_tile_(raw, targets, needs=NEEDS, gradient=gradient, columns=COLUMNS, **chosen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", HEADS)
def test_statistics_and_gradient_are_those_of_float64(
    kind: str, dtype: torch.dtype, device: str
) -> None:
    options = HEADS[kind]
    raw, targets = tile(device, dtype)
    z = finished(raw, **options)
    log_q = z.log_softmax(-1)
    log_p = log_q.gather(1, targets[:, None])[:, 0]
    leaf = raw.double().requires_grad_()
    loss = -finished(leaf, **options).log_softmax(-1).gather(1, targets[:, None]).sum()
    (expected,) = torch.autograd.grad(loss, leaf)
    found = run(raw, targets, **options)
    close = {"rtol": 2e-5, "atol": 2e-5, "check_dtype": False}
    torch.testing.assert_close(found.logp, log_p, **close)
    torch.testing.assert_close(found.entropy, -(log_q.exp() * log_q).sum(-1), **close)
    torch.testing.assert_close(found.collision, log_q.exp().square().sum(-1), **close)
    lower = (log_q.exp() * (z < z.gather(1, targets[:, None]))).sum(-1)
    torch.testing.assert_close(found.mass, lower + log_p.exp(), **close)
    assert found.top1.tolist() == (z.argmax(-1) == targets).tolist()
    error = (raw.double() * options.get("scale", 1.0) - expected).norm() / expected.norm()
    assert error < {torch.float32: 3e-6, torch.bfloat16: 4e-3}[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_certain_target_keeps_its_precision(dtype: torch.dtype, device: str) -> None:
    raw, targets = tile(device, dtype, first=CERTAIN)
    q = raw[:1].double().softmax(-1)
    q[0, targets[0]] = 0
    others = float(q.sum())
    assert 0 < others < 1e-7  # in float32 p itself is 1
    found = run(raw, targets)
    assert found.logp[0].item() == pytest.approx(-others, rel=1e-4)
    rounding = (
        8e-3 if dtype == torch.bfloat16 else 1e-4
    )  # the interpreter cuts off where a GPU rounds
    assert raw[0, targets[0]].item() == pytest.approx(-others, rel=rounding)
    q[0, targets[0]] = -others
    torch.testing.assert_close(raw[0].double(), q[0], rtol=rounding, atol=0.0)


def test_masked_tokens_and_masked_targets(device: str) -> None:
    raw, targets = tile(device, torch.float32)
    raw[:, :COLUMNS] = float("-inf")  # a whole block, the first one
    targets[0], targets[1:] = 3, targets[1:] % (VOCABULARY - COLUMNS) + COLUMNS
    log_p = raw.double().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    found = run(raw, targets)
    torch.testing.assert_close(found.logp, log_p, rtol=2e-5, atol=2e-5, check_dtype=False)
    assert found.entropy.isfinite().all() and raw.isfinite().all()


def test_without_a_gradient_the_logits_stay(device: str) -> None:
    raw, targets = tile(device, torch.bfloat16)
    before = raw.clone()
    alone = run(raw, targets, gradient=False)
    assert torch.equal(raw, before)
    assert torch.equal(alone.logp, run(raw, targets).logp)


def a_half(stats: TokenStats) -> Tensor:
    return stats.p / 2


WEIGHTS: dict[str, Callable[[TokenStats], Tensor]] = {
    "nll": get_objective("nll").weight,
    "dft": get_objective("dft").weight,
    "threshold": get_objective("threshold(0.01)").weight,
    "idft": get_objective("idft").weight,
    "deft": get_objective("deft").weight,
    "any callable": a_half,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_head_gives_what_it_gives_eagerly(
    name: str, dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients with any weight: the kernel knows none of them."""
    torch.manual_seed(0)
    weight = torch.randn(VOCABULARY, 16)
    hidden = torch.randn(ROWS, 16)
    targets = torch.randint(0, VOCABULARY, (ROWS,)).to(device)

    def run_head(by_kernel: bool, kind: torch.dtype) -> tuple[Tensor, ...]:
        monkeypatch.setattr(head_module, "takes_kernel", lambda raw, statistics: by_kernel)
        w, h = (x.to(device, dtype).to(kind).requires_grad_() for x in (weight, hidden))
        made = weighted_nll(
            Head(weight=w, scale=0.5, softcap=20.0), h, targets, WEIGHTS[name],
            needs=("collision",), sparse=name == "threshold", tile_rows=5,
        )  # fmt: skip
        return made.loss.detach(), made.stats.logp, *torch.autograd.grad(made.loss, (h, w))

    exact = run_head(False, torch.float64)
    eager, fused = run_head(False, dtype), run_head(True, dtype)
    for one, other, true in zip(fused, eager, exact, strict=True):
        theirs = (other.double() - true).norm() / true.norm()
        ours = (one.double() - true).norm() / true.norm()
        assert ours <= 1.5 * theirs + 2e-6


def test_it_is_used_on_a_gpu_alone_and_for_what_it_knows() -> None:
    raw = torch.zeros(2, 8)
    assert not head_module.takes_kernel(raw, ("logp",))
    assert head_module.has_triton()


@pytest.mark.gpu
def test_on_a_gpu_the_head_takes_it() -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device here")
    raw = torch.zeros(2, 8, device="cuda", dtype=torch.bfloat16)
    assert head_module.takes_kernel(raw, ("logp", "entropy", "top1", "collision", "mass"))
    assert not head_module.takes_kernel(raw, ("logp", "topk_entropy"))
    assert not head_module.takes_kernel(raw.double(), ("logp",))
