"""SDFT: the published loss step by step, the teacher that follows, resuming, adapters, refusals."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback

from advisor.errors import InputError
from advisor.model.load import LoadedModel
from harness.cli.main import main
from harness.distill.distiller import build_distiller
from harness.distill.self_settings import SelfTeaching, in_context, self_settings
from harness.distill.self_teaching import TEACHER, SelfTeachingTrainer
from tests.helpers.distilling import EOS, GREEDY, config, micro_batches, prompts, student
from tests.helpers.processes import on_ranks
from tests.helpers.self_teaching import ITSELF, build
from tests.helpers.training import curve, weights


def expected(model: Any, teacher: Any, batch: dict[str, Any], *, skip: int, reverse: bool) -> Any:
    """The loss of a batch, row by row and without padding: logits, softmax, sums."""
    total = torch.zeros(())
    for row in range(len(batch["completion_mask"])):
        n = int(batch["completion_mask"][row].sum())
        answer = batch["completion_ids"][row, :n]
        contexts = [
            batch[f"{name}_ids"][row][batch[f"{name}_mask"][row].bool()]
            for name in ("prompt", "teacher_prompt")
        ]
        logits = [
            m(torch.cat([before, answer])[None]).logits[0, len(before) - 1 : -1]
            for m, before in zip((model, teacher), contexts, strict=True)
        ]
        q, p = logits[0], logits[1].detach()
        q, p = (z.log_softmax(-1)[skip:] for z in (q, p))
        gaps = (q.exp() * (q - p)) if reverse else (p.exp() * (p - q))
        if n > skip:
            total = total + gaps.sum(-1).mean()
    return total / len(batch["completion_mask"])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_step_is_that_of_the_published_loss(tmp_path: Path, reverse: bool) -> None:
    settings = {"optim": "sgd", "max_grad_norm": 0, "lr_scheduler_type": "constant", "max_steps": 2}
    itself = SelfTeaching(ema=0.1, skip=1, reverse=reverse)
    trainer = build(tmp_path, itself, learning_rate=0.5, **settings)
    seen: list[dict[str, Any]] = []
    plain = trainer.compute_loss

    def noted(model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        seen.append(inputs)
        return plain(model, inputs, *rest, **more)

    trainer.compute_loss = noted
    model = student().model.requires_grad_(True)
    teacher = copy.deepcopy(model)
    trainer.train()
    assert len(seen) == 2
    for batch in seen:
        model.zero_grad()
        loss = expected(model, teacher, batch, skip=1, reverse=reverse)
        loss.backward()
        with torch.no_grad():
            for weight in model.parameters():
                weight -= 0.5 * weight.grad
            for own, new in zip(teacher.parameters(), model.parameters(), strict=True):
                own.copy_(0.9 * own + 0.1 * new)
    for ours, theirs in (
        (trainer.model, model), (trainer.taught_by, teacher),
    ):  # fmt: skip
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert (weights(trainer) - weights(build(tmp_path))).abs().max() > 1e-3
    assert trainer.state.log_history[1]["loss"] == pytest.approx(float(loss.detach()), abs=1e-4)


def test_the_teacher_reads_the_demonstration_before_the_prompt(tmp_path: Path) -> None:
    [batch] = micro_batches(build(tmp_path))
    texts = {tuple(example.input_ids[:-3]): tuple(example.input_ids) for example in prompts()}
    for row in range(8):
        own, seen = (
            tuple(batch[f"{name}_ids"][row][batch[f"{name}_mask"][row].bool()].tolist())
            for name in ("prompt", "teacher_prompt")
        )
        assert seen == texts[own] + own and texts[own][-1] == EOS
    weighted = batch["weights"].sum(1)
    long = batch["completion_mask"].sum(1) > ITSELF.skip
    torch.testing.assert_close(weighted, long.float())
    assert not batch["weights"][:, 0].any() and long.any()


def test_how_a_step_is_cut_up_changes_nothing(tmp_path: Path) -> None:
    whole, cut = (
        build(tmp_path, per_device_train_batch_size=8 // parts, gradient_accumulation_steps=parts,
              generation_kwargs={"do_sample": False}, max_steps=2)
        for parts in (1, 4)
    )  # fmt: skip
    for trainer in (whole, cut):
        trainer.train()
    torch.testing.assert_close(weights(whole), weights(cut), rtol=0, atol=2e-5)


def test_resuming_equals_never_stopping_teacher_included(tmp_path: Path) -> None:
    saved = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    whole = build(tmp_path / "out", **saved)
    whole.train()
    whole.save_model()
    assert not (tmp_path / "out" / TEACHER).exists()
    shutil.rmtree(tmp_path / "out" / "checkpoint-4")  # as if killed after step 2
    again = build(tmp_path / "out", **saved)
    again.train(resume_from_checkpoint=True)
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=1e-6)
    for one, other in zip(again.taught_by.parameters(), whole.taught_by.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    (tmp_path / "out" / "checkpoint-4" / TEACHER).write_bytes(b"torn")
    with pytest.raises(InputError, match="the teacher cannot be read") as refusal:
        build(tmp_path / "out", **saved).train(resume_from_checkpoint=True)
    assert "\n" not in str(refusal.value)


def half() -> LoadedModel:
    """The student in bfloat16, as it is trained where that is asked for."""
    whole = student()
    return replace(whole, model=whole.model.to(torch.bfloat16), dtype="bfloat16")


def test_a_teacher_of_16_bits_follows_as_its_average_does(tmp_path: Path) -> None:
    """A hundredth of an update is less than a weight of bfloat16 can move."""
    saved = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6, "learning_rate": 1e-2}
    itself = SelfTeaching(ema=0.01, skip=1)

    def build() -> SelfTeachingTrainer:
        settings = config(tmp_path, **saved)
        trainer = build_distiller(half(), prompts(), {}, settings, itself=itself)
        assert isinstance(trainer, SelfTeachingTrainer)
        return trainer

    class Averages(TrainerCallback):
        """Of float64."""

        def __init__(self, weights: list[torch.Tensor]) -> None:
            self.weights = [weight.detach().double() for weight in weights]

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            for average, new in zip(self.weights, more["model"].parameters(), strict=True):
                average.lerp_(new.detach().double(), 0.01)

    whole = build()
    averages = Averages(list(whole.model.parameters()))
    whole.add_callback(averages)
    whole.train()
    shutil.rmtree(tmp_path / "checkpoint-6")  # as if killed after step 3
    again = build()
    again.train(resume_from_checkpoint=True)
    for trainer in (whole, again):
        for own, average in zip(trainer.taught_by.parameters(), averages.weights, strict=True):
            wanted = average.to(torch.bfloat16)
            assert own.dtype == torch.bfloat16 and torch.equal(own, wanted)
    start = half().model.parameters()
    moved = sum(
        int((a != b).sum()) for a, b in zip(whole.taught_by.parameters(), start, strict=True)
    )
    assert moved


def test_an_adapter_is_taught_by_the_adapter_that_follows(tmp_path: Path) -> None:
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    trainer = build(tmp_path, peft_config=adapter)
    trainer.train()
    trainer.create_model_card()
    assert (
        "SDFT (arXiv:2601.19897), `SelfTeaching(ema=0.1, skip=1"
        in (tmp_path / "README.md").read_text()
    )
    pairs = zip(trainer.model.named_parameters(), trainer.taught_by.parameters(), strict=True)
    moved = {name: (own.abs().max() > 0, (own - p).abs().max() > 0) for (name, p), own in pairs}
    assert all(both == (True, True) for name, both in moved.items() if "lora_B" in name)
    assert not any(changed for name, (_, changed) in moved.items() if "lora" not in name)


def test_settings_and_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert self_settings("opd", {}) is None
    assert self_settings("sdft", {"ema": 0.0}) == SelfTeaching(ema=0.0)
    with pytest.raises(InputError, match="--sdft_skip goes with --method sdft"):
        self_settings("opd", {"skip": 1})
    assert in_context("Q{answer}", "A").startswith("Q{answer}\n") and "\nA\n" in in_context(
        "Q", "A"
    )
    words = ["distill", "ladder:weak", "--device", "cpu", "--method", "sdft", "--output_dir"]
    for more, reason in (
        (["--teacher", "ladder:strong"], "the model is its own teacher"),
        (["--form", "sampled"], "compares whole distributions"),
        (
            ["--beta", "0.5"],
            "--beta 0.5: --method sdft takes the forward KL, and with --sdft_reverse",
        ),
    ):
        assert main([*words, str(tmp_path / "out"), *more]) == 2
        said = capsys.readouterr().err
        assert reason in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ranks_that_teach_themselves_equal_one(tmp_path: Path) -> None:
    """Protects the student's gradients on several ranks: a model that is its own teacher is still reduced."""
    on_ranks("tests.helpers.ranks_self_teaching", str(tmp_path))
    several = torch.load(tmp_path / "ranks.pt")
    one = build(tmp_path / "one", **GREEDY)
    one.train()
    assert several["grad_norm"] == pytest.approx(curve(one, "grad_norm"), rel=1e-3)
    torch.testing.assert_close(several["weights"], weights(one), rtol=0, atol=2e-4)
