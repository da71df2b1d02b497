"""The divergence from the untouched model is that of torch on the models' own logits, whatever the batch."""

from pathlib import Path

import pytest
import torch

from advisor.data.dataset import load_dataset
from advisor.model.load import load_model
from harness.evaluate.drift import Drift
from tests.helpers.tiny import tiny_model, tiny_tokenizer

ROWS = [{"prompt": "a b", "completion": "c d"}, {"prompt": "e", "completion": "f g h i"}] * 5


def test_the_divergence_is_that_of_the_models_own_logits(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    untouched, tuned = (load_model(tmp_path, dtype="float32", device="cpu") for _ in range(2))
    examples = list(load_dataset(ROWS, untouched))
    drift = Drift(untouched, examples)
    assert drift.divergence(untouched) == pytest.approx(0, abs=1e-7)
    with torch.no_grad():
        for weight in tuned.model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    expected = []
    for example in examples:
        ids = torch.tensor([example.input_ids])
        with torch.no_grad():
            base, other = (one.model(ids).logits[0].log_softmax(-1) for one in (untouched, tuned))
        places = [at - 1 for at, label in enumerate(example.labels) if at and label != -100]
        # What is the first token of all is predicted from nothing.
        each = torch.nn.functional.kl_div(other, base, reduction="none", log_target=True).sum(-1)
        expected += each[places].tolist()
    assert drift.divergence(tuned) == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    assert drift.divergence(tuned) > 0.01
