"""On-policy distillation: equal to TRL where it is TRL's, invariant to how a step is cut, resumable."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import GPT2Config, GPT2LMHeadModel
from trl.trainer.distillation_trainer import DistillationTrainer

from advisor.errors import InputError
from harness.distill.distiller import build_distiller
from harness.distill.fire_settings import PLAIN, Fire, fire_settings
from harness.distill.teachers import fingerprints, read_teachers
from tests.helpers.distilling import (
    EOS,
    GREEDY,
    ROWS,
    build,
    config,
    evaluated,
    gradients,
    loaded,
    micro_batches,
    prompts,
    run,
    student,
    teacher,
)
from tests.helpers.processes import on_ranks
from tests.helpers.tiny import WORDS, tiny_model, tiny_rwkv, tiny_tokenizer
from tests.helpers.training import curve, weights


def moved(trainer: Any) -> float:
    return (weights(trainer) - weights(student())).abs().max().item()


def test_without_filter_and_weights_gradients_are_trls_to_the_last_bit(tmp_path: Path) -> None:
    for form in ("full", "sampled"):
        plain = gradients(build(tmp_path, form=form))
        assert plain.abs().max() > 0.01
        assert torch.equal(gradients(build(tmp_path, form=form, fire=PLAIN)), plain)
        assert not torch.allclose(gradients(build(tmp_path, form=form, fire=Fire())), plain)
    sampled, full = (gradients(build(tmp_path, form=form)) for form in ("sampled", "full"))
    assert not torch.allclose(sampled, full)


@pytest.mark.parametrize("form", ["full", "sampled"])
def test_the_loss_is_the_weighted_mean_over_the_tokens_kept(tmp_path: Path, form: str) -> None:
    trainer = build(
        tmp_path, fire=Fire(), form=form, per_device_train_batch_size=4, gradient_accumulation_steps=2
    )  # fmt: skip
    batches = micro_batches(trainer)
    expected, kept_tokens = 0.0, sum(int(batch["weights"].gt(0).sum()) for batch in batches)
    rows = torch.cat([batch["weights"].gt(0).any(1) for batch in batches])
    assert rows.sum() == 6 and kept_tokens < sum(int(b["completion_mask"].sum()) for b in batches)
    for batch in batches:
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        first = batch["prompt_ids"].shape[1] - 1
        with torch.no_grad():
            own, other = (
                model(input_ids=ids, attention_mask=mask).logits[:, first:-1].log_softmax(-1)
                for model in (trainer.model, trainer.teachers[0])
            )
        token = batch["completion_ids"][..., None]
        if form == "full":
            terms = (own.exp() * (own - other)).sum(-1)
        else:
            terms = ((own - other) * own).gather(-1, token)[..., 0]
        expected += float((batch["weights"] * terms).sum()) / kept_tokens
    found = sum(trainer.compute_loss(trainer.model, batch).item() for batch in batches)
    assert found == pytest.approx(expected, rel=1e-4)


def test_leaving_padding_out_as_on_a_gpu_changes_nothing(tmp_path: Path) -> None:
    trainer = build(tmp_path, fire=Fire())
    assert not trainer.compact
    padded = gradients(trainer)
    trainer = build(tmp_path, fire=Fire())
    trainer.compact = True
    torch.testing.assert_close(gradients(trainer), padded, rtol=1e-3, atol=1e-6)


TWO: dict[str, Any] = {"teachers": {"x": teacher(), "y": teacher(0.1)}, "route": "kind"}


def kl_of_greedy_answers(rows: list[dict[str, Any]], teachers: dict[str, Any]) -> float:
    """Mean over the tokens of the student's likeliest answers, row by row, without a trainer."""
    model, found = student().model.eval(), []
    for row in rows:
        prompt = torch.tensor([tiny_tokenizer()(row["prompt"])["input_ids"]])
        whole = prompt
        while (
            whole.shape[1] < prompt.shape[1] + 6 and not (whole[:, prompt.shape[1] :] == EOS).any()
        ):
            with torch.no_grad():
                token = model(input_ids=whole).logits[:, -1].argmax(-1)
            whole = torch.cat([whole, token[None]], 1)
        with torch.no_grad():
            own, other = (
                m(input_ids=whole).logits[0, prompt.shape[1] - 1 : -1].double().log_softmax(-1)
                for m in (model, teachers[row["kind"]].model)
            )
        found.append((own.exp() * (own - other)).sum(-1))
    return float(torch.cat(found).mean())


@pytest.mark.parametrize("settings", [{}, {"fire": Fire()}, {"fire": Fire(), "form": "sampled"}])
@pytest.mark.parametrize("route", [None, "kind"])
def test_evaluation_is_the_divergence_from_each_rows_teacher_whatever_the_method(
    tmp_path: Path, settings: dict[str, Any], route: str | None
) -> None:
    teachers = {"x": teacher(), "y": teacher(0.1)}
    given = teachers if route else {"x": teachers["x"]}
    rows = [{**row, "prompt": row["prompt"] + " m"} for row in ROWS[:7]]
    trainer = build(
        tmp_path, teachers=given, route=route, evaluated=prompts(rows), per_device_eval_batch_size=7,
        **GREEDY, **settings,
    )  # fmt: skip
    routed = kl_of_greedy_answers(rows, teachers)
    one = kl_of_greedy_answers(rows, dict.fromkeys("xy", teachers["x"]))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(routed if route else one, rel=1e-4)
    assert routed != pytest.approx(one, rel=1e-2)


@pytest.mark.parametrize(
    "settings",
    [{}, {"fire": Fire(), "form": "sampled"}, {"fire": Fire(), **TWO}],
)
def test_evaluating_leaves_training_as_it_is(tmp_path: Path, settings: dict[str, Any]) -> None:
    cut = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4, "max_steps": 3}
    alone = run(tmp_path, **settings, **cut)
    evaluated = run(
        tmp_path, **settings, **cut, evaluated=prompts(ROWS[:5]), eval_strategy="steps", eval_steps=1,
        eval_on_start=True, per_device_eval_batch_size=2,
    )  # fmt: skip
    losses = curve(evaluated, "eval_loss")
    assert len(losses) == 4 and len(set(losses)) == 4
    assert moved(alone) > 0.005
    assert torch.equal(weights(evaluated), weights(alone))
    assert evaluated.evaluate()["eval_loss"] == losses[-1]  # drawn from the same random numbers


@pytest.mark.parametrize(
    ("rows", "settings", "says"),
    [
        ([{**ROWS[0], "kind": "z"}], TWO, "row 0 .*no teacher for kind 'z'"),
        ([{"prompt": "a", "completion": " b"}], TWO, "no such column"),
        ([{"prompt": "a " * 61, "completion": " b"}], {}, "leaves 3: give .*_length 3"),
        ([{"prompt": "a " * 64, "completion": ""}], {}, "leaves 0: take shorter ones"),
        ([{"prompt": "", "completion": ""}], {}, "has a target"),
    ],
)
def test_rows_of_evaluation_are_checked_like_those_of_training(
    tmp_path: Path, rows: list[dict[str, Any]], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        build(tmp_path, evaluated=prompts(rows), **settings)
    assert "\n" not in str(refusal.value)


def test_plain_training_is_trls(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    trl = DistillationTrainer(
        model=student().model.requires_grad_(True).train(),
        teacher_model=teacher().model,
        args=config(tmp_path, gradient_accumulation_steps=2, per_device_train_batch_size=4),
        train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in ROWS]),
        processing_class=tokenizer,
    )
    trl.train()
    mine = run(tmp_path, gradient_accumulation_steps=2, per_device_train_batch_size=4)
    assert curve(mine, "loss") == pytest.approx(curve(trl, "loss"), rel=1e-4)
    torch.testing.assert_close(weights(mine), weights(trl), rtol=0, atol=2e-4)
    assert moved(mine) > 0.005


@pytest.mark.parametrize("form", ["full", "sampled"])
def test_how_a_step_is_cut_up_changes_nothing(tmp_path: Path, form: str) -> None:
    runs = [
        run(
            tmp_path, fire=Fire(), form=form,
            per_device_train_batch_size=n, gradient_accumulation_steps=8 // n,
        )
        for n in (8, 1, 2)
    ]  # fmt: skip
    assert moved(runs[0]) > 0.005
    assert curve(runs[0], "kept") == pytest.approx([0.75] * 2)
    for other in runs[1:]:
        assert curve(other, "kept") == pytest.approx([0.75] * 2)
        assert curve(other, "grad_norm") == pytest.approx(curve(runs[0], "grad_norm"), rel=1e-3)
        torch.testing.assert_close(weights(other), weights(runs[0]), rtol=0, atol=2e-4)


@pytest.mark.slow
def test_ranks_equal_one(tmp_path: Path) -> None:
    """Protects distillation on several ranks: filter, weights and the mean over tokens go across them."""
    on_ranks("tests.helpers.ranks_distill", str(tmp_path))
    several = torch.load(tmp_path / "ranks.pt")
    one = run(tmp_path / "one", fire=Fire(), **GREEDY, **evaluated())
    assert several["kept"] == pytest.approx(curve(one, "kept")) and min(several["kept"]) < 1
    assert several["eval_loss"] == pytest.approx(curve(one, "eval_loss"), rel=1e-3)
    assert len(set(several["eval_loss"])) == 3
    torch.testing.assert_close(several["weights"], weights(one), rtol=0, atol=2e-4)
    assert moved(one) > 0.005


def test_filtered_by_the_micro_batch_as_released_how_it_is_cut_matters(tmp_path: Path) -> None:
    released = Fire(filter_scope="micro_batch")
    one, two = (
        run(
            tmp_path, fire=released,
            per_device_train_batch_size=n, gradient_accumulation_steps=8 // n,
        )
        for n in (1, 8)
    )  # fmt: skip
    assert curve(one, "kept") == [1.0] * 2  # a single rollout is never below its own percentile
    assert curve(two, "kept") == pytest.approx([0.75] * 2)
    assert (weights(one) - weights(two)).abs().max() > 1e-3


def test_padding_changes_nothing(tmp_path: Path) -> None:
    for form in ("full", "sampled"):
        tight = run(tmp_path, fire=Fire(), form=form)
        wide = run(tmp_path, fire=Fire(), form=form, pad_to_multiple_of=16)
        torch.testing.assert_close(weights(wide), weights(tight), rtol=0, atol=2e-4)
        assert moved(tight) > 0.005


def test_padding_on_the_left_shifts_no_absolute_position(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = GPT2Config(
        vocab_size=len(WORDS),
        n_positions=64,
        n_embd=16,
        n_layer=1,
        n_head=2,
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = loaded(GPT2LMHeadModel(settings).eval())
    trainer = build_distiller(model, prompts(), {"t": teacher()}, config(tmp_path))

    def seen(padding: int) -> dict[str, torch.Tensor]:
        prompt, drawn = torch.tensor([[0] * padding + [3, 4]]), torch.tensor([[5, 6]])
        masks = {"prompt_mask": prompt.ne(0).long(), "completion_mask": drawn.ne(0).long()}
        rows = {"prompt_ids": prompt, "completion_ids": drawn, "teacher": torch.tensor([0])}
        return trainer.look({**rows, **masks})

    for name in ("student_logp", "student_entropy"):
        torch.testing.assert_close(seen(3)[name], seen(0)[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"fire": Fire(), "form": "sampled"}])
def test_resuming_equals_never_stopping(tmp_path: Path, settings: dict[str, Any]) -> None:
    # 32 prompts are four steps of eight: step 6 stands in the middle of the second epoch.
    whole = run(tmp_path / "whole", max_steps=8, **settings)
    saved = {"save_strategy": "steps", "save_steps": 2, "max_steps": 8, **settings}
    run(tmp_path / "cut", **saved)
    shutil.rmtree(tmp_path / "cut" / "checkpoint-8")  # as if killed after step 6
    again = build(tmp_path / "cut", **saved)
    again.train(resume_from_checkpoint=True)
    assert curve(again, "completions/mean_length") == curve(whole, "completions/mean_length")
    torch.testing.assert_close(weights(again), weights(whole), rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["full", "sampled"])
def test_each_row_is_scored_by_its_own_teacher(tmp_path: Path, form: str) -> None:
    same = {"x": teacher(), "y": teacher()}
    one = gradients(build(tmp_path, form=form, fire=Fire()))
    two = gradients(build(tmp_path, form=form, fire=Fire(), teachers=same, route="kind"))
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-6)
    other = {"x": teacher(), "y": teacher(0.1)}
    mixed = gradients(build(tmp_path, form=form, fire=Fire(), teachers=other, route="kind"))
    assert not torch.allclose(mixed, one, rtol=1e-2)


def test_a_teacher_reads_its_own_rows_only(tmp_path: Path) -> None:
    trainer = build(tmp_path, teachers={"x": teacher(), "y": teacher(0.1)}, route="kind")
    numbers = [row["teacher"] for row in trainer.train_dataset]
    assert numbers == [0, 1] * 16
    [batch] = micro_batches(trainer)
    seen = trainer.look(batch)
    for row in range(8):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        number = (len(prompt) - 1) % 2  # kinds x and y go with prompts of odd and even length
        assert batch["teacher"][row] == number
        model = trainer.teachers[number]
        drawn = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        with torch.no_grad():
            log_q = model(torch.cat([prompt, drawn])[None]).logits[0].log_softmax(-1)
        log_q = log_q[len(prompt) - 1 : -1]
        n = len(drawn)
        torch.testing.assert_close(
            seen["teacher_logp"][row, :n], log_q[range(n), drawn], rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            seen["teacher_entropy"][row, :n], -(log_q.exp() * log_q).sum(-1), rtol=1e-3, atol=1e-4
        )


def divergence(model: Any, other: Any) -> float:
    """KL(model || other) after each of the four prompts, nats."""
    ids = torch.tensor([tiny_tokenizer()("a b c d")["input_ids"]])
    with torch.no_grad():
        one, two = (m.eval()(ids).logits.log_softmax(-1) for m in (model, other))
    return float((one.exp() * (one - two)).sum(-1).mean())


@pytest.mark.parametrize("settings", [{}, {"fire": Fire()}, {"fire": Fire(), "form": "sampled"}])
def test_the_student_approaches_the_teacher(tmp_path: Path, settings: dict[str, Any]) -> None:
    other = teacher().model
    trainer = run(
        tmp_path, **settings, max_steps=20, learning_rate=1e-2, per_device_train_batch_size=16
    )
    assert divergence(trainer.model, other) < 0.7 * divergence(student().model, other)


def test_prompts_are_the_tokens_before_the_last_target(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    tokenizer = tiny_tokenizer()
    assert [tokenizer.decode(row["prompt"]) for row in trainer.train_dataset] == [
        row["prompt"] for row in ROWS
    ]
    assert build(tmp_path, max_completion_length=512).args.max_completion_length == 60


def test_the_card_says_with_what_was_distilled(tmp_path: Path) -> None:
    build(tmp_path, fire=Fire()).create_model_card()
    card = (tmp_path / "README.md").read_text()
    assert "2606.02684" in card and "percentile=20.0" in card


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"form": "half"}, "full or sampled"),
        ({"form": "sampled", "beta": 0.5}, "--beta 1"),
        ({"teachers": {"x": teacher(), "y": teacher()}}, "--route"),
        ({"route": "sort"}, "no such column in .*; there are prompt"),
        ({"route": "kind"}, "--teacher x=MODEL"),
        (
            {"teachers": {"t": replace(teacher(), tokenizer=tiny_tokenizer(pad_token="<none>"))}},
            "tokenizer",
        ),
        (
            {"teachers": {"t": replace(teacher(), model=tiny_model(vocab_size=15))}},
            "15 rows .* up to 15",
        ),
        ({"temperature": 0.0}, "--temperature 0: "),
        ({"form": "sampled", "top_p": 0.5}, "--top_p 0.5: "),
        ({"form": "sampled", "top_k": 5}, "--top_k 5: "),
        ({"form": "sampled", "min_p": 0.1}, "--min_p 0.1: "),
        ({"form": "sampled", "repetition_penalty": 1.1}, "--repetition_penalty 1.1: "),
        ({"form": "sampled", "generation_kwargs": {"top_k": 2}}, "--generation_kwargs top_k 2: "),
        (
            {"form": "sampled", "generation_kwargs": {"typical_p": 0.5}},
            "--generation_kwargs typical_p",
        ),
        ({"generation_kwargs": {"temperature": 0.5}}, "temperature 0.5: give --temperature"),
        ({"remove_unused_columns": True}, "--remove_unused_columns true: "),
        ({"teachers": {"t": replace(teacher(), model=tiny_rwkv())}}, "padding enters the state"),
        ({"use_vllm": True}, "vLLM is not available"),
        ({"per_device_train_batch_size": 64}, "fewer than the 64"),
        ({"max_completion_length": 0}, "1 token or more"),
    ],
)
def test_what_cannot_be_distilled_is_refused(
    tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        build(tmp_path, **settings)
    assert "\n" not in str(refusal.value)


def test_lora_trains_an_adapter(tmp_path: Path) -> None:
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    for form in ("full", "sampled"):
        trainer = build_distiller(
            student(), prompts(), {"t": teacher()}, config(tmp_path), fire=Fire(), form=form,
            peft_config=adapter,
        )  # fmt: skip
        trainer.train()
        trained = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
        assert trained and all("lora" in name for name in trained)
        assert all(p.abs().max() > 0 for name, p in trained.items() if "lora_B" in name)


def test_settings_of_the_command_line() -> None:
    assert fire_settings("opd", {}) is None
    assert fire_settings("fire", {}) == Fire()
    assert fire_settings("fire", {"percentile": 30.0}) == Fire(percentile=30)
    with pytest.raises(InputError, match="--fire_alpha goes with --method fire"):
        fire_settings("opd", {"alpha": 0.0})


def test_teachers_of_the_command_line(tmp_path: Path) -> None:
    def names(words: list[str], route: str | None) -> Any:
        return read_teachers(words, route, {}).names

    with pytest.raises(InputError, match=r"--teacher a=b: .*--route"):
        names(["a=b"], None)
    folder = tmp_path / "a=b"
    folder.mkdir()
    assert names([str(folder)], None) == {str(folder): str(folder)}
    assert names(["math=m/1", "org/code"], "kind") == {
        "math": "m/1",
        "org/code": "org/code",
    }
    with pytest.raises(InputError, match="--route"):
        names(["a", "b"], None)
    with pytest.raises(InputError, match="same key"):
        names(["a=b", "a=c"], "kind")
    with pytest.raises(InputError, match="no ladder rung"):
        names(["a=ladder:stron"], "kind")


def test_teachers_are_known_by_their_weights_wherever_they_lie() -> None:
    one, two = (replace(teacher(), fingerprint=text) for text in ("ab", "cd"))
    assert fingerprints({"here": one}, None) == fingerprints({"there": one}, None)
    assert fingerprints({"here": one}, None) != fingerprints({"here": two}, None)
    routed = fingerprints({"x": one, "y": two}, "kind")
    assert routed == fingerprints({"y": two, "x": one}, "kind")
    assert routed != fingerprints({"x": two, "y": one}, "kind")
    assert routed != fingerprints({"x": one, "z": two}, "kind")
