"""Training: equal to TRL where TRL has the objective, and invariant to how a step is cut up."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments
from trl import SFTTrainer

from advisor.errors import InputError
from advisor.model.objective_head import add_objective_head
from advisor.objectives.table import OBJECTIVES, get_objective
from harness.train.objective_trainer import ObjectiveCollator, ObjectiveLoss
from tests.helpers.processes import on_ranks
from tests.helpers.tiny import tiny_tokenizer
from tests.helpers.training import (
    SHARDED,
    STEPS,
    WEIGHTED,
    build,
    config,
    curve,
    rows,
    smooth_model,
    train,
    weighted_rows,
    weights,
)

STAGED = ["nll>neg_p", "nll>cadft"]
"""The second stage begins in the middle; that of cadft needs the whole step."""
FROZEN = ["neg_p(prior=frozen)", "cadft(prior=frozen)", "nll>deft_cayley(prior=frozen)"]
"""Weights of the model before training, the last two over the whole step."""


@pytest.mark.parametrize(("ours", "theirs"), [("nll", "nll"), ("dft", "dft")])
def test_equals_trl_over_twenty_steps(tmp_path: Path, ours: str, theirs: str) -> None:
    trl = SFTTrainer(
        model=smooth_model(),
        args=config(
            tmp_path, loss_type=theirs, per_device_train_batch_size=4, gradient_accumulation_steps=2
        ),
        train_dataset=Dataset.from_list(
            [{k: r[k] for k in ("input_ids", "labels")} for r in rows(64)]
        ),
        processing_class=tiny_tokenizer(),
    )
    trl.train()
    mine = train(tmp_path, ours, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert len(curve(mine, "loss")) == STEPS
    assert curve(mine, "loss") == pytest.approx(curve(trl, "loss"), rel=5e-4)
    assert curve(mine, "grad_norm") == pytest.approx(curve(trl, "grad_norm"), rel=5e-3)
    torch.testing.assert_close(weights(mine), weights(trl), rtol=0, atol=2e-4)
    start = torch.cat([p.detach().flatten() for p in smooth_model().parameters()])
    assert (weights(mine) - start).abs().max() > 0.03  # it moved far more than the tolerance


@pytest.mark.parametrize(
    "objective",
    [*(name for name in OBJECTIVES if name != "tailsft"), "tailsft(whole=1)", *STAGED, *FROZEN],
)
def test_how_a_step_is_cut_up_changes_nothing(tmp_path: Path, objective: str) -> None:
    runs = [
        train(
            tmp_path, objective, max_steps=4,
            per_device_train_batch_size=rows_at_once, gradient_accumulation_steps=8 // rows_at_once,
        )
        for rows_at_once in (8, 1, 2)
    ]  # fmt: skip
    for other in runs[1:]:
        assert curve(other, "grad_norm") == pytest.approx(
            curve(runs[0], "grad_norm"), rel=1e-3, abs=1e-6
        )
        assert curve(other, "nll") == pytest.approx(curve(runs[0], "nll"), rel=1e-4)
        torch.testing.assert_close(weights(other), weights(runs[0]), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "objective", ["dft", "cadft", "infosft", "iw_sft", "talr", "gem", "tailsft", *STAGED, *FROZEN]
)
def test_padding_free_and_packing_are_exact(tmp_path: Path, objective: str) -> None:
    padded = train(tmp_path, objective, max_steps=4)
    flat = train(tmp_path, objective, max_steps=4, padding_free=True, max_length=None)
    assert curve(flat, "nll") == pytest.approx(curve(padded, "nll"), rel=1e-4)
    assert curve(flat, "grad_norm") == pytest.approx(curve(padded, "grad_norm"), rel=1e-3)
    torch.testing.assert_close(weights(flat), weights(padded), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_ranks_equal_one(tmp_path: Path) -> None:
    """Protects training on several ranks: of every objective, the gradients are summed as on one.

    And the switch from one to another is made by all of them at the same step.
    """
    names = [*OBJECTIVES, "tailsft(whole=1)", *STAGED, *FROZEN]
    equal_on_ranks(tmp_path, [*names, *(WEIGHTED + name for name in ("nll", "cadft", "asft"))])


@pytest.mark.slow
def test_sharded_weights_equal_whole_ones(tmp_path: Path) -> None:
    """Protects training with FSDP2: the head's weights are there when the loss reads them, every step."""
    equal_on_ranks(
        tmp_path, [SHARDED + name for name in ("nll", "cadft", "asft", WEIGHTED + "talr")]
    )


def equal_on_ranks(folder: Path, names: list[str]) -> None:
    """Train on several ranks and on one, and compare."""
    on_ranks("tests.helpers.ranks_train", str(folder), ",".join(names))
    for name in names:
        several = torch.load(folder / f"{name}.pt")
        plain = name.removeprefix(SHARDED)
        objective = plain.removeprefix(WEIGHTED)
        data = weighted_rows(64) if plain != objective else None
        settings = {"max_steps": 4, "per_device_train_batch_size": 8}
        one = train(folder / "one", objective, data=data, **settings)
        assert several["nll"] == pytest.approx(curve(one, "nll"), rel=1e-4), name
        assert several["grad_norm"] == pytest.approx(curve(one, "grad_norm"), rel=1e-3), name
        torch.testing.assert_close(several["weights"], weights(one), rtol=0, atol=1e-3)


@pytest.mark.parametrize("objective", ["dft", "cadft", "tailsft", "neg_p(prior=frozen)"])
def test_resuming_equals_never_stopping(tmp_path: Path, objective: str) -> None:
    whole = train(tmp_path / "whole", objective, max_steps=8)
    saved = {"save_strategy": "steps", "save_steps": 4, "max_steps": 8}
    train(tmp_path / "cut", objective, **saved)
    shutil.rmtree(tmp_path / "cut" / "checkpoint-8")  # as if killed after step 4
    again = build(tmp_path / "cut", objective, **saved)
    again.train(resume_from_checkpoint=True)
    assert curve(again, "nll") == pytest.approx(curve(whole, "nll"), rel=1e-6)
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=1e-6)


def test_a_training_that_is_at_its_end_makes_no_further_step(tmp_path: Path) -> None:
    """Transformers makes one where the end lies within an epoch, and its checkpoint is one too many."""
    settings = {
        "save_strategy": "steps",
        "save_steps": 2,
        "max_steps": 2,
        "lr_scheduler_type": "constant",
    }
    whole = train(tmp_path, "dft", **settings)
    assert whole.state.epoch is not None and whole.state.epoch % 1
    again = build(tmp_path, "dft", **settings)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 2
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=0)


def test_a_batch_without_targets_changes_nothing(tmp_path: Path) -> None:
    empty = [{**row, "labels": [-100] * len(row["input_ids"])} for row in rows(16)]
    for objective in ("dft", "cadft", "deft_cayley", "talr", "gem", "tailsft"):
        trainer = train(tmp_path, objective, data=empty, max_steps=2)
        assert curve(trainer, "loss") == [0.0, 0.0] == curve(trainer, "grad_norm")


def test_evaluation_reports_the_same_statistics(tmp_path: Path) -> None:
    trainer = build(tmp_path, "dft", eval_strategy="steps", eval_steps=2, max_steps=2)
    trainer.train()
    assert {"eval_loss", "eval_nll", "eval_mean_p", "eval_p_eos"} <= set().union(
        *trainer.state.log_history
    )
    p = curve(trainer, "eval_mean_p")[0]
    assert 0 < p < 1


def test_logged_statistics_are_those_of_the_tokens(tmp_path: Path) -> None:
    data = rows(8)
    trainer = train(tmp_path, "dft", data=data, max_steps=1)
    model = smooth_model()
    p, ends = [], []
    for row in data:
        ids = torch.tensor(row["input_ids"])
        with torch.no_grad():
            log_q = model(ids[None]).logits[0].log_softmax(-1)
        for i, label in enumerate(row["labels"]):
            if i and label != -100:
                p.append(log_q[i - 1, label].exp().item())
                ends.append(row["terminator"][i])
    p_, end = torch.tensor(p), torch.tensor(ends).bool()
    expected = {
        "nll": -p_.log().mean(), "mean_p": p_.mean(), "mean_weight": p_.mean(),
        "share_p_below_0.1": (p_ < 0.1).float().mean(), "p_eos": p_[end].mean(),
        "effective_sample_size": p_.sum() ** 2 / p_.square().sum() / len(p_),
        "loss": -(p_ * p_.log()).mean(),
    }  # fmt: skip
    for name, value in expected.items():
        assert curve(trainer, name)[0] == pytest.approx(value.item(), rel=1e-3), name


def test_plain_trainer_with_the_mixin(tmp_path: Path) -> None:
    class MyTrainer(ObjectiveLoss, Trainer):
        pass

    data = [{k: row[k] for k in ("input_ids", "labels")} for row in rows(64)]
    args = TrainingArguments(
        str(tmp_path), max_steps=4, learning_rate=5e-3, optim="adamw_torch", logging_steps=1, use_cpu=True,
        per_device_train_batch_size=4, gradient_accumulation_steps=2, report_to="none", save_strategy="no",
        disable_tqdm=True, seed=0,
    )  # fmt: skip
    mine = MyTrainer(
        objective=get_objective("dft"), model=smooth_model(), args=args,
        train_dataset=Dataset.from_list(data), data_collator=ObjectiveCollator(pad_token_id=0),
    )  # fmt: skip
    mine.train()
    assert curve(mine, "nll") == pytest.approx(
        curve(train(tmp_path, "dft", max_steps=4), "nll"), rel=1e-4
    )


def test_evaluation_in_a_plain_trainer_makes_no_logits(tmp_path: Path) -> None:
    """Breaks where all logits are made at every evaluation, which memory may have no room for."""

    class MyTrainer(ObjectiveLoss, Trainer):
        pass

    data = Dataset.from_list([{k: row[k] for k in ("input_ids", "labels")} for row in rows(8)])
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True)
    model, widths = smooth_model(), []
    mine = MyTrainer(
        objective=get_objective("dft"), model=model, args=args, eval_dataset=data,
        data_collator=ObjectiveCollator(pad_token_id=0),
    )  # fmt: skip
    model.lm_head.register_forward_hook(lambda _, inputs, made: widths.append(made.shape[-1]))
    loss = mine.evaluate()["eval_loss"]
    assert set(widths) == {1}
    found = mine.predict(data)  # here they are asked for
    assert found.predictions.shape[-1] == widths[-1] == model.config.vocab_size
    assert found.metrics["test_loss"] == pytest.approx(loss)


def test_own_loop_in_three_lines() -> None:
    model = smooth_model()
    row = rows(1)[0]
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
    add_objective_head(model)
    targets = labels[:, 1:].ne(-100).sum()
    loss = model(input_ids=ids, labels=labels, objective_head=get_objective("dft")).loss / targets
    loss.backward()
    plain = smooth_model()
    log_p = plain(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    kept = log_p[labels[0, 1:] != -100]
    (-kept.exp()).mean().backward()  # -p, whose gradient DFT's is
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("objective", ["cadft", "deft_cayley", "dft"])
def test_evaluation_works_for_objectives_of_the_step(tmp_path: Path, objective: str) -> None:
    trainer = build(tmp_path, objective)
    found = trainer.evaluate()
    nll = build(tmp_path, "nll").evaluate()
    assert found["eval_nll"] == pytest.approx(nll["eval_nll"], rel=1e-5)
    assert found["eval_loss"] != pytest.approx(nll["eval_loss"], rel=1e-3)


def test_tailsft_selects_within_a_forward_unless_it_is_told(tmp_path: Path) -> None:
    def weights_of(objective: str, rows_at_once: int) -> torch.Tensor:
        steps = 8 // rows_at_once
        return weights(train(tmp_path, objective, max_steps=4, gradient_accumulation_steps=steps,
                             per_device_train_batch_size=rows_at_once))  # fmt: skip

    one_by_one = weights_of("tailsft(0.9, 0)", 1)
    torch.testing.assert_close(one_by_one, weights_of("nll", 1), rtol=0, atol=1e-6)
    assert (weights_of("tailsft(0.9, 0)", 8) - one_by_one).abs().max() > 1e-2
    whole = weights_of("tailsft(0.9, 0, 1)", 1)
    torch.testing.assert_close(whole, weights_of("tailsft(0.9, 0)", 8), rtol=0, atol=1e-3)


SGD = {"optim": "sgd", "learning_rate": 0.3, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
"""With Adam a factor on the whole loss would not show in the weights."""
OF_A_TOKEN = ["nll", "dft", "gem", "asft"]
"""Their weight hangs on the token alone; asft holds every target to the model before training, too."""


@pytest.mark.parametrize("objective", ["nll", "asft", "cadft", "talr"])
def test_weights_of_the_data_are_exact_however_a_step_is_cut_up(
    tmp_path: Path, objective: str
) -> None:
    """Wish: weights that survive packing (they were refused there in huggingface/trl 5952)."""
    data = weighted_rows(64)
    ways: list[dict[str, Any]] = [
        {"per_device_train_batch_size": 8},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    ]
    if objective != "asft":  # it is compared with the model before training on padded batches
        ways += [{"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
                  "padding_free": True, "max_length": None}]  # fmt: skip
    whole, *others = [
        train(tmp_path, objective, data=data, max_steps=2, **SGD, **way) for way in ways
    ]
    for other in others:
        torch.testing.assert_close(weights(other), weights(whole), rtol=0, atol=2e-6)
        assert curve(other, "grad_norm") == pytest.approx(curve(whole, "grad_norm"), rel=1e-5)
    plain = train(tmp_path, objective, max_steps=2, **SGD)
    assert (weights(plain) - weights(whole)).abs().max() > 1e-3


@pytest.mark.parametrize("objective", [*OF_A_TOKEN, "cadft"])
def test_weights_of_one_are_none_to_the_last_bit(tmp_path: Path, objective: str) -> None:
    runs = [
        train(tmp_path, objective, data=data, max_steps=2, per_device_train_batch_size=4,
              gradient_accumulation_steps=2)
        for data in (weighted_rows(64, weight=1.0), rows(64))
    ]  # fmt: skip
    assert torch.equal(*map(weights, runs))
    for name in ("loss", "grad_norm", "nll", "mean_weight"):
        assert curve(runs[0], name) == curve(runs[1], name)


@pytest.mark.parametrize("objective", OF_A_TOKEN)
def test_a_weight_is_a_number_of_repetitions(tmp_path: Path, objective: str) -> None:
    data = weighted_rows(7, weight=1.0)
    twice = [*data, data[0]]
    double = [{**data[0], "loss_weights": [2.0] * len(data[0]["input_ids"])}, *data[1:]]
    found = [
        train(tmp_path, objective, data=one, max_steps=1, **SGD) for one in (double, twice, data)
    ]
    torch.testing.assert_close(weights(found[0]), weights(found[1]), rtol=0, atol=2e-6)
    assert (weights(found[0]) - weights(found[2])).abs().max() > 1e-3
    heavy = train(tmp_path, objective, data=weighted_rows(7, weight=8.0), max_steps=1, **SGD)
    torch.testing.assert_close(weights(heavy), weights(found[2]), rtol=0, atol=2e-6)


def test_small_weights_are_divided_by_their_sum_too(tmp_path: Path) -> None:
    """A sum below 1 is no count of targets: taken for 1 it would have made the step smaller."""
    light = train(tmp_path, "nll", data=weighted_rows(7, weight=1e-4), max_steps=1, **SGD)
    plain = train(tmp_path, "nll", data=rows(7), max_steps=1, **SGD)
    torch.testing.assert_close(weights(light), weights(plain), rtol=0, atol=2e-6)


def test_evaluation_weighs_its_loss_and_no_statistic(tmp_path: Path) -> None:
    data = weighted_rows(6, seed=1)
    trainer = build(tmp_path, "nll", per_device_eval_batch_size=8)
    found = trainer.evaluate(Dataset.from_list(data))
    losses, factors = [], []
    for row in data:
        ids = torch.tensor(row["input_ids"])
        with torch.no_grad():
            log_q = trainer.model.eval()(ids[None]).logits[0].log_softmax(-1)
        for i, label in enumerate(row["labels"]):
            if i and label != -100:
                losses.append(-log_q[i - 1, label].item())
                factors.append(row["loss_weights"][i])
    weighed = sum(u * x for u, x in zip(factors, losses, strict=True)) / sum(factors)
    assert found["eval_loss"] == pytest.approx(weighed, rel=1e-5)
    assert found["eval_nll"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert weighed != pytest.approx(found["eval_nll"], rel=1e-3)


@pytest.mark.parametrize("name", ["loss_weights", "reference_logp"])
def test_columns_that_begin_with_whole_numbers_keep_their_fractions(name: str) -> None:
    """Breaks where a weight of 0.5 beside a row of weights 1 becomes 0."""
    ids = {"input_ids": [3, 4, 5], "labels": [-100, 4, 5]}
    collate = ObjectiveCollator(pad_token_id=0)
    batch = collate([{**ids, name: [1, 1, 1]}, {**ids, name: [0.5, 0.5, 0.5]}])
    assert batch[name].dtype == torch.float32 and batch[name].tolist() == [[1.0] * 3, [0.5] * 3]


def test_a_trainer_that_would_drop_weights_refuses_them(tmp_path: Path) -> None:
    class MyTrainer(ObjectiveLoss, Trainer):
        pass

    def made(data: list[dict[str, Any]], **more: Any) -> MyTrainer:
        args = TrainingArguments(
            str(tmp_path), max_steps=1, use_cpu=True, report_to="none", save_strategy="no",
            disable_tqdm=True, per_device_train_batch_size=8, **more,
        )  # fmt: skip
        return MyTrainer(
            objective=get_objective("nll"), model=smooth_model(), args=args,
            train_dataset=Dataset.from_list(data), data_collator=ObjectiveCollator(pad_token_id=0),
        )  # fmt: skip

    names = ("input_ids", "labels", "loss_weights")
    data = [{name: row[name] for name in names} for row in weighted_rows(8)]
    with pytest.raises(InputError, match="set remove_unused_columns=False"):
        made(data).train()
    made(data, remove_unused_columns=False).train()
    with pytest.raises(InputError, match=r"has a column weight.*give loss_weights"):
        made([{**row, "weight": 2.0} for row in data])
