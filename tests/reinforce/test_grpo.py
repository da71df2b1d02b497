"""GRPO on token ids: what is rewarded becomes likelier, and a reward sees its own prompt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from advisor.errors import InputError
from advisor.model.load import LoadedModel, load_model
from harness.generate.turn_end import TurnEnd
from harness.reinforce import grpo
from harness.reinforce.grpo import reinforced
from harness.reinforce.grpo_settings import grpo_settings
from harness.reinforce.sampling import sampled
from harness.reinforce.verifier import Question, Verifier
from tests.helpers.tiny import WORDS, tiny_rwkv, tiny_tokenizer

LETTER = {word: number for number, word in enumerate(WORDS)}
QUESTIONS = [
    Question(prompt=[LETTER[word] for word in text.split()], text=text, reference="b")
    for text in ("a", "a c", "d e f", "c")
]


class Begins(Verifier):
    """Rewards an answer that begins with b."""

    def __call__(self, answers: list[str], questions: list[Question]) -> list[float]:  # type: ignore[override]
        assert all(question in QUESTIONS for question in questions)
        return [float(answer.strip().startswith("b")) for answer in answers]


@pytest.fixture
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), dtype="float32", device="cpu")


def likelihood(loaded: LoadedModel) -> float:
    """Mean probability of b after the prompts."""
    with torch.no_grad():
        found = [
            loaded.model(torch.tensor([one.prompt])).logits[0, -1].softmax(-1)[LETTER["b"]]
            for one in QUESTIONS
        ]
    return float(torch.stack(found).mean())


def test_what_is_rewarded_becomes_likelier(loaded: LoadedModel, tmp_path: Path) -> None:
    before, told = likelihood(loaded), []
    settings = {**grpo_settings(loaded.parameters, steps=6), "seed": 0, "learning_rate": 3e-3}
    log = reinforced(
        loaded, QUESTIONS, Begins(), {**settings, "per_device_train_batch_size": 32},
        folder=str(tmp_path), on_progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert likelihood(loaded) > 2 * before
    assert [entry["step"] for entry in log] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= entry["reward"] <= 1 for entry in log)
    assert told == [(step, 6) for step in range(1, 7)]
    assert not loaded.model.training


def test_padding_on_the_left_shifts_no_absolute_position(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    padded = list[int]()

    def noted(model: Any, args: Any, inputs: dict[str, Any]) -> None:
        if not inputs.get("fused_lm_head"):
            return
        rows = zip(inputs["position_ids"], inputs["attention_mask"].bool(), strict=True)
        for positions, own in rows:
            assert positions[own].tolist() == list(range(int(own.sum())))
            padded.append(int(own.int().argmax()))

    loaded.model.register_forward_pre_hook(noted, with_kwargs=True)
    settings = {**grpo_settings(loaded.parameters, steps=1), "per_device_train_batch_size": 32}
    reinforced(loaded, QUESTIONS, Begins(), {**settings, "seed": 0}, folder=str(tmp_path))
    assert set(padded) == {0, 1, 2}


def test_what_ends_a_turn_is_no_part_of_an_answer(loaded: LoadedModel, tmp_path: Path) -> None:
    seen = list[str]()

    class Notes(Verifier):
        def __call__(self, answers: list[str], questions: Any) -> list[float]:  # type: ignore[override]
            seen.extend(answers)
            return [0.0] * len(answers)

    loaded.model.generation_config.eos_token_id = LETTER["d"]
    settings = {**grpo_settings(loaded.parameters, steps=1), "per_device_train_batch_size": 32}
    end = TurnEnd(text="c d e", pieces=frozenset({LETTER["d"]}))
    reinforced(
        loaded, QUESTIONS, Notes(), {**settings, "seed": 0}, folder=str(tmp_path), turn_end=end
    )
    assert len(seen) == 32 and not any(text.endswith("c d") for text in seen)
    assert any(text.endswith("d") for text in seen)  # which begins no terminator


def test_the_same_seed_gives_the_same_model(model_folder: Path, tmp_path: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        loaded = load_model(str(model_folder), dtype="float32", device="cpu")
        settings = {
            **grpo_settings(loaded.parameters, steps=2),
            "seed": seed,
            "learning_rate": 3e-3,
        }
        settings["per_device_train_batch_size"] = 16
        reinforced(loaded, QUESTIONS, Begins(), settings, folder=str(tmp_path))
        found.append(likelihood(loaded))
    assert found[0] == found[1] != found[2]


def test_what_the_models_generation_config_says_changes_no_answer(
    model_folder: Path, tmp_path: Path
) -> None:
    found = []
    for more in ({}, {"stop_strings": ["c"], "suppress_tokens": [LETTER["b"]], "min_p": 0.9}):
        loaded = load_model(str(model_folder), dtype="float32", device="cpu")
        loaded.model.generation_config.update(**more)
        settings = {**grpo_settings(loaded.parameters, steps=1), "per_device_train_batch_size": 32}
        log = reinforced(loaded, QUESTIONS, Begins(), {**settings, "seed": 0}, folder=str(tmp_path))
        found.append((likelihood(loaded), log[0]["reward"]))
        assert loaded.model.generation_config.stop_strings == more.get("stop_strings")
    assert found[0] == found[1]


def test_weights_of_16_bits_are_reinforced_in_float32(model_folder: Path, tmp_path: Path) -> None:
    """Breaks where updates of 1e-6 vanish in the rounding of bfloat16, as it is loaded on a GPU."""
    read = load_model(str(model_folder), dtype="bfloat16", device="cpu")
    loaded = replace(read, dtype_chosen=True)
    seen = set[torch.dtype]()
    settings = {**grpo_settings(loaded.parameters, steps=1), "per_device_train_batch_size": 32}
    reinforced(
        loaded, QUESTIONS, Begins(), {**settings, "seed": 0}, folder=str(tmp_path),
        on_progress=lambda done, total: seen.add(loaded.model.dtype),
    )  # fmt: skip
    assert seen == {torch.float32} and loaded.model.dtype == torch.bfloat16


def test_a_model_on_the_cpu_stays_there_beside_a_gpu(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(**given: Any) -> Any:
        seen.append(given["args"])
        raise ValueError("enough")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(grpo, "VerifiedTrainer", noted)
    settings = {**grpo_settings(1e5, steps=1), "per_device_train_batch_size": 32, "seed": 0}
    with pytest.raises(InputError, match="enough"):
        reinforced(loaded, QUESTIONS, Begins(), settings, folder=str(tmp_path))
    assert seen[0].use_cpu and not seen[0].bf16 and not seen[0].gradient_checkpointing


def test_a_model_that_reads_padding_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    settings = {**grpo_settings(1e5, steps=1), "per_device_train_batch_size": 32}
    with pytest.raises(InputError, match="padding enters the state of such a model"):
        reinforced(
            replace(loaded, model=tiny_rwkv()), QUESTIONS, Begins(), settings, folder=str(tmp_path)
        )


def test_fewer_prompts_than_a_step_takes_are_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    settings = grpo_settings(loaded.parameters, steps=1)
    with pytest.raises(InputError, match="4 training prompts have an answer, fewer than the 8"):
        reinforced(loaded, QUESTIONS, Begins(), settings, folder=str(tmp_path))


def test_prompts_without_room_in_the_context_are_left_out(
    loaded: LoadedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A model of learned positions has none beyond its context."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**sizes, n_positions=32, bos_token_id=1, eos_token_id=2))
    small, asked = replace(loaded, model=model), set[int]()

    class Notes(Verifier):
        def __call__(self, answers: list[str], questions: Any) -> list[float]:  # type: ignore[override]
            asked.update(len(question.prompt) for question in questions)
            return [0.0] * len(answers)

    long = Question(prompt=[3] * 28, text="", reference="b")
    settings = {**grpo_settings(1e5, steps=1), "per_device_train_batch_size": 32, "seed": 0}
    reinforced(small, [long, *QUESTIONS], Notes(), settings, folder=str(tmp_path))
    assert asked == {1, 2, 3}
    assert "1 of 5 prompts are left out: with answers of up to 17 tokens" in caplog.text
    with pytest.raises(InputError, match="28 tokens leaves no room in a context of 28"):
        few = replace(small, model=GPT2LMHeadModel(GPT2Config(**sizes, n_positions=28)))
        reinforced(few, [long] * 4, Notes(), settings, folder=str(tmp_path))


def test_a_tokenizer_without_pad_and_end_will_do(loaded: LoadedModel, tmp_path: Path) -> None:
    loaded.model.generation_config.eos_token_id = None
    bare = replace(loaded, tokenizer=tiny_tokenizer(unk_token="<pad>"))
    settings = {**grpo_settings(1e5, steps=1), "per_device_train_batch_size": 32, "seed": 0}
    log = reinforced(bare, QUESTIONS, Begins(), settings, folder=str(tmp_path))
    assert len(log) == 1 and bare.tokenizer.pad_token is None


def test_answers_are_drawn_with_the_models_probabilities(loaded: LoadedModel) -> None:
    """Prompts of several lengths together: first tokens as often as the model says, ended rows dropped."""
    prompts = [one.prompt for one in QUESTIONS]
    drawn = dict(sampled(loaded, prompts, several=2000, longest=2, seed=0, rows=4000))
    assert sorted(drawn) == [0, 1, 2, 3]
    end = loaded.tokenizer.eos_token_id
    for number, prompt in enumerate(prompts):
        with torch.no_grad():
            wanted = loaded.model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
        firsts = torch.tensor([answer[0] for answer in drawn[number]])
        share = firsts.bincount(minlength=len(WORDS)) / len(firsts)
        assert torch.allclose(share, wanted, atol=0.04)
        assert all(len(answer) == (1 if answer[0] == end else 2) for answer in drawn[number])
