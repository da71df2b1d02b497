"""CADFT's second stage: who is resampled, when, with what; and that a killed training goes on as it was."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advisor.data.dataset import load_dataset
from advisor.data.labels import last_target
from advisor.errors import InputError
from advisor.model.load import load_model
from advisor.objectives.table import TokenStats, get_objective
from harness.cli.main import main
from harness.generate.turn_end import TurnEnd
from harness.train import resampling_trainer
from harness.train.checkpoints import newest_checkpoint, refuse_others
from harness.train.resampling import (
    Attempt,
    Averages,
    Resampler,
    Resampling,
    compatibility,
    read_resampling,
)
from harness.train.resampling_trainer import STATE
from harness.train.sft import build_trainer
from tests.helpers.paths import ROOT
from tests.helpers.processes import kill_once
from tests.helpers.resampling import EOS, build, demonstrations, eager_model, trained
from tests.helpers.settings import read_settings
from tests.helpers.training import weights


def test_compatibility_and_weight_of_the_paper() -> None:
    """c = 1, 2, 3, 4: population standard deviation 1.118034, weights 1, 1, 0.6394, 0.2614."""
    row = np.array([7, 7, 2, 2, 2, 5, 9])  # in order of rows: 2, 5, 7, 9
    nll = np.array([1.0, 5.0, 0.0, 1.0, 2.0, 2.0, 4.0])
    distinct, scores = compatibility(row, nll)
    assert distinct.tolist() == [2, 5, 7, 9]
    assert scores == pytest.approx([-1.341641, -0.447214, 0.447214, 1.341641], abs=1e-5)
    assert np.exp(-np.maximum(0, scores)) == pytest.approx([1, 1, 0.6394, 0.2614], abs=1e-4)
    assert compatibility(np.array([4, 4]), np.array([1.0, 9.0]))[1].tolist() == [0.0]


def test_compatibility_is_that_of_the_weight() -> None:
    generator = torch.Generator().manual_seed(1)
    logp = -5 * torch.rand(40, generator=generator)
    example = torch.randint(0, 6, (40,), generator=generator)
    stats = TokenStats(logp=logp, entropy=logp * 0, top1=logp > 0, example=example)
    weight = get_objective("cadft(0.7)").weight(stats) / stats.p
    _, scores = compatibility(example.numpy(), -logp.double().numpy())
    expected = np.exp(-0.7 * np.maximum(0, scores))[example.numpy()]
    assert weight.numpy() == pytest.approx(expected, rel=1e-4)


def test_averages_are_weighted_means_of_the_scores() -> None:
    averages = Averages(5, decay=0.5)
    averages.update(np.array([1, 3]), np.array([2.0, -1.0]))
    averages.update(np.array([3, 4]), np.array([5.0, 2.0]))
    # row 3: (0.5 * -1 + 1 * 5) / 1.5
    assert averages.values == pytest.approx([np.nan, 2.0, np.nan, 3.0, 2.0], nan_ok=True)
    assert averages.worst(2) == [3, 1] and averages.worst(9) == [3, 1, 4]
    averages.forget(3)
    assert averages.worst(9) == [1, 4]
    averages.update(np.array([3]), np.array([0.5]))
    assert averages.values[3] == pytest.approx(0.5)


@pytest.mark.parametrize(("steps", "expected"), [(12, [6, 8, 10]), (60, [30, 40, 50]), (1, [])])
def test_times_are_fractions_of_the_training(steps: int, expected: list[int]) -> None:
    resampler = Resampler(Resampling(), rows=1, examples=1, seed=0)
    for step in range(steps):
        if resampler.due(step, steps):
            resampler.record(step, [], [])
    assert resampler.steps == expected


def test_the_published_times_are_the_defaults_of_a_training_of_6000_steps() -> None:
    assert [Resampling().planned(number, 6000) for number in range(3)] == [3000, 4000, 5000]


def test_the_coin_falls_for_half_and_again_the_same() -> None:
    def chosen(seed: int) -> list[int]:
        resampler = Resampler(Resampling(share=0.5), rows=1000, examples=1000, seed=seed)
        resampler.averages.update(np.arange(1000), np.arange(1000.0))
        worst, fallen = resampler.choose()
        assert worst == list(range(999, 499, -1)) and set(fallen) < set(worst)
        return fallen

    assert chosen(0) == chosen(0) != chosen(1)
    assert len(chosen(0)) + len(chosen(1)) == pytest.approx(500, abs=64)  # four deviations


def attempt(row: int, outcome: str) -> Attempt:
    return Attempt(step=3, row=row, average=1.5, outcome=outcome, before="a", after="b")


def test_only_replaced_rows_change_and_begin_anew() -> None:
    def fresh() -> Resampler:
        return Resampler(Resampling(share=0.5), rows=4, examples=4, seed=0)

    resampler = fresh()
    resampler.observe(np.array([0, 1, 2, 3]), np.array([1.0, 2.0, 3.0, 4.0]))
    new = {"row": 3, "input_ids": [4], "labels": [4], "terminator": [1]}
    answers = [(attempt(3, "replaced"), new), (attempt(2, "unfinished"), {**new, "row": 2})]
    resampler.record(3, [3, 2], answers)
    assert resampler.resampled == {3: new} and resampler.choose()[0] == [2, 1]
    resampler.observe(np.array([3, 1]), np.array([1.0, 2.0]))
    expected = {"steps": [3], "chosen": 2, "sampled": 2, "replaced": 1, "same": 0, "unfinished": 1,
                "wrong": 0, "rows_resampled": 1, "trained_on_resampled": 1}  # fmt: skip
    assert resampler.summary() == expected
    again = fresh()
    again.restore(json.loads(json.dumps(resampler.state())))
    assert again.state() == resampler.state() and again.choose() == resampler.choose()


def test_the_last_turn_is_what_is_resampled() -> None:
    row = {"labels": [-100, 5, 2, -100, -100, 6, 7, 2, -100]}
    assert last_target(row["labels"]) == (5, 8)
    assert last_target([4, 5, 6]) == (1, 3)


def test_resampled_rows_are_trained_on_and_recorded(tmp_path: Path) -> None:
    trainer = trained(tmp_path)
    resampler, found = trainer.resampler, trainer.resampler.summary()
    assert found["steps"] == [5, 9, 13, 16] and found["chosen"] == 4 * 5
    assert found["sampled"] == sum(found[k] for k in ("replaced", "same", "unfinished", "wrong"))
    assert found["replaced"] >= 3 and found["wrong"] == 0 and found["trained_on_resampled"] >= 3
    own = {row["row"]: row for row in demonstrations()}
    for number, row in resampler.resampled.items():
        start, stop = last_target(own[number]["labels"])
        assert row["input_ids"][:start] == own[number]["input_ids"][:start]
        answer = row["input_ids"][start:]
        assert answer == row["labels"][start:] != own[number]["input_ids"][start:stop]
        assert answer[-1] == EOS and len(answer) > 1 and row["terminator"][-1] == 1
        assert set(row["labels"][:start]) == {-100}
    curve = [entry["resampled"] for entry in trainer.state.log_history if "resampled" in entry]
    assert curve[4] == 0 < curve[5] and curve[-1] == len(resampler.resampled)
    never = trained(tmp_path, Resampling(warmup=1.0))
    assert never.resampler.summary()["steps"] == []
    assert (weights(never) - weights(trainer)).abs().max() > 1e-3


def test_the_worst_averages_of_the_step_are_chosen(tmp_path: Path) -> None:
    """All rows in every step: the averages are those of the mean NLL, computed here from the logits."""
    settings = Resampling(warmup=0.5, interval=1.0, share=0.1, probability=1.0)
    trainer = trained(tmp_path, settings, max_steps=2, learning_rate=0.0,
                      per_device_train_batch_size=12, gradient_accumulation_steps=4)  # fmt: skip
    model, means = eager_model(), {}
    for row in demonstrations():
        ids = torch.tensor(row["input_ids"])
        with torch.no_grad():
            log_q = model(ids[None]).logits[0, :-1].log_softmax(-1)
        start, _ = last_target(row["labels"])
        means[row["row"]] = -log_q.gather(-1, ids[1:, None])[start - 1 :].mean().item()
    c = np.array(list(means.values()))
    expected = dict(zip(means, (c - c.mean()) / c.std(), strict=True))
    worst = sorted(means, key=means.__getitem__)[-5:]
    attempts = {attempt.row: attempt.average for attempt in trainer.resampler.attempts}
    assert set(attempts) == set(worst) and trainer.resampler.steps == [1]
    for number, average in attempts.items():
        assert average == pytest.approx(expected[number], rel=1e-3)


def test_sampling_is_nucleus_sampling_at_the_published_temperature(tmp_path: Path) -> None:
    """Answers of one token: their frequencies are those of p 0.9 and T 0.7."""
    trainer = build(tmp_path)
    trainer.longest = 1
    trainer.model.train()
    prompt = [3, 4, 5]
    with torch.no_grad():
        q = (eager_model()(torch.tensor([prompt])).logits[0, -1] / 0.7).softmax(-1)
    order = q.argsort(descending=True)
    nucleus = order[: int((q[order].cumsum(0) < 0.9).sum()) + 1]
    expected = torch.zeros_like(q).index_copy(0, nucleus, q[nucleus] / q[nucleus].sum())
    state = torch.random.get_rng_state()
    drawn = [answer[0] for answer in trainer.answers_to([prompt] * 4096, seed=3)]
    assert torch.equal(torch.random.get_rng_state(), state) and trainer.model.training
    found = torch.bincount(torch.tensor(drawn), minlength=len(q)) / 4096
    assert 2 < len(nucleus) < len(q)
    assert (found - expected).abs().max() < 4 * 0.5 / 64
    assert found[expected == 0].sum() == 0


def test_a_length_in_the_generation_config_is_not_remarked_upon(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    trainer.model.generation_config.max_length = 20
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)  # whatever ran before may have silenced it
    try:
        assert trainer.answers_to([[3, 4, 5]], seed=3)
        assert heard == []
        trainer.model.generate(torch.tensor([[3, 4, 5]]), max_new_tokens=2)
        assert any("max_new_tokens" in message for message in heard)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_an_answer_that_ends_otherwise_than_the_data_is_unfinished(tmp_path: Path) -> None:
    trainer = build(tmp_path, ends={7})
    assert trainer.judge(0, [5, 7], [6, EOS]) == "unfinished"
    assert trainer.judge(0, [5, 7], [6, 7]) == "replaced"
    assert all(not {7, EOS} & set(answer[:-1]) for answer in trainer.answers_to([[3]] * 32, seed=0))


def test_an_answer_is_trained_on_with_its_whole_terminator(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    trainer.turn_end = TurnEnd(tokens=frozenset({(EOS, 9)}))
    found = [
        row
        for attempt, row in trainer.sampled(range(0, 144, 3), "")
        if attempt.outcome == "replaced"
    ]
    assert found and all(row["input_ids"][-2:] == [EOS, 9] for row in found)
    assert all(row["terminator"][-3:] == [0, 1, 1] for row in found)
    assert all(len(row["input_ids"]) <= trainer.max_length for row in found)


def test_ranks_without_a_chosen_row_gather_weights_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered, trainer = [], build(tmp_path)
    original = resampling_trainer.unwrap_model_for_generation

    def noted(*args: Any) -> Any:
        gathered.append(args)
        return original(*args)

    monkeypatch.setattr(resampling_trainer, "unwrap_model_for_generation", noted)
    assert list(trainer.sampled([], "rank 1")) == [] and len(gathered) == 1


def test_verified_answers_have_the_demonstrations_answer(tmp_path: Path) -> None:
    settings = Resampling(warmup=0.3, interval=0.1, share=0.3, probability=1.0)
    free = trained(tmp_path, settings).resampler.summary()
    pattern = r"([a-m])\s*$"
    checked = Resampling(**{**vars(settings), "verify": True, "answer_pattern": pattern})
    trainer = trained(tmp_path, checked)
    found = trainer.resampler.summary()
    assert found["wrong"] > 0 == free["wrong"] and 0 < found["replaced"] < free["replaced"]
    for attempt in trainer.resampler.attempts:
        same = attempt.before.split()[-1:] == attempt.after.split()[-1:]
        assert same == (attempt.outcome in ("replaced", "same")) or attempt.outcome == "unfinished"


def test_padding_free_and_how_a_step_is_cut_up_change_nothing(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    flat = trained(tmp_path, padding_free=True, max_length=None)
    cut = trained(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert whole.resampler.resampled
    for other in (flat, cut):
        assert other.resampler.summary() == whole.resampler.summary()
        assert other.resampler.resampled == whole.resampler.resampled
        torch.testing.assert_close(weights(other), weights(whole), rtol=0, atol=1e-3)


@pytest.mark.slow
def test_killed_and_resumed_is_equal_to_the_last_bit(tmp_path: Path) -> None:
    """Protects trainings that are cut off: what was sampled before a kill counts, and is not drawn again."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.helpers.resampling", str(tmp_path / "cut")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    saved = {"save_strategy": "steps", "save_steps": 1, "max_steps": 18}
    whole = trained(tmp_path / "whole", **saved)
    kill_once(process, (tmp_path / "cut" / "checkpoint-7" / "trainer_state.json").exists)
    folder = newest_checkpoint(str(tmp_path / "cut"))
    assert folder and not (tmp_path / "cut" / "checkpoint-18").exists()
    before = json.loads((Path(folder) / STATE).read_text())
    assert before["resampled"] and 1 <= len(before["summary"]["steps"]) < 4
    again = build(tmp_path / "cut", **saved)
    again.train(resume_from_checkpoint=folder)
    assert torch.equal(weights(again), weights(whole))
    assert again.resampler.state() == whole.resampler.state()
    assert again.resampler.resampled == whole.resampler.resampled
    assert len(again.resampler.steps) == 4


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    saved = {"save_strategy": "steps", "save_steps": 4, "max_steps": 4}
    trained(tmp_path, **saved)
    with pytest.raises(InputError, match="settings"):
        build(tmp_path, Resampling(), **saved).train(resume_from_checkpoint=True)
    (tmp_path / "checkpoint-4" / STATE).unlink()
    with pytest.raises(InputError, match=r"made without --resample .*leave --resample out"):
        build(tmp_path, **saved).train(resume_from_checkpoint=True)


def test_a_training_stopped_under_the_old_name_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    """The word was rewriting: in the name of the state's file, and in its keys."""
    saved = {"save_strategy": "steps", "save_steps": 9, "max_steps": 18}
    whole = trained(tmp_path / "whole", **saved)
    folder = tmp_path / "whole" / "checkpoint-9"
    state = json.loads((folder / STATE).read_text())
    assert state["resampled"] and state["summary"]["rows_resampled"]
    state["rewritten"], summary = state.pop("resampled"), state["summary"]
    for name in ("rows", "trained_on"):
        summary[f"{name}_rewritten"] = summary.pop(f"{name}_resampled")
    (folder / STATE).unlink()
    (folder / "rewriting.json").write_text(json.dumps(state))
    again = build(tmp_path / "again", **saved)
    again.train(resume_from_checkpoint=str(folder))
    assert torch.equal(weights(again), weights(whole))
    assert again.resampler.state() == whole.resampler.state()


def test_flags_of_an_older_checkpoint_are_compared_under_their_names_of_today(
    tmp_path: Path,
) -> None:
    made = {"args": {"settings": {"--rewrite": True, "--rewrite_share": 0.1}}, "attributes": {}}
    state = {"global_step": 1, "stateful_callbacks": {"MadeWith": made}}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    same = {"--resample": True, "--resample_share": 0.1}
    refuse_others(str(tmp_path), same)
    for other in ({"--resample": False}, {"--resample_share": 0.2}):
        with pytest.raises(InputError, match="was made with --resample"):
            refuse_others(str(tmp_path), {**same, **other})


SOURCE = [{"prompt": "a b ", "completion": " ".join("cdefgh"[: i % 7])} for i in range(40)]


def from_source(
    model_folder: Path, tmp_path: Path, objective: str, *flags: str, **settings: Any
) -> Any:
    loaded = load_model(model_folder)
    dataset = load_dataset(SOURCE, loaded.tokenizer)
    quick = ["--max_steps", "20", "--per_device_train_batch_size", "8", "--report_to", "none"]
    words = ["--output_dir", str(tmp_path), "--save_strategy", "no", *quick, *flags]
    settings_, _ = read_settings(words, {"disable_tqdm": True})
    return build_trainer(
        loaded, dataset, get_objective(objective), settings_, resampling=Resampling(**settings)
    )


def test_rows_keep_their_source_numbers(model_folder: Path, tmp_path: Path) -> None:
    trainer = from_source(model_folder, tmp_path, "cadft", share=0.2)
    numbers = [i for i, row in enumerate(SOURCE) if row["completion"]]
    assert trainer.train_dataset["row"] == numbers != list(range(len(numbers)))
    trainer.train()
    for attempt in trainer.resampler.attempts:
        assert attempt.before == SOURCE[attempt.row]["completion"]
    assert trainer.resampler.attempts
    trainer.save_model()
    trainer.create_model_card()
    assert f"{len(trainer.resampler.attempts)} sampled anew" in (tmp_path / "README.md").read_text()
    assert json.loads((tmp_path / STATE).read_text())["summary"] == trainer.resampler.summary()


@pytest.mark.parametrize(
    ("objective", "flags", "settings", "says"),
    [
        ("dft", (), {}, "--objective cadft"),
        ("cadft", ("--packing", "true", "--max_length", "64"), {}, "leave out --packing"),
        ("cadft", ("--max_steps", "4"), {}, "--num_train_epochs 2"),
        ("cadft", ("--max_steps", "-1", "--num_train_epochs", "1"), {}, "--num_train_epochs 2"),
        ("cadft", (), {"verify": True}, "--answer_regex"),
        ("cadft", (), {"interval": 0.0}, "interval"),
    ],
)
def test_refusals(
    model_folder: Path, tmp_path: Path, objective: str, flags: Any, settings: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        from_source(model_folder, tmp_path, objective, *flags, **settings)
    assert "\n" not in str(refusal.value)


def test_flags_make_settings() -> None:
    assert read_resampling(False, False, None) is None
    assert read_resampling(True, False, None) == Resampling()
    assert read_resampling(True, True, "x(.)") == Resampling(verify=True, answer_pattern="x(.)")
    assert read_resampling(True, False, None, 0.1) == Resampling(share=0.1)
    with pytest.raises(InputError, match="--resample_share"):
        read_resampling(False, False, None, 0.1)
    for verify, pattern in ((True, None), (False, "x")):
        with pytest.raises(InputError, match="--resample"):
            read_resampling(False, verify, pattern)
    with pytest.raises(InputError, match="--answer_regex"):
        read_resampling(True, False, "x")


def test_advisor_train_resamples_and_says_so(
    model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in SOURCE))
    flags = ["--objective", "cadft", "--max_steps", "20", "--per_device_train_batch_size", "8", "--report_to",
             "none", "--output_dir", str(tmp_path / "out"), "--disable_tqdm", "true"]  # fmt: skip
    words = ["train", str(model_folder), str(data), *flags]
    for old in ("--rewrite", "--rewrite_share=0.5", "--rewrite-verify"):
        assert main([*words, old]) == 2
        flag = old.partition("=")[0].replace("-v", "_v")
        assert f"{flag} is now {flag.replace('rewrite', 'resample')}" in capsys.readouterr().err
    assert main([*words, "--resample", "--resample_share", "0.5"]) == 0
    assert "Resampling fired 3 times (after steps 10, 13, 17)" in " ".join(
        capsys.readouterr().err.split()
    )
    answered = sum(bool(row["completion"]) for row in SOURCE)
    summary = json.loads((tmp_path / "out" / STATE).read_text())["summary"]
    assert summary["steps"] == [10, 13, 17] and summary["chosen"] == 3 * (answered // 2)
    monkeypatch.setattr("harness.train.fine_tune.fine_tune", None)  # refused before it is trained
    for bad, why in ((["--resample_verify"], "give --resample too"),
                     (["--resample", "--resample_verify"], "no answer of a known form"),
                     (["--resample", "--max_steps", "1"], "no example is seen twice")):  # fmt: skip
        assert main([*words, *bad]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
