"""What is read of the model before training: as the model says it, measured once, known by its content."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advisor.data.dataset import Example, load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from advisor.objectives.table import get_objective
from harness.train.before_training import KEPT, Columns, measured, positions
from harness.train.resampling import Resampling
from harness.train.sft import build_trainer, check_settings
from tests.helpers.training import config, curve

NAMES = ("logp", "entropy", "topk_entropy", "collision", "mass")


@pytest.fixture
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(model_folder)


@pytest.fixture
def data(write: Any) -> Path:
    rows = [
        f'{{"prompt": "a b ", "completion": "{" ".join("cdefgh"[: 1 + i % 6])}"}}\n'
        for i in range(12)
    ]
    path: Path = write("data.jsonl", "".join(rows))
    return path


def examples_of(loaded: LoadedModel, data: Path) -> list[Example]:
    return [e for e in load_dataset(str(data), loaded.tokenizer) if e.target_tokens]


def by_hand(loaded: LoadedModel, examples: list[Example]) -> Columns:
    """The same from the model's own logits, an example at a time."""
    found: dict[str, list[float]] = {f"reference_{name}": [] for name in NAMES}
    for example in examples:
        logits = loaded.model(torch.tensor([example.input_ids])).logits[0].double()
        for place in positions(example):
            q = logits[place - 1].softmax(-1)
            target, top = (
                q[example.input_ids[place]],
                logits[place - 1].topk(min(20, len(q))).values,
            )
            found["reference_logp"].append(target.log().item())
            found["reference_entropy"].append(-(q * q.log()).sum().item())
            k = top.softmax(-1)
            found["reference_topk_entropy"].append(-(k * k.log()).sum().item())
            found["reference_collision"].append(q.square().sum().item())
            found["reference_mass"].append((q[q < target].sum() + target).item())
    return {name: np.array(values, dtype=np.float32) for name, values in found.items()}


def test_every_statistic_is_the_model_s(loaded: LoadedModel, data: Path) -> None:
    examples = examples_of(loaded, data)
    found, expected = measured(loaded, examples, NAMES), by_hand(loaded, examples)
    assert set(found) == set(expected)
    for name, column in found.items():
        np.testing.assert_allclose(column, expected[name], rtol=2e-4, atol=2e-5, err_msg=name)


def test_what_is_kept_is_known_by_its_content(
    loaded: LoadedModel, data: Path, tmp_path: Path
) -> None:
    examples, told = examples_of(loaded, data), list[int]()

    def ask(names: tuple[str, ...] = ("logp",), some: list[Example] = examples) -> Columns:
        told.clear()
        return measured(
            loaded, some, names, keep=tmp_path, on_progress=lambda done, of: told.append(done)
        )

    first = ask()
    assert told and (tmp_path / KEPT).is_file()
    again = ask()
    assert not told  # read, not measured
    assert all(np.array_equal(first[name], again[name]) for name in first)
    for changed in (
        lambda: ask(("logp", "mass")),
        lambda: ask(some=examples[1:]),
        lambda: ask(some=[examples[1], examples[0], *examples[2:]]),
    ):
        changed()
        assert told
    ask()
    with torch.no_grad():
        next(iter(loaded.model.parameters())).mul_(1.5)
    moved = ask()
    assert told and not np.array_equal(moved["reference_logp"], first["reference_logp"])
    (tmp_path / KEPT).write_bytes(b"PK broken")
    assert np.array_equal(ask()["reference_logp"], moved["reference_logp"])
    assert told


@pytest.mark.parametrize("objective", ["neg_p(prior=frozen)", "prift_mass", "iw_sft", "psft"])
def test_evaluation_reads_it_of_its_own_rows(
    loaded: LoadedModel, data: Path, tmp_path: Path, objective: str
) -> None:
    dataset = load_dataset(str(data), loaded.tokenizer)
    settings = config(tmp_path, max_steps=1, per_device_eval_batch_size=12)
    trainer = build_trainer(
        loaded, dataset, get_objective(objective), settings, eval_dataset=dataset
    )
    found = trainer.evaluate()
    logp = measured(loaded, examples_of(loaded, data), ["logp"])["reference_logp"]
    assert found["eval_nll"] == pytest.approx(-logp.mean(), rel=1e-4)
    if objective == "neg_p(prior=frozen)":
        assert found["eval_loss"] == pytest.approx(-(np.exp(logp) * logp).mean(), rel=1e-4)


def test_the_frozen_prior_is_still_that_of_the_beginning_when_the_model_has_learnt(
    loaded: LoadedModel, data: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(str(data), loaded.tokenizer)
    logp = measured(loaded, examples_of(loaded, data), ["logp"])["reference_logp"]
    settings = config(tmp_path, max_steps=6, per_device_train_batch_size=12, learning_rate=1e-2)
    trainer = build_trainer(loaded, dataset, get_objective("neg_p(prior=frozen)"), settings)
    trainer.train()
    assert curve(trainer, "mean_weight") == pytest.approx([np.exp(logp).mean()] * 6, rel=1e-4)
    assert curve(trainer, "mean_p")[-1] > 1.5 * curve(trainer, "mean_p")[0]


def test_of_one_example_none_can_be_left_out(tmp_path: Path) -> None:
    one = config(tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=8)
    with pytest.raises(InputError, match="give --per_device_train_batch_size 2 or more, or"):
        check_settings(get_objective("tailsft"), one, None)
    check_settings(get_objective("tailsft(whole=1)"), one, None)


def test_targets_that_are_exchanged_have_no_prior_to_freeze(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never saw the new ones: leave out one of them"):
        check_settings(get_objective("cadft(prior=frozen)"), config(tmp_path), Resampling())
