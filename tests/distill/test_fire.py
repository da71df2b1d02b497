"""FiRe-OPD on tensors: numbers worked out by hand from the paper's formulas, and gradients by autograd."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from advisor.errors import InputError
from advisor.model.head import Head
from harness.distill.fire import (
    Rollouts,
    confidence_weights,
    full_loss,
    kept,
    sampled_loss,
    scores,
    step_weights,
    summary,
    tempered,
)
from harness.distill.fire_settings import PLAIN, Fire

TEACHER = torch.tensor([[0.1, 0.2, 0.4], [0.0, 0.8, 0.4]])
STUDENT = torch.tensor([[0.5, 0.1, 1.0], [0.2, 0.3, 0.0]])
RAW = torch.tensor([[2.8125, 1.925, 3.0], [2.4, 1.3, 1.5]])
"""(1 + c_T)(1 + c_S) of the above with alpha = beta = 1; its mean is 2.15625."""


def weigh(per_trajectory: bool, mask: Tensor | None = None, **settings: float) -> Tensor:
    given = {"alpha": 1.0, "beta": 1.0, **settings}
    mask = torch.ones(2, 3) if mask is None else mask
    return confidence_weights(
        TEACHER, STUDENT, mask, per_trajectory=per_trajectory, alpha=given["alpha"], beta=given["beta"]
    )  # fmt: skip


def drawn(rows: int = 8, tokens: int = 6, seed: int = 0) -> Rollouts:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, tokens + 1, (rows, 1), generator=generator)

    def table(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(rows, tokens, generator=generator)

    return Rollouts(
        mask=(torch.arange(tokens) < lengths).long(),
        teacher=torch.arange(rows) % 2,
        teacher_logp=table(-3, 0),
        teacher_entropy=table(0, 2),
        student_logp=table(-3, 0),
        student_entropy=table(0, 2),
    )


def test_weights_of_the_worked_example() -> None:
    expected = torch.tensor([[1.304348, 0.892754, 1.391304], [1.113043, 0.602899, 0.695652]])
    torch.testing.assert_close(weigh(False), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(weigh(False), RAW / 2.15625, rtol=1e-6, atol=0)


def test_weights_within_each_rollout_have_their_own_maxima_and_mean() -> None:
    # First row: c_T = (.75, .5, 0), c_S = (.5, .1, 1); second: c_T = (1, 0, .5), c_S = (2/3, 1, 0)
    raw = torch.tensor([[1.75 * 1.5, 1.5 * 1.1, 2.0], [2 * 5 / 3, 2.0, 1.5]])
    torch.testing.assert_close(weigh(True), raw / raw.mean(1, keepdim=True), rtol=1e-6, atol=0)


@pytest.mark.parametrize("per_trajectory", [True, False])
def test_alpha_and_beta_of_zero_weigh_everything_exactly_one(per_trajectory: bool) -> None:
    assert torch.equal(weigh(per_trajectory, alpha=0, beta=0), torch.ones(2, 3))


def test_entropies_off_the_mask_are_not_read() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    found = weigh(False, mask)
    # The largest that count: 0.2 and 0.5
    raw = torch.tensor([[1.5 * 2, 1 * 1.2, 0], [2 * 1.4, 0, 0]])
    torch.testing.assert_close(found, raw / (raw.sum() / 3), rtol=1e-6, atol=0)


def test_a_teacher_that_is_always_certain_gives_finite_weights() -> None:
    none = torch.zeros(2, 3)
    found = confidence_weights(none, none, torch.ones(2, 3), alpha=1, beta=1, per_trajectory=False)
    assert torch.equal(found, torch.ones(2, 3))  # confidence 1 and confusion 0 everywhere


def test_score_is_the_mean_over_the_rollouts_own_tokens() -> None:
    logp = torch.tensor([[-1.0, -2.0, -9.0], [-0.3, -9.0, -9.0]])
    found = scores(logp, torch.tensor([[1, 1, 0], [1, 0, 0]]))
    assert found.tolist() == pytest.approx([-1.5, -0.3])


def test_the_filter_of_the_worked_example() -> None:
    # The threshold is -0.5 - 0.6 * 1.6 = -1.46
    assert kept(torch.tensor([-0.2, -0.5, -2.1]), 20).tolist() == [True, True, False]


def test_how_many_of_n_are_kept() -> None:
    counts = {n: int(kept(torch.randn(n).double(), 20).sum()) for n in (1, 2, 3, 4, 5, 8)}
    assert counts == {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 8: 6}


def test_rounding_loses_no_score_that_the_percentile_falls_on() -> None:
    score = torch.linspace(-3, -0.1, 101, dtype=torch.float64)
    assert [int(kept(score, percentile).sum()) for percentile in range(101)] == [*range(101, 0, -1)]


@pytest.mark.parametrize("score", [-torch.inf, torch.nan])
def test_a_rollout_that_the_teacher_forbids_is_left_out_alone(score: float) -> None:
    for others in (2, 3, 4, 8):
        found = kept(torch.tensor([score, *range(others)]), 20)
        assert not found[0] and found[1:].sum() >= others - 1
    assert kept(torch.tensor([score]), 20).all() and kept(torch.tensor([1.0, score]), 0).all()
    rollouts = drawn()
    rollouts.teacher_logp[3, 0] = score
    rollouts.teacher_entropy[3] = torch.nan
    weights = step_weights(rollouts, Fire(), 4)
    assert weights.isfinite().all() and not weights[3].any() and weights.gt(0).any(1).sum() == 6


def test_micro_batches_of_one_leave_nothing_out_as_released() -> None:
    rollouts = drawn()
    released = Fire(filter_scope="micro_batch", weight_scope="micro_batch")
    left = {n: int(step_weights(rollouts, released, n).gt(0).any(1).sum()) for n in (1, 2, 4, 8)}
    assert left == {1: 8, 2: 4, 4: 6, 8: 6}


def test_the_step_is_one_whole_however_it_is_cut() -> None:
    rollouts = drawn()
    for scope in ("step", "trajectory"):
        whole = step_weights(rollouts, Fire(weight_scope=scope), 8)
        assert all(
            torch.equal(step_weights(rollouts, Fire(weight_scope=scope), n), whole)
            for n in (1, 2, 4)
        )
    by_micro_batch = [step_weights(rollouts, Fire(weight_scope="micro_batch"), n) for n in (2, 8)]
    assert not torch.allclose(*by_micro_batch)
    one = step_weights(rollouts, Fire(weight_scope="micro_batch"), 1)
    assert torch.equal(one, step_weights(rollouts, Fire(weight_scope="trajectory"), 1))


def test_weights_are_normalised_before_the_filter() -> None:
    rollouts = drawn()
    weights = step_weights(rollouts, Fire(weight_scope="step"), 8)
    everything = step_weights(rollouts, Fire(weight_scope="step", percentile=0), 8)
    stays = weights.gt(0).any(1)
    assert stays.sum() == 6
    assert torch.equal(weights[stays], everything[stays])
    assert everything.sum() / rollouts.mask.sum() == pytest.approx(1)


def test_padding_changes_no_weight() -> None:
    rollouts = drawn()
    wider = replace(
        rollouts,
        mask=torch.nn.functional.pad(rollouts.mask, (0, 3)),
        **{
            name: torch.nn.functional.pad(getattr(rollouts, name), (0, 3), value=7.0)
            for name in ("teacher_logp", "teacher_entropy", "student_logp", "student_entropy")
        },
    )
    for scope in ("step", "trajectory", "micro_batch"):
        fire = Fire(weight_scope=scope)
        found = step_weights(wider, fire, 4)
        torch.testing.assert_close(found[:, :6], step_weights(rollouts, fire, 4), rtol=1e-6, atol=0)
        assert not found[:, 6:].any()
        assert summary(wider, found) == pytest.approx(
            summary(rollouts, step_weights(rollouts, fire, 4)), rel=1e-6
        )


def test_each_teachers_rollouts_may_be_ranked_by_themselves() -> None:
    rollouts = drawn()
    harsh = rollouts.teacher_logp - 10 * rollouts.teacher[:, None]
    rollouts = replace(rollouts, teacher_logp=harsh)
    together = step_weights(rollouts, Fire(), 8).gt(0).any(1)
    apart = step_weights(rollouts, Fire(filter_per_teacher=True), 8).gt(0).any(1)
    assert [int(together[rollouts.teacher == k].sum()) for k in (0, 1)] == [4, 2]
    assert [int(apart[rollouts.teacher == k].sum()) for k in (0, 1)] == [3, 3]


def test_what_is_logged() -> None:
    rollouts = drawn(2, 2)
    rollouts = replace(
        rollouts,
        mask=torch.tensor([[1, 1], [1, 0]]),
        student_logp=torch.tensor([[-1.0, -1.0], [-2.0, 5.0]]),
        teacher_logp=torch.tensor([[-2.0, -4.0], [-1.0, 5.0]]),
    )
    found = summary(rollouts, torch.tensor([[2.0, 1.0], [0.0, 0.0]]))
    assert found == pytest.approx(
        {"kept": 0.5, "effective_sample_size": 9 / 5 / 3, "teacher_logp": -2.0, "sampled_kl": 1.0}
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"alpha": -1.0}, "alpha"), ({"beta": float("nan")}, "beta"), ({"percentile": 101.0}, "percentile"),
        ({"filter_scope": "rollout"}, "step or micro_batch"), ({"weight_scope": "batch"}, "trajectory"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Fire(**settings)


def pair(tokens: int = 5, vocabulary: int = 7) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    student = (
        Head(weight=random(vocabulary, 4).requires_grad_()),
        random(tokens, 4).requires_grad_(),
    )
    teacher = (Head(weight=random(vocabulary, 3)), random(tokens, 3))
    return student, teacher, torch.rand(tokens, generator=generator) + 0.5


def log_q(side: tuple[Head, Tensor]) -> Tensor:
    return (side[1] @ side[0].weight.T).log_softmax(-1)


def gradients(loss: Tensor, student: tuple[Head, Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, (student[0].weight, student[1]), retain_graph=True)


@pytest.mark.parametrize(
    ("divergence", "value"),
    [(0, 0.0920329), (0.1, 0.0081848), (0.5, 0.0219012), (0.9, 0.0076947), (1, 0.0851229)],
)
def test_divergences_of_the_worked_example(divergence: float, value: float) -> None:
    def side(*p: float) -> tuple[Head, Tensor]:
        return Head(weight=torch.tensor(p).log()[:, None]), torch.ones(1, 1)

    weights = torch.tensor([2.0])
    loss, _ = full_loss(side(0.7, 0.2, 0.1), side(0.5, 0.3, 0.2), weights, divergence=divergence)
    assert loss.item() == pytest.approx(2 * value, abs=1e-6)


def test_full_loss_is_the_weighted_reverse_kl() -> None:
    student, teacher, weights = pair()
    weights[2] = 0
    loss, entropy = full_loss(student, teacher, weights)
    own, other = log_q(student), log_q(teacher)
    expected = (weights * (own.exp() * (own - other)).sum(-1)).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(entropy, -(own.exp() * own).sum(-1).detach())
    for one, two in zip(gradients(loss, student), gradients(expected, student), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_sampled_loss_is_the_policy_gradient_of_the_advantage() -> None:
    student, teacher, weights = pair()
    drawn = torch.tensor([0, 6, 3, 2, 5])
    own, other = (log_q(side)[range(5), drawn] for side in (student, teacher))
    loss, _ = sampled_loss(student, drawn, weights, own.detach(), other)
    expected = -(weights * (other - own).detach() * own).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, two in zip(gradients(loss, student), gradients(expected, student), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_sampled_and_full_form_have_the_same_expected_gradient() -> None:
    student, teacher, weights = pair(tokens=2, vocabulary=4)
    own, other = log_q(student), log_q(teacher)
    total = [torch.zeros_like(part) for part in (student[0].weight, student[1])]
    for tokens in itertools.product(range(4), repeat=2):
        drawn = torch.tensor(tokens)
        probability = own[[0, 1], drawn].sum().exp().item()
        logp = (own[[0, 1], drawn].detach(), other[[0, 1], drawn])
        loss, _ = sampled_loss(student, drawn, weights, *logp)
        for part, gradient in zip(total, gradients(loss, student), strict=True):
            part += probability * gradient
    full = gradients(full_loss(student, teacher, weights)[0], student)
    for one, two in zip(total, full, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_tempered_head_divides_the_logits() -> None:
    hidden = torch.randn(3, 4)
    for softcap in (None, 2.0):
        head = Head(weight=torch.randn(7, 4), bias=torch.randn(7), scale=1.5, softcap=softcap)
        torch.testing.assert_close(tempered(head, 0.7).logits(hidden), head.logits(hidden) / 0.7)


def test_plain_keeps_everything_with_weight_one() -> None:
    rollouts = drawn()
    assert torch.equal(step_weights(rollouts, PLAIN, 4), rollouts.mask.float())
