"""An objective as another trainer's loss function, against autograd of the published losses."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from advisor.errors import InputError
from advisor.model.loss_function import objective_loss, weighted_logp
from advisor.objectives.table import OBJECTIVES, get_objective
from tests.helpers.paths import ROOT
from tests.helpers.published_losses import LOSSES, Step, make_step

PROBABILITIES = [0.9, 0.05, 0.3, 0.6, 0.99, 0.21, 0.4, 0.75, 0.1, 0.55, 0.02, 0.8, 0.35, 0.5]
HERE = [name for name, row in OBJECTIVES.items() if not row.beyond_a_batch]
ELSEWHERE = [
    *sorted(set(OBJECTIVES) - set(HERE)),
    "nll>neg_p",
    "threshold(10%)",
    "dft(prior=frozen)",
]


def padded(step: Step) -> tuple[Tensor, Tensor]:
    """A batch of two rows whose targets are the step's, with a context token before and padding behind."""
    logits = torch.zeros(2, 16, step.logits.shape[1], dtype=torch.float64)
    labels = torch.full((2, 16), -100)
    for row, half in enumerate((slice(0, 7), slice(7, 14))):
        logits[row, 3:10] = step.logits.detach()[half]
        labels[row, 4:11] = step.targets[half]
    return logits.requires_grad_(), labels


def published(name: str, step: Step) -> Tensor:
    """[tokens, vocabulary] the gradient of the mean of the loss as its paper writes it."""
    logits = step.logits.detach().requires_grad_()
    again = Step(logits=logits, targets=step.targets, reference=step.reference)
    LOSSES[name](again, **OBJECTIVES[name].settings).sum().div(len(step.targets)).backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("as_dict", [True, False])
@pytest.mark.parametrize("name", HERE)
def test_the_gradient_is_that_of_the_published_loss(name: str, as_dict: bool) -> None:
    step = make_step(PROBABILITIES)
    logits, labels = padded(step)
    outputs = {"logits": logits} if as_dict else SimpleNamespace(logits=logits)
    objective_loss(name)(outputs, labels, trainer="not read").backward()
    found = torch.cat([logits.grad[0, 3:10], logits.grad[1, 3:10]])  # type: ignore[index]
    assert (found - published(name, step)).abs().max() < 1e-6
    assert found.abs().sum() == pytest.approx(logits.grad.abs().sum())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [name for name in HERE if OBJECTIVES[name].of_logp_alone])
def test_weighted_log_probabilities_have_the_same_gradient(name: str) -> None:
    step = make_step(PROBABILITIES)
    logits = step.logits.detach().requires_grad_()
    logp = logits.log_softmax(1).gather(1, step.targets[:, None])[:, 0].view(2, 7)
    (-weighted_logp(name)(logp).sum() / 14).backward()
    assert (logits.grad - published(name, step)).abs().max() < 1e-6  # type: ignore[operator]


def test_rows_that_need_the_distribution_are_told_from_those_that_need_the_target() -> None:
    alone = {name for name in HERE if OBJECTIVES[name].of_logp_alone}
    assert set(HERE) - alone == {"gem", "eaft", "idft", "idft_phi", "deft"}
    for name in set(HERE) - alone:
        with pytest.raises(InputError, match="use a trainer that gives logits"):
            weighted_logp(name)


def test_the_trainers_number_of_targets_divides() -> None:
    """What a trainer counts over a whole step, so that accumulation changes nothing."""
    logits, labels = (tensor.detach() for tensor in padded(make_step(PROBABILITIES)))
    loss = objective_loss("dft")
    whole = loss({"logits": logits}, labels)
    halves = [loss({"logits": logits[i : i + 1]}, labels[i : i + 1], 14) for i in (0, 1)]
    assert float(sum(halves)) == pytest.approx(float(whole), rel=1e-6)
    assert float(loss({"logits": logits}, labels, torch.tensor(28))) == pytest.approx(
        float(whole) / 2
    )


@pytest.mark.parametrize("name", ["nll", "idft(1, 0.1, 2)", "gem"])
def test_a_masked_entry_of_the_vocabulary_spoils_nothing(name: str) -> None:
    """Breaks where a model that masks a padded vocabulary with -inf gives NaN."""
    logits, labels = torch.randn(1, 5, 9), torch.randint(0, 8, (1, 5))
    masked = logits.index_fill(2, torch.tensor([8]), -torch.inf).requires_grad_()
    whole = logits[..., :8].clone().requires_grad_()
    losses = [objective_loss(name)(SimpleNamespace(logits=z), labels) for z in (masked, whole)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(losses[0], losses[1])
    assert masked.grad is not None and whole.grad is not None
    torch.testing.assert_close(masked.grad[..., :8], whole.grad)


def test_a_batch_without_targets_is_zero_with_a_live_graph() -> None:
    logits, labels = padded(make_step(PROBABILITIES))
    loss = objective_loss("dft")({"logits": logits}, torch.full_like(labels, -100))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_no_batch_can_tell_is_refused(name: str) -> None:
    for function in (objective_loss, weighted_logp):
        with pytest.raises(
            InputError, match=r"use `advisor train`, or advisor\.add_objective_head"
        ):
            function(get_objective(name))


@pytest.mark.slow
def test_it_needs_torch_alone() -> None:
    """Protects `pip install --no-deps`: another trainer's environment has other versions than ours."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('transformers', 'trl', 'datasets', 'rich'))); "
        "import advisor; print(advisor.objective_loss('dft').__name__)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "loss"
