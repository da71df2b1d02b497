"""The table of objectives against closed forms, automatic differentiation and published vectors."""

import json
import math
import subprocess
import sys

import pytest
import torch

from advisor.errors import InputError
from advisor.objectives import OBJECTIVES, TokenStats, get_objective

PROBABILITIES = [1e-30, 1e-12, 1e-3, 0.05, 0.2, 0.5, 0.9, 0.999999, 1 - 1e-12]


def stats_of(p: torch.Tensor, example: torch.Tensor | None = None) -> TokenStats:
    return TokenStats(logp=p.log(), entropy=torch.zeros_like(p), top1=p > 0.5, example=example)


def logits_with(p: float, vocabulary: int = 5) -> torch.Tensor:
    """Logits whose softmax gives the first token probability p."""
    z = torch.randn(vocabulary, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rest = z[1:].logsumexp(0)
    z[0] = rest + math.log(p) - math.log1p(-p)
    return z.requires_grad_()


def published_loss(name: str, log_p: torch.Tensor) -> torch.Tensor:
    """f(p) as the papers write it, to be differentiated by autograd."""
    p = log_p.exp()
    return {
        "nll": lambda: -log_p,
        "neg_p": lambda: 1 - p,
        "p_pow(10)": lambda: -torch.expm1(10 * log_p) / 10,
        "p_pow(0.5)": lambda: -torch.expm1(0.5 * log_p) / 0.5,
        "threshold(0.2)": lambda: torch.where(p >= 0.2, -log_p, torch.zeros_like(p)),
    }[name]()


@pytest.mark.parametrize("p", PROBABILITIES)
@pytest.mark.parametrize("label", ["nll", "neg_p", "p_pow(10)", "p_pow(0.5)", "threshold(0.2)"])
def test_weighted_nll_has_the_gradient_of_the_published_loss(label: str, p: float) -> None:
    z = logits_with(p)
    (expected,) = torch.autograd.grad(published_loss(label, z.log_softmax(0)[0]), z)

    z = logits_with(p)
    log_p = z.log_softmax(0)[:1]
    stats = TokenStats(logp=log_p.detach(), entropy=torch.zeros(1), top1=torch.zeros(1))
    (actual,) = torch.autograd.grad((get_objective(label).weight(stats) * -log_p).sum(), z)

    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-15)
    closed = get_objective(label).weight(stats) * (z.detach().softmax(0) - torch.eye(5)[0])
    torch.testing.assert_close(actual, closed, rtol=1e-6, atol=1e-15)


def test_a_dropped_stop_gradient_would_be_seen() -> None:
    z = logits_with(0.1)
    log_p = z.log_softmax(0)[0]
    (detached,) = torch.autograd.grad(-log_p.exp().detach() * log_p, z, retain_graph=True)
    (through,) = torch.autograd.grad(-log_p.exp() * log_p, z)
    assert detached[0] < 0 < through[0]  # below 1/e the un-detached loss pushes the target down


def test_weights_are_detached_finite_and_non_negative_everywhere() -> None:
    p = torch.tensor(PROBABILITIES, requires_grad=True)
    example = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    for row in OBJECTIVES.values():
        weights = row.weight(stats_of(p, example))
        assert not weights.requires_grad
        assert weights.shape == p.shape
        assert bool((weights >= 0).all() and weights.isfinite().all()), row.name


def test_power_family_meets_nll_and_neg_p() -> None:
    stats = stats_of(torch.tensor([1e-6, 0.1, 0.9], dtype=torch.float64))
    torch.testing.assert_close(get_objective("p_pow(1e-9)").weight(stats), torch.ones(3).double())
    torch.testing.assert_close(
        get_objective("p_pow(1)").weight(stats), get_objective("dft").weight(stats)
    )
    assert torch.equal(
        get_objective("threshold(0)").weight(stats), get_objective("nll").weight(stats)
    )


def test_cadft_published_vector() -> None:
    # c = 1, 2, 3, 4 with the population deviation 1.118034 (arXiv:2606.11206): w = 1, 1, .6394, .2614
    nll = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    example = torch.arange(4).repeat_interleave(2)
    stats = stats_of((-nll.repeat_interleave(2)).exp(), example)
    factor = get_objective("cadft").weight(stats) / stats.p
    expected = torch.tensor([1.0, 1.0, 0.6394, 0.2614], dtype=torch.float64)
    torch.testing.assert_close(factor, expected.repeat_interleave(2), rtol=0, atol=5e-5)


def test_cadft_is_length_normalised_and_shift_and_scale_invariant() -> None:
    example = torch.tensor([0, 0, 0, 1, 2, 2])
    nll = torch.tensor([1.0, 2.0, 3.0, 2.5, 4.0, 0.5], dtype=torch.float64)

    def factor(values: torch.Tensor) -> torch.Tensor:
        stats = stats_of((-values).exp(), example)
        return get_objective("cadft").weight(stats) / stats.p

    torch.testing.assert_close(factor(nll), factor(5 * nll + 1), rtol=1e-4, atol=0)
    assert factor(nll)[3] < 1 == factor(nll)[0]  # means 2, 2.5, 2.25: only the second is punished


@pytest.mark.parametrize("example", [[0, 0, 0], [0, 1, 2], [4, 4, 9]])
def test_cadft_of_equal_examples_or_one_is_dft(example: list[int]) -> None:
    stats = stats_of(torch.tensor([0.3, 0.3, 0.3]), torch.tensor(example))
    torch.testing.assert_close(get_objective("cadft").weight(stats), stats.p)
    unequal = stats_of(torch.tensor([0.3, 0.1, 0.9]), torch.tensor(example))
    torch.testing.assert_close(get_objective("cadft(0)").weight(unequal), unequal.p)


def test_dft_is_one_row_with_two_names() -> None:
    assert get_objective("dft") is get_objective("neg_p") or get_objective("dft") == get_objective(
        "neg_p"
    )
    assert get_objective("-p").name == "neg_p"
    assert get_objective("-p^10".replace("-p^10", "p_pow(k=10)")).settings == {"k": 10.0}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nlll", "did you mean nll"),
        ("p_pow(0)", "k = 0 lies outside (0"),
        ("threshold(1.5)", "tau = 1.5 lies outside [0, 1]"),
        ("p_pow(ten)", "'ten' is not a number"),
        ("p_pow(q=3)", "has no parameter 'q' (it has: k)"),
        ("nll(3)", "takes 0 parameters"),
        ("p_pow(nan)", "lies outside"),
        ("(((", "unknown objective"),
    ],
)
def test_wrong_objectives_are_refused_with_the_way_out(spec: str, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        get_objective(spec)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_labels_read_back() -> None:
    for row in OBJECTIVES.values():
        assert get_objective(row.label).settings == row.settings


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys; from advisor.cli import main; assert main(['ls', 'objectives', '--json']) == 0; "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    listed = json.loads(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )
    assert [row["name"] for row in listed] == list(OBJECTIVES)
    assert set(listed[0]) == {"name", "aliases", "formula", "leaning", "source", "status", "needs"}
