"""A loop of one's own against the trainer: the same weights in the end, for every objective."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, MixtralConfig
from trl.trainer.sft_config import SFTConfig

from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from advisor.model.objective_head import add_objective_head
from advisor.objectives.table import OBJECTIVES, get_objective
from harness.train.sft import build_trainer
from tests.helpers.tiny import tiny_model, tiny_tokenizer

STEPS, RATE = 3, 0.5
STAGED = [
    "nll>neg_p",
    "nll>cadft(1, at=0.5)",
    "nll>iw_sft",
    "nll>asft",
    "nll>threshold(10%)",
    "iw_sft_token>cadft>deft",
]
FROZEN = [
    "neg_p(prior=frozen)",
    "cadft(1, prior=frozen)",
    "deft(prior=frozen)",
    "eaft(1, prior=frozen)",
    "idft(prior=frozen)",
    "asft(0.05, prior=frozen)",
    "threshold(10%, prior=frozen)",
    "nll>neg_p(prior=frozen)",
]
OWN_REFERENCE = {
    *("asft", "iw_sft", "iw_sft_token", "psft", "threshold(10%)"),
    *("nll>iw_sft", "nll>asft", "nll>threshold(10%)", "iw_sft_token>cadft>deft"),
    *("prift_prob", "prift_mass", "tailsft"),
    *FROZEN,
}
"""The trainer reads log p before training in batches of its own, the loop in those of the step: they differ
in their last bits, and the weights in the end by no more than 1e-6. All others are equal bit by bit."""
Batch = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model that finds some answers probable and others not, with its tokenizer."""
    path = tmp_path_factory.mktemp("smooth")
    model, tokenizer = tiny_model(initializer_range=0.3), tiny_tokenizer()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    ids = tokenizer(["a b c d e f g h <eos>"], return_tensors="pt")["input_ids"]
    for _ in range(12):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose answers differ in length, so that micro-batches differ in their number of targets."""
    rows = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: 1 + i % 6])} for i in range(24)]
    path = tmp_path_factory.mktemp("data") / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_the_trainer(loaded: LoadedModel, data: Path, objective: str, out: Path) -> list[list[Batch]]:
    """Trains the loaded model as `advisor train` does; gives the micro-batches of every step."""
    config = SFTConfig(
        output_dir=str(out), max_steps=STEPS, learning_rate=RATE, optim="sgd", max_grad_norm=0.0,
        lr_scheduler_type="constant", per_device_train_batch_size=4, gradient_accumulation_steps=2,
        save_strategy="no", report_to="none", bf16=False, use_cpu=True, seed=0, disable_tqdm=True,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = build_trainer(
        loaded, load_dataset(str(data), loaded.tokenizer), get_objective(objective), config
    )
    seen: list[list[Batch]] = []
    draw = trainer.get_batch_samples

    def drawn(*args: Any, **kwargs: Any) -> Any:
        found = draw(*args, **kwargs)
        names = ("input_ids", "labels", "attention_mask")
        seen.append([{name: batch[name].clone() for name in names} for batch in found[0]])
        return found

    trainer.get_batch_samples = drawn  # type: ignore[method-assign]
    trainer.train()
    return seen


def by_a_loop(head: Any, steps: list[list[Batch]]) -> None:
    model = head.model.requires_grad_(True).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for step, micro_batches in enumerate(steps):
        when = {"done": step / len(steps)} if head.objective.scheduled else {}
        for loss in head.losses(micro_batches, **when):
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def weights(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("objective", [*OBJECTIVES, "threshold(10%)", *STAGED, *FROZEN])
def test_a_loop_ends_where_the_trainer_does(
    folder: Path, data: Path, tmp_path: Path, objective: str
) -> None:
    trained, mine, start = (load_model(folder) for _ in range(3))
    steps = by_the_trainer(trained, data, objective, tmp_path)
    assert [len(step) for step in steps] == [2] * STEPS
    assert len({int((batch["labels"] != -100).sum()) for step in steps for batch in step}) > 2
    training_set = [batch for step in steps for batch in step]  # an epoch, as it happens
    by_a_loop(add_objective_head(mine.model, objective, training_set=training_set), steps)
    moved = (weights(trained.model) - weights(start.model)).abs().max()
    assert moved > 1e-3  # a thousand times the tolerance
    error = (weights(mine.model) - weights(trained.model)).abs().max()
    assert error <= (1e-6 if objective in OWN_REFERENCE else 0)


@pytest.mark.parametrize(
    "objective", ["iw_sft", "iw_sft_token", "psft", "prift_mass", "deft(prior=frozen)"]
)
def test_what_is_kept_in_the_batches_is_a_reference(
    folder: Path, data: Path, tmp_path: Path, objective: str
) -> None:
    steps = by_the_trainer(load_model(folder), data, objective, tmp_path)
    copied, kept = load_model(folder).model, load_model(folder).model
    by_a_loop(add_objective_head(copied, objective), steps)
    head = add_objective_head(kept.requires_grad_(True), objective, reference="batches")
    assert head.reference is None
    with pytest.raises(InputError, match=r"no reference_.*head.before_training\(batch\)"):
        head.losses(steps[0])
    steps = [[{**batch, **head.before_training(batch)} for batch in step] for step in steps]
    by_a_loop(head, steps)
    assert torch.equal(weights(copied), weights(kept))


def batch(*lengths: int) -> Batch:
    """Padded rows of letters; the first token of each is no target."""
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.arange(length) % 13 + 3
    mask = (ids > 0).long()
    return {"input_ids": ids, "labels": ids.masked_fill(mask == 0, -100), "attention_mask": mask}


def gradient(objective: str, micro_batches: list[Batch]) -> torch.Tensor:
    model = tiny_model(initializer_range=0.3).train()
    for loss in add_objective_head(model, objective).losses(micro_batches):
        loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("objective", ["cadft", "deft_cayley", "asft", "nll"])
def test_how_a_step_is_cut_up_changes_nothing(objective: str) -> None:
    whole, parts = batch(9, 5, 3), [batch(9), batch(5, 3)]
    torch.testing.assert_close(
        gradient(objective, parts), gradient(objective, [whole]), rtol=1e-4, atol=1e-7
    )


def test_rows_without_padding_are_examples_by_their_positions() -> None:
    padded = batch(6, 4)
    flat = {
        name: padded[name][padded["attention_mask"] == 1][None] for name in ("input_ids", "labels")
    }
    flat["labels"][0, 6] = -100  # nothing of its own example precedes it
    flat["position_ids"] = torch.tensor([[*range(6), *range(4)]])
    # A model that mixes no tokens, so that packed rows need no mask of their own
    gradients = []
    for micro_batch in (padded, flat):
        model = tiny_model(initializer_range=0.3, num_hidden_layers=0).train()
        for loss in add_objective_head(model, "cadft").losses([micro_batch]):
            loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)
    with pytest.raises(InputError, match="padded batches"):
        add_objective_head(tiny_model(), "asft").losses([flat])


@pytest.mark.parametrize("counted", [True, False])
def test_a_model_is_no_distance_from_itself_with_padding_on_the_left(counted: bool) -> None:
    """Breaks where the model before training reads other positions than the one that is trained."""
    torch.manual_seed(0)
    sizes = GPT2Config(vocab_size=16, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    model = AutoModelForCausalLM.from_config(sizes).eval()
    padded = {name: table.flip(1) for name, table in batch(9, 5).items()}
    if counted:
        padded["position_ids"] = (padded["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    found = [next(add_objective_head(model, name).losses([padded])) for name in ("asft(1)", "dft")]
    assert found[0].item() == pytest.approx(found[1].item(), abs=1e-6)


def test_what_a_micro_batch_gave_is_kept() -> None:
    model = tiny_model().train()
    head = add_objective_head(model, "dft")
    losses = []
    for number, loss in enumerate(head.losses([batch(9), batch(5, 3)])):
        assert head.output is not None and head.output.logp is not None
        assert len(head.output.logp) == (8, 6)[number]
        losses.append(loss.item())
        assert loss.item() == pytest.approx(
            -(head.output.logp.exp() * head.output.logp).sum().item() / 14, rel=1e-5
        )
    assert len(losses) == 2


def test_the_router_of_a_mixture_of_experts_is_balanced_as_by_its_own_loss() -> None:
    config = MixtralConfig(
        vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4, output_router_logits=True, router_aux_loss_coef=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    own = model(**batch(9, 5)).loss.item()
    (loss,) = add_objective_head(model).losses([batch(9, 5)])
    assert loss.item() == pytest.approx(own, rel=1e-5)
    assert model(**batch(9, 5), output_router_logits=False).loss.item() < own - 0.1


def test_a_copy_made_after_the_head_runs_on_its_own_weights() -> None:
    model = tiny_model()
    add_objective_head(model, "dft")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    ids = batch(9)["input_ids"]
    torch.testing.assert_close(twin(ids).logits, tiny_model()(ids).logits)
    assert not torch.equal(twin(ids).logits, model(ids).logits)
    # so that a second head's frozen copy is of the model as it then is
    again = add_objective_head(twin, "psft")
    before = again.log_p(batch(9))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    assert again.reference is not None
    kept = add_objective_head(again.reference, "nll").log_p(batch(9))
    assert torch.equal(kept, before) and not torch.equal(again.log_p(batch(9)), before)


def test_a_module_in_evaluation_stays_so() -> None:
    model = tiny_model().train()
    model.model.embed_tokens.eval()
    add_objective_head(model, "cadft").losses([batch(9)])
    assert model.training and not model.model.embed_tokens.training


def test_a_step_without_targets_has_a_loss_of_zero() -> None:
    empty = batch(9)
    empty["labels"][:] = -100
    for objective in ("nll", "cadft", "deft_cayley", "asft"):
        model = tiny_model().train()
        for loss in add_objective_head(model, objective).losses([empty, empty]):
            loss.backward()
            assert loss.item() == 0
        assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_a_loop_says_how_far_it_is() -> None:
    head = add_objective_head(tiny_model().train(), "nll>neg_p")
    for wrong in (-0.1, 1.5, 2, float("nan")):
        with pytest.raises(InputError, match="a share of the training, from 0 to 1"):
            head.losses([batch(9)], done=wrong)
    with pytest.raises(InputError, match=r"changes while it trains: .*done=step / steps"):
        head.losses([batch(9)])
    nll, dft = (add_objective_head(head.model, name) for name in ("nll", "dft"))
    for done, same in ((0, nll), (0.49, nll), (0.5, dft), (1, dft)):
        (one,), (other,) = head.losses([batch(9)], done=done), same.losses([batch(9)])
        assert one.item() == other.item()
    for done in (0, 0.7, 1):  # one that stays may be told, too
        assert next(dft.losses([batch(9)], done=done)) == next(dft.losses([batch(9)]))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("threshold(10%)", {}, "quantile of p over the training set: give training_set"),
    ("asft", {"reference": "batches"}, "whole distribution before training"),
    ("psft", {"reference": "itself"}, "reference is 'itself', no model"),
    ("cadtf", {}, "did you mean cadft"),
    ("nll>threshold(10%)", {}, "quantile of p over the training set: give training_set"),
    ("nll>asft", {"reference": "batches"}, "whole distribution before training"),
    ("nll>neg_p(at=auto)", {}, "at=auto is found by advisor's trainers alone: .* give .* at=0.5"),
    ("nll>neg_p(at=0.4, rate=0.3)", {}, "leave rate out, and multiply .* from done=0.4 on"),
]


@pytest.mark.parametrize(("objective", "settings", "reason"), REFUSED)
def test_refused_heads(objective: str, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        add_objective_head(tiny_model(), objective, **settings)
    assert "\n" not in str(caught.value)


def test_refused_steps() -> None:
    model = tiny_model().train()
    head = add_objective_head(model, "cadft")
    for wrong, reason in (
        (batch(9), r"list of all micro-batches .* not a dict: .* losses\(\[batch\]\)"),
        (iter([batch(9)]), "not a list_iterator"),
        ([{"input_ids": batch(9)["input_ids"]}], "micro-batch 0 has no labels"),
    ):
        with pytest.raises(InputError, match=reason):
            head.losses(wrong)  # type: ignore[arg-type]
    model.requires_grad_(False)
    with pytest.raises(InputError, match=r"frozen.*requires_grad_\(True\)"):
        head.losses([batch(9)])
    with pytest.raises(InputError, match="reference is the model that is trained"):
        add_objective_head(model, "psft", reference=model)


@pytest.mark.parametrize("objective", ["cadft", "deft_cayley", "psft", "asft", "threshold(10%)"])
def test_the_plain_call_refuses_what_needs_more_than_the_micro_batch(objective: str) -> None:
    model = tiny_model().train()
    add_objective_head(model)
    with pytest.raises(InputError, match=r"needs more than one micro-batch .*add_objective_head"):
        model(**batch(9), objective_head=get_objective(objective))


def test_the_plain_call_takes_what_is_in_force() -> None:
    model = tiny_model().train()
    add_objective_head(model)
    staged = get_objective("nll>neg_p")
    with pytest.raises(
        InputError, match=r"changes while it trains: .*objective.at\(step / steps\)"
    ):
        model(**batch(9), objective_head=staged)
    one, other = (
        model(**batch(9), objective_head=row).loss for row in (staged.at(0.5), get_objective("dft"))
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("objective", ["nll", "dft"])
def test_weights_of_the_data_in_a_loop_of_ones_own(objective: str) -> None:
    """Against full logits: the sum of u times the loss over the sum of u, over the whole step."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 16, (4, 6), generator=generator)
    labels = ids.clone()
    labels[:, :2] = -100
    factors = 0.1 + torch.rand(ids.shape, generator=generator)
    batches = [
        {
            "input_ids": ids[k : k + 2],
            "labels": labels[k : k + 2],
            "loss_weights": factors[k : k + 2],
        }
        for k in (0, 2)
    ]
    model, plain = tiny_model(initializer_range=0.3), tiny_model(initializer_range=0.3)
    head = add_objective_head(model.requires_grad_(True).train(), objective)
    losses = list(head.losses(batches))
    sum(losses).backward()  # type: ignore[union-attr]
    log_p = plain(ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    kept = labels[:, 1:] != -100
    loss = -log_p if objective == "nll" else -log_p.exp()  # -p has DFT's gradient
    weights = factors[:, 1:][kept]
    ((weights * loss[kept]).sum() / weights.sum()).backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="reads no loss_weights"):
        model(**batches[0])
