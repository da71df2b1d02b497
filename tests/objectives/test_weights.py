"""The weight functions against autograd of the published losses; exact vectors, identities, limits."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from advisor.model.head import Anchor, Head, weighted_nll
from advisor.objectives.table import OBJECTIVES, Objective, TokenStats, get_objective
from tests.helpers.published_losses import (
    LENGTHS,
    LOSSES,
    Step,
    entropy,
    make_step,
    mass,
    top20_entropy,
)

DOUBLE = torch.float64
MIXED = [
    0.92, 1e-30, 1 - 1e-12, 0.09, 1 - 1e-6, 0.3, 1e-12, 0.19, 0.999, 0.51, 0.95, 0.7, 0.49, 1e-3,
]  # fmt: skip
UNLIKELY = [1e-3, 1e-30, 1e-4, 2e-4, 1e-12, 1e-3, 3e-4, 1e-5, 1e-6, 1e-20, 1e-3, 1e-4, 2e-3, 1e-9]
OTHER_PARAMETERS = [
    "p_pow(0.1)", "p_pow(0.5)", "p_pow(1)", "p_pow(3)", "threshold(0.5)", "nll_below(0.5)",
    "neg_p_above(0.5)", "neg_p_below(0.5)", "profit(0.5)", "log_one_minus_p(0.1)", "focal(0.5)",
    "focal(2)", "focal(5)", "huber(0.1)", "huber(1)", "floored_dft(0.4)", "eaft(2)", "eaft(0.5)",
    "idft(0.5, 0.3, 1)", "idft_phi(1)", "cadft(0.5)", "cadft_mean(0.5)", "iw_sft(60)",
    "prift_mass(0.9)", "talr(0.3)", "gem(0.9)", "tailsft(0.5, 0)", "tailsft(0.6, 0, 1)",
    "iw_sft_token(0.9, 1.1)", "psft(0.1)", "infosft(0.6)", "asft(0.5)",
]  # fmt: skip
HALFWAY = 0.5
"""Of the training: where a row that changes while it trains is asked for weights."""
FREEZABLE = [row.label for row in OBJECTIVES.values() if row.statistics]
"""Rows whose weight may be that of the model before training."""
LABELS = [*(row.label for row in OBJECTIVES.values()), *OTHER_PARAMETERS]
SMOOTH = [
    "nll", "neg_p", "p_pow(0.1)", "p_pow(0.5)", "p_pow", "log_one_minus_p", "focal", "focal(2)",
    "huber", "huber(1)",
]  # fmt: skip
TARGET_ALONE = [
    *SMOOTH, "threshold", "nll_below", "neg_p_above", "neg_p_below", "profit", "floored_dft",
    "infosft", "asft", "chord_phi",
]  # fmt: skip
"""Rows whose weight is a function of the target's p alone."""
THREE = torch.tensor([0.7, 0.2, 0.1], dtype=DOUBLE)
THREE_ENTROPY = torch.full_like(THREE, 0.8018186)


def stats_of(p: Tensor, **fields: Tensor) -> TokenStats:
    zero = torch.zeros_like(p)
    return TokenStats(**{"logp": p.log(), "entropy": zero, "top1": p > 0.5, **fields})


def full_stats(step: Step) -> TokenStats:
    z = step.logits.detach()
    return TokenStats(
        **seen(z, step.targets),
        **before(step),
        top1=z.argmax(1) == step.targets,
        example=step.example,
        forward=step.forward,
    )


def seen(z: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Every statistic of a model with these logits."""
    return {
        "logp": Step(logits=z, targets=targets, reference=z).log_p,
        "entropy": entropy(z),
        "topk_entropy": top20_entropy(z),
        "collision": z.softmax(1).square().sum(1),
        "mass": mass(z, targets),
    }


def before(step: Step) -> dict[str, Tensor]:
    """Those of the model before training, by their columns."""
    found = seen(step.reference, step.targets)
    return {f"reference_{name}": column for name, column in found.items()}


def in_force(label: str) -> Objective:
    return get_objective(label).at(HALFWAY)


def published_gradient(label: str, step: Step) -> Tensor:
    row = in_force(label)
    return torch.autograd.grad(LOSSES[row.name](step, **row.settings).sum(), step.logits)[0]


def assert_same_rows(actual: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    error = (actual - expected).norm(dim=1)
    assert bool((error <= tolerance * expected.norm(dim=1)).all()), error / expected.norm(dim=1)


def test_every_row_has_a_published_loss_and_a_test_at_its_default() -> None:
    assert set(LOSSES) == {row.at(HALFWAY).name for row in OBJECTIVES.values()}
    assert {get_objective(label).name for label in LABELS} == set(OBJECTIVES)


@pytest.mark.parametrize("probabilities", [MIXED, UNLIKELY], ids=["mixed", "unlikely"])
@pytest.mark.parametrize(
    "label", [label for label in LABELS if not label.startswith(("asft", "gem"))]
)
def test_gradient_is_that_of_the_published_loss(label: str, probabilities: list[float]) -> None:
    step = make_step(probabilities)
    expected = published_gradient(label, step)
    assert probabilities is UNLIKELY or expected.norm(dim=1).count_nonzero() >= 3
    weights = in_force(label).weight(full_stats(step))
    actual = torch.autograd.grad(-(weights * step.log_p).sum(), step.logits)[0]
    closed = step.logits.detach().softmax(1)
    closed[torch.arange(len(closed)), step.targets] = -step.one_minus_p.detach()
    assert_same_rows(actual, weights[:, None] * closed, 1e-12)
    assert_same_rows(actual, expected)


@pytest.mark.parametrize("label", LABELS)
def test_the_head_gives_the_gradient_of_the_published_loss(label: str) -> None:
    row = in_force(label)
    # The head takes q - 1 from a softmax, exact to 1e-16: the last digits of 1 - p are its limit, not ours.
    probabilities = MIXED if row.name == "asft" else [min(p, 1 - 1e-6) for p in MIXED]
    step = make_step(probabilities)
    expected = published_gradient(label, step)
    # Unit vectors as hidden states make the head's weight the logits themselves.
    unit = torch.eye(len(MIXED), dtype=DOUBLE)
    head = Head(weight=step.logits.detach().T.clone().requires_grad_())
    was = Head(weight=step.reference.T)
    anchor = Anchor(head=was, hidden=unit, coefficient=row.anchor_coefficient)
    result = weighted_nll(
        head, unit, step.targets, row.weight, sparse=row.sparse, needs=row.head_statistics,
        given={"example": step.example, "forward": step.forward, **before(step)},
        anchor=anchor if "anchor" in row.needs else None, temperature=row.temperature,
    )  # fmt: skip
    assert_same_rows(torch.autograd.grad(result.loss, head.weight)[0].T, expected)
    if row.name in ("asft", "gem"):
        torch.testing.assert_close(result.loss, LOSSES[row.name](step, **row.settings).sum())


def frozen_gradient(label: str, step: Step) -> Tensor:
    """That of -sg(w) log p, with w read off the published loss's gradient under the model before training."""
    row = in_force(label)
    was = Step(
        logits=step.reference.clone().requires_grad_(),
        targets=step.targets,
        reference=step.reference,
    )
    loss = LOSSES[row.name](was, **{**row.settings, **({"kl": 0.0} if row.name == "asft" else {})})
    (pull,) = torch.autograd.grad(loss.sum(), was.logits)
    weight = -pull.gather(1, step.targets[:, None])[:, 0] / was.one_minus_p.detach()
    return torch.autograd.grad(-(weight * step.log_p).sum(), step.logits)[0]


@pytest.mark.parametrize("probabilities", [MIXED, UNLIKELY], ids=["mixed", "unlikely"])
@pytest.mark.parametrize("label", FREEZABLE)
def test_a_frozen_prior_gives_the_weight_of_the_model_before_training(
    label: str, probabilities: list[float]
) -> None:
    frozen = get_objective(f"{label.removesuffix(')')}{', ' if '(' in label else '('}prior=frozen)")
    assert frozen.label in (f"{label[:-1]}, prior=frozen)", f"{label}(prior=frozen)")
    step = make_step(probabilities)
    weights = frozen.at(HALFWAY).weight(full_stats(step))
    actual = torch.autograd.grad(-(weights * step.log_p).sum(), step.logits)[0]
    assert_same_rows(actual, frozen_gradient(label, step))
    # what is learnt does not change it
    learnt = make_step([1 - p if 0.01 < p < 0.99 else p for p in probabilities])
    later = TokenStats(**{**vars(full_stats(learnt)), **before(step)})
    assert torch.equal(frozen.at(HALFWAY).weight(later), weights)


def test_dft_has_the_gradient_of_minus_p() -> None:
    step = make_step(MIXED)
    (expected,) = torch.autograd.grad((1 - step.p).sum(), step.logits)
    assert_same_rows(published_gradient("neg_p", step), expected)


AUTHORS = json.loads(
    (Path(__file__).parents[1] / "helpers" / "author_vectors.json").read_text(encoding="utf-8")
)
"""Inputs, and the gradients that the authors' formulas give on them: commit, file and function of each."""


@pytest.mark.parametrize(
    "entry", AUTHORS["losses"], ids=lambda entry: f"{entry['objective']} {entry['repository']}"
)
def test_equal_to_the_numbers_of_the_authors_code(entry: dict[str, Any]) -> None:
    step = Step(
        logits=torch.tensor(AUTHORS["logits"], dtype=DOUBLE).requires_grad_(),
        targets=torch.tensor(AUTHORS["targets"]),
        reference=torch.tensor(AUTHORS["reference"], dtype=DOUBLE),
    )
    row = get_objective(entry["objective"])
    unit = torch.eye(len(step.targets), dtype=DOUBLE)
    head = Head(weight=step.logits.detach().T.clone().requires_grad_())
    lengths = torch.tensor(AUTHORS["lengths"])
    given = {"example": torch.arange(len(lengths)).repeat_interleave(lengths), **before(step)}
    whole = TokenStats(**{**seen(step.logits.detach(), step.targets), **given}, top1=step.p > 0.5)
    anchor = Anchor(
        head=Head(weight=step.reference.T), hidden=unit, coefficient=row.anchor_coefficient
    )
    result = weighted_nll(
        head, unit, step.targets, row.weight(whole), temperature=row.temperature,
        anchor=anchor if "anchor" in row.needs else None,
    )  # fmt: skip
    (actual,) = torch.autograd.grad(result.loss, head.weight)
    expected = torch.tensor(entry["gradient"], dtype=DOUBLE)
    assert (actual.T - expected).abs().max() <= 1e-6
    assert_same_rows(actual.T, expected)
    assert expected.norm(dim=1).count_nonzero() >= 2
    assert len(entry["commit"]) == 40 and entry["file"] and entry["function"]


def test_a_row_is_published_where_it_equals_the_numbers_of_its_authors() -> None:
    held = {get_objective(entry["objective"]).name for entry in AUTHORS["losses"]}
    assert held == {row.name for row in OBJECTIVES.values() if row.status == "published"}


@pytest.mark.parametrize(
    ("label", "same"),
    [
        ("p_pow(1e-12)", "nll"),
        ("p_pow(1)", "dft"),
        ("threshold(0)", "nll"),
        ("profit(0)", "nll"),
        ("nll_below(1)", "nll"),
        ("neg_p_above(0)", "dft"),
        ("neg_p_below(1)", "dft"),
        ("focal(0)", "nll"),
        ("floored_dft(0)", "dft"),
        ("floored_dft(1)", "nll"),
        ("eaft(0)", "nll"),
        ("log_one_minus_p(1)", "dft"),
        ("idft(1, 1, 1)", "dft"),
        ("idft(1, 0, 0)", "nll"),
        ("idft_phi(0)", "dft"),
        ("cadft(0)", "dft"),
        ("cadft_mean(0)", "dft"),
        ("iw_sft(0)", "nll"),
        ("iw_sft_token(1, 1)", "nll"),
        ("asft(0)", "dft"),
        ("chord_phi", "huber(1)"),
        ("talr(1)", "nll"),
        ("prift_prob", "dft(prior=frozen)"),
        ("prift_prob", "p_pow(1, prior=frozen)"),
        ("prift_mass(0)", "nll"),
        ("dft(prior=current)", "dft"),
    ],
)
@pytest.mark.parametrize("probabilities", [MIXED, UNLIKELY], ids=["mixed", "unlikely"])
def test_identities(label: str, same: str, probabilities: list[float]) -> None:
    stats = full_stats(make_step(probabilities))
    one, other = get_objective(label), get_objective(same)
    torch.testing.assert_close(one.weight(stats), other.weight(stats), rtol=1e-9, atol=0)
    assert one.anchor_coefficient == other.anchor_coefficient == 0


def test_identities_of_special_statistics() -> None:
    p = torch.tensor([1e-30, 1e-3, 0.4, 0.999], dtype=DOUBLE)
    one_hot = stats_of(p, collision=torch.ones_like(p))
    torch.testing.assert_close(get_objective("deft").weight(one_hot), p, rtol=2e-6, atol=0)
    sure = stats_of(p, reference_logp=torch.zeros_like(p))  # psft, far below the clip: w = p / p0
    torch.testing.assert_close(get_objective("psft").weight(sure), p)
    untrained = stats_of(p, reference_logp=p.log())
    for label in ("psft", "iw_sft_token"):
        assert torch.equal(get_objective(label).weight(untrained), torch.ones_like(p))
    torch.testing.assert_close(get_objective("huber(1)").weight(stats_of(p)), p * (1 - p))


def test_chord_phi_raises_what_an_undetached_weight_lowers() -> None:
    logp = torch.tensor([0.1, 0.235, 0.237, 0.9], dtype=DOUBLE).log().requires_grad_()
    undetached = -(logp.exp() * (1 - logp.exp()) * logp)
    (slope,) = torch.autograd.grad(undetached.sum(), logp)
    assert (slope > 0).tolist() == [True, True, False, False]
    assert slope[0].item() == pytest.approx(0.0942, abs=5e-5)
    weights = get_objective("chord_phi").weight(stats_of(logp.detach().exp()))
    assert weights[0].item() == pytest.approx(0.09) and bool((weights > 0).all())


def test_talr_vector() -> None:
    # mean NLL 1, 3, 2.5 and 20: tau = 2.75, w = exp(-NLL / 2.75), at least .01
    example = torch.tensor([0, 0, 1, 2, 2, 3])
    nll = torch.tensor([0.5, 1.5, 3.0, 1.0, 4.0, 20.0], dtype=DOUBLE)
    weights = get_objective("talr").weight(stats_of((-nll).exp(), example=example))
    expected = torch.tensor([0.833753, 0.579578, 0.335911, 0.695144, 0.233506, 0.01], dtype=DOUBLE)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)
    alone = get_objective("talr").weight(stats_of((-nll[:2]).exp(), example=example[:2]))
    torch.testing.assert_close(alone, (-nll[:2]).exp())  # tau = 1: dft


def test_tailsft_leaves_out_what_rose_most_within_a_forward_or_the_step() -> None:
    # l0 - l of the examples: 2, .5, -1 (two tokens each, then one) in the first forward, 1, 3 in the second
    example = torch.tensor([0, 0, 1, 1, 2, 3, 4])
    rise = torch.tensor([1.0, 3.0, 0.5, 0.5, -1.0, 1.0, 3.0], dtype=DOUBLE)
    was = torch.full_like(rise, -4.0)
    stats = stats_of((was + rise).exp(), reference_logp=was, example=example,
                     forward=torch.tensor([0, 0, 0, 0, 0, 1, 1]))  # fmt: skip

    def weight(label: str, done: float = HALFWAY) -> list[float]:
        found: list[float] = get_objective(label).at(done).weight(stats).tolist()
        return found

    third = 5 / 3  # of the first forward's five tokens three are kept
    # half of three is two, as Python rounds, and half of two is one
    assert weight("tailsft(0.5, 0)") == pytest.approx([0, 0, 0, 0, 5, 2, 0])
    assert weight("tailsft(0.34, 0)") == pytest.approx([0, 0, third, third, third, 2, 0])
    assert weight("tailsft(0.4, 0, 1)") == pytest.approx([0, 0, *[7 / 4] * 3, 7 / 4, 0])
    assert weight("tailsft(1, 0, 1)") == pytest.approx([0, 0, 0, 0, 7, 0, 0])  # one is always kept
    assert weight("tailsft(0)") == weight("nll") == weight("tailsft", 0.0) == [1] * 7
    assert get_objective("tailsft").at(0.5).settings["fraction"] == 0.25
    assert get_objective("tailsft(0.5, 0)").at(0.1).settings["fraction"] == 0.5


def test_gem_has_the_gradient_of_nll_at_a_temperature() -> None:
    step = make_step([min(p, 0.99) for p in MIXED])
    for beta in (0.4, 0.7, 1.0):
        tempered = beta * torch.nn.functional.cross_entropy(
            step.logits / beta, step.targets, reduction="sum"
        )
        (expected,) = torch.autograd.grad(tempered, step.logits)
        assert_same_rows(published_gradient(f"gem({beta})", step), expected)


def test_membership_at_the_threshold_itself() -> None:
    edge = stats_of(torch.tensor([0.2], dtype=DOUBLE))
    kept = {name: get_objective(f"{name}(0.2)").weight(edge).item() for name in
            ("threshold", "nll_below", "neg_p_above", "neg_p_below", "profit")}  # fmt: skip
    assert kept == {"threshold": 1, "nll_below": 1, "neg_p_above": pytest.approx(0.2),
                    "neg_p_below": pytest.approx(0.2), "profit": 0}  # fmt: skip
    at_clip = stats_of(edge.p, logp=torch.tensor([math.log1p(0.28)]), reference_logp=torch.zeros(1))
    assert get_objective("psft(0.28)").weight(at_clip).item() == pytest.approx(1.28)
    assert get_objective("psft(0.2799)").weight(at_clip).item() == 0


def test_cadft_vector() -> None:
    # c = 1, 2, 3, 4: population deviation 1.118034; the sample deviation would give .6789 and .3129
    nll = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=DOUBLE).repeat_interleave(2)
    stats = stats_of((-nll).exp(), example=torch.arange(4).repeat_interleave(2))
    factor = get_objective("cadft").weight(stats) / stats.p
    expected = torch.tensor([1.0, 1.0, 0.6394, 0.2614], dtype=DOUBLE).repeat_interleave(2)
    torch.testing.assert_close(factor, expected, rtol=0, atol=5e-5)


def test_cadft_is_length_normalised_and_shift_and_scale_invariant() -> None:
    example = torch.tensor([0, 0, 0, 1, 2, 2])
    nll = torch.tensor([1.0, 2.0, 3.0, 2.5, 4.0, 0.5], dtype=DOUBLE)

    def factor(values: Tensor, example: Tensor = example) -> Tensor:
        stats = stats_of((-values).exp(), example=example)
        return get_objective("cadft").weight(stats) / stats.p

    torch.testing.assert_close(factor(nll), factor(5 * nll + 1), rtol=1e-4, atol=0)
    assert factor(nll)[3] < 1 == factor(nll)[0]  # means 2, 2.5, 2.25: only the second is punished
    torch.testing.assert_close(factor(nll), factor(nll, 2 * example + 1))  # numbers may be missing


@pytest.mark.parametrize("example", [[0, 0, 0], [0, 1, 2], [4, 4, 9]])
def test_cadft_of_equal_examples_or_one_is_dft(example: list[int]) -> None:
    stats = stats_of(torch.tensor([0.3, 0.3, 0.3]), example=torch.tensor(example))
    torch.testing.assert_close(get_objective("cadft").weight(stats), stats.p)


def test_the_control_of_cadft_has_its_sum_in_the_proportions_of_dft() -> None:
    # c = 1, 2, 3, 4 as above: (e^-1 + e^-2 + .6394 e^-3 + .2614 e^-4) / (e^-1 + e^-2 + e^-3 + e^-4) = .944897
    nll = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=DOUBLE).repeat_interleave(2)
    stats = stats_of((-nll).exp(), example=torch.arange(4).repeat_interleave(2))
    weights = get_objective("cadft_mean").weight(stats)
    expected = torch.full_like(nll, 0.944897)
    torch.testing.assert_close(weights / stats.p, expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(weights.sum(), get_objective("cadft").weight(stats).sum())


@pytest.mark.parametrize(
    ("label", "loss"),
    [
        ("dft", (0.249672, 0.321888, 0.230259)),
        ("idft", (0.283806, 0.064378, 0.023026)),
        # gamma = .640732, 2.242563, 4.485126, which only the clip of phi lets through
        ("idft_phi", (0.283806, 0.2**2.242563 * 1.609438, 0.1**4.485126 * 2.302585)),
    ],
)
def test_idft_vector(label: str, loss: tuple[float, ...]) -> None:
    torch.testing.assert_close(-(THREE * THREE.log()).sum(), THREE_ENTROPY[0], rtol=0, atol=5e-8)
    stats = stats_of(THREE, entropy=THREE_ENTROPY)
    actual = get_objective(label).weight(stats) * -stats.logp
    torch.testing.assert_close(actual, torch.tensor(loss, dtype=DOUBLE), rtol=0, atol=1e-6)


def test_infosft_vector_does_not_depend_on_the_batch() -> None:
    # logit .93 = 2.586689; logit .8 = 1.386294, .5 = 0, .2 = -1.386294: 1 - ratio = .464066, 1, 1.535934
    p = torch.tensor([0.8, 0.5, 0.2, 0.93, 0.99], dtype=DOUBLE)
    expected = torch.tensor([0.371253, 0.5, 0.307187, 0.0, 0.0], dtype=DOUBLE)
    infosft = get_objective("infosft")
    torch.testing.assert_close(infosft.weight(stats_of(p)), expected, rtol=0, atol=1e-6)
    alone = torch.cat([infosft.weight(stats_of(token)) for token in p.split(1)])
    assert torch.equal(alone, infosft.weight(stats_of(p)))
    assert "step" not in infosft.needs
    never = stats_of(p[:1], logp=torch.tensor([-math.inf]))  # a token that the model rules out
    assert infosft.weight(never).tolist() == [0.0]


def undetached_idft_slope(logp: Tensor, gamma: Tensor | float) -> Tensor:
    """dL/dlog p of the first release, which let the gradient through p^gamma."""
    logp = logp.detach().requires_grad_()
    return torch.autograd.grad(-((gamma * logp).exp() * logp).sum(), logp)[0]


def test_the_first_release_of_idft_on_the_published_vector() -> None:
    gamma = torch.tensor([0.640732, 2.0, 2.0], dtype=DOUBLE)
    first = torch.tensor([-0.613856, 0.088755, 0.036052], dtype=DOUBLE)
    slope = undetached_idft_slope(THREE.log(), gamma)
    torch.testing.assert_close(slope, first, rtol=0, atol=1e-6)
    now = torch.tensor([0.795700, 0.04, 0.01], dtype=DOUBLE)
    weights = get_objective("idft").weight(stats_of(THREE, entropy=THREE_ENTROPY))
    torch.testing.assert_close(weights, now, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 2.0])
def test_the_first_release_of_idft_lowers_improbable_targets_and_our_row_never(
    gamma: float,
) -> None:
    logp = torch.tensor([-2.0, -1.01, -0.99, -0.5], dtype=DOUBLE) / gamma
    lowered = undetached_idft_slope(logp, gamma) > 0
    assert lowered.tolist() == [True, True, False, False]  # where p < exp(-1 / gamma)
    weights = get_objective(f"idft(1, {gamma}, {gamma})").weight(stats_of(logp.exp()))
    assert bool((weights > 0).all())


@pytest.mark.parametrize("label", LABELS)
def test_weights_are_detached_finite_and_not_negative_in_float32(label: str) -> None:
    logp = torch.tensor([-200.0, -69.0, -20.0, -1.0, -1e-7, 0.0, -200.0, 0.0], requires_grad=True)
    extremes = TokenStats(
        logp=logp,
        entropy=torch.tensor([0.0, 12.0, -1e-7, 0.5, 0.0, 0.0, 12.0, 12.0]),
        top1=logp > -1,
        example=torch.tensor([0, 0, 1, 3, 3, 3, 4, 5]),
        forward=torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]),
        topk_entropy=torch.tensor([0.0, 3.0, -1e-7, 0.5, 0.0, 0.0, 3.0, 3.0]),
        collision=torch.tensor([1.0, 0.0, 1e-30, 0.5, 1.0, 1.0, 1e-6, 1.0]),
        reference_logp=torch.tensor([0.0, -200.0, -1.0, -69.0, 0.0, -200.0, -200.0, 0.0]),
        reference_mass=torch.tensor([0.0, 0.0, 0.5, 0.3, 1.0, 0.0, 0.9, 1.0]),
    )
    for count in (8, 1, 0):  # all, then a single token of p = 0, then none
        given = {name: value for name, value in vars(extremes).items() if value is not None}
        fields = {name: value[:count] for name, value in given.items()}
        weights = in_force(label).weight(TokenStats(**fields))
        assert weights.shape == (count,) and weights.dtype == torch.float32
        assert not weights.requires_grad
        assert bool((weights >= 0).all() and weights.isfinite().all()), weights


def mass_above_half(label: str) -> tuple[float, float]:
    """Share of the mass of W(p) = w(p) (1 - p) that lies above p = 1/2, and its argmax."""
    p = (torch.arange(200_000, dtype=DOUBLE) + 0.5) / 200_000
    force = get_objective(label).weight(stats_of(p)) * (1 - p)
    return (force[p > 0.5].sum() / force.sum()).item(), p[force.argmax()].item()


@pytest.mark.parametrize("label", TARGET_ALONE)
def test_leaning_says_where_the_mass_lies_compared_with_nll(label: str) -> None:
    share, _ = mass_above_half(label)  # 1/4 for NLL, 1/2 for -p
    sign = 0 if abs(share - 0.25) < 1e-4 else 1 if share > 0.25 else -1
    assert get_objective(label).leaning == ("neutral", "prior-leaning", "prior-averse")[sign], share


@pytest.mark.parametrize("label", SMOOTH)
def test_peak_of_a_convex_loss_lies_below_half_and_of_a_concave_one_above(label: str) -> None:
    p = torch.linspace(0.001, 0.998, 4000, dtype=DOUBLE)
    z = torch.stack([p.log() - torch.log1p(-p), torch.zeros_like(p)], 1)
    step = Step(logits=z, targets=torch.zeros(len(p), dtype=torch.long), reference=z)
    row = get_objective(label)
    f = 1 - p if label == "neg_p" else LOSSES[row.name](step, **row.settings)
    convex, concave = bool((f.diff(n=2) >= -1e-12).all()), bool((f.diff(n=2) <= 1e-12).all())
    assert convex or concave
    _, peak = mass_above_half(label)
    assert not convex or peak <= 0.5 + 1e-5  # Prop. 3.2
    assert not concave or peak >= 0.5 - 1e-5


def test_lengths_differ_so_that_example_means_are_tested() -> None:
    assert len(set(LENGTHS)) == len(LENGTHS) and sum(LENGTHS) == len(MIXED) == len(UNLIKELY)
